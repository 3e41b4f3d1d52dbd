"""Checks of lab 10, optimizers: the exercises, their properties in order, and their points."""

from utils.checks import optimizers_adam as adam
from utils.checks import optimizers_reviews as reviews
from utils.checks import optimizers_steps as steps
from utils.checks import optimizers_training as training
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 10: optimizers")
require, summary = LAB.require, LAB.summary

momentum_step = LAB.exercise(
    "momentum_step",
    "1a",
    "descent with momentum",
    Property("It returns the new weights and the new memory.", steps.momentum_shapes),
    Property("Without memory, it is gradient descent.", steps.momentum_none, 1),
    Property("100 steps equal those of torch.optim.SGD with momentum.", steps.momentum_library, 2),
)

nesterov_step = LAB.exercise(
    "nesterov_step",
    "1b",
    "Nesterov's look ahead",
    Property("It returns the new weights and the new memory.", steps.nesterov_shapes),
    Property("100 steps equal those of torch.optim.SGD with nesterov=True.", steps.nesterov_library, 2),
)

rmsprop_step = LAB.exercise(
    "rmsprop_step",
    "2",
    "a learning rate for each weight",
    Property("It returns the new weights and the new memory.", steps.rmsprop_shapes),
    Property("The memory is the running mean of the squared gradients.", steps.rmsprop_memory, 1),
    Property("Gradients a thousand times as large give the same steps.", steps.rmsprop_scale, 1),
    Property("100 steps equal those of torch.optim.RMSprop.", steps.rmsprop_library, 1),
)

adam_step = LAB.exercise(
    "adam_step",
    "3a",
    "Adam",
    Property("It returns the new weights and both new memories.", adam.adam_shapes),
    Property("The memories are running means of the gradient and of its square.", adam.adam_memories, 1),
    Property("The first step is exactly as long as the learning rate.", adam.adam_first, 1),
    Property("100 steps equal those of torch.optim.Adam.", adam.adam_library, 2),
)

adamw_step = LAB.exercise(
    "adamw_step",
    "3b",
    "AdamW: decay beside the step",
    Property("It returns the new weights and both new memories.", adam.adamw_shapes),
    Property("Without decay, 100 steps equal Adam's.", adam.adamw_none, 1),
    Property("Without a gradient, the weights shrink by the rate times the decay.", adam.adamw_shrink, 1),
    Property("100 steps equal those of torch.optim.AdamW.", adam.adamw_library, 1),
)

rate_at = LAB.exercise(
    "rate_at",
    "4",
    "warm-up and cosine decay",
    Property("The warm-up rises in equal steps and ends at the peak.", training.rate_warm_up, 1),
    Property("Then the rate falls along half a cosine.", training.rate_cosine, 1),
    Property("Every step has the rate of PyTorch's schedulers, with a warm-up or without.", training.rate_library, 1),
)

clip_by_norm = LAB.exercise(
    "clip_by_norm",
    "5",
    "clipping by the global norm",
    Property("It returns a tensor for each tensor.", training.clip_shapes),
    Property("What is too long comes back with the length allowed.", training.clip_length, 1),
    Property("It equals torch.nn.utils.clip_grad_norm_.", training.clip_library, 1),
    Property("What is short enough stays as it is, even all zeros.", training.clip_short, 1),
)

train = LAB.exercise(
    "train",
    "Capstone",
    "200 steps on real reviews",
    Property("It returns all weights, after at most the steps allowed.", reviews.train_shapes),
    Property("It learns: held-out reviews cost less than a coin toss.", reviews.train_learns, 2),
    Property(f"It reaches the target: at most {reviews.TARGET} nats per held-out review.", reviews.train_target, 3),
)
