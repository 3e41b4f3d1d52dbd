"""Checks of lab 08, fine-tuning: the exercises, their properties in order, and their points."""

from utils.checks import fine_tuning_adapters as adapters
from utils.checks import fine_tuning_heads as heads
from utils.checks import fine_tuning_reviews as reviews
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 08: fine-tuning")
require, summary = LAB.require, LAB.summary

pad_batch = LAB.exercise(
    "pad_batch",
    "1",
    "a batch with padding",
    Property("Both results are rectangles, as wide as the longest sequence.", heads.pad_shapes),
    Property("Short rows are filled up on the right.", heads.pad_ids, 1),
    Property("The mask is True at the real tokens, whatever they are.", heads.pad_mask, 2),
)

mean_pool = LAB.exercise(
    "mean_pool",
    "2",
    "mean pooling under a mask",
    Property("There is one vector for each text.", heads.pool_shape),
    Property("It is the mean over the real tokens, and over nothing else.", heads.pool_library, 2),
)

classify = LAB.exercise(
    "classify",
    "3",
    "a head and its loss",
    Property("There is one logit for each class, and one loss.", heads.classify_shapes),
    Property("The logits are those of a linear layer.", heads.classify_logits, 1),
    Property("The loss is the mean cross-entropy.", heads.classify_loss, 1),
    Property("Rows without a label do not count, and large logits do not overflow.", heads.classify_unlabeled, 1),
)

freeze_all_but = LAB.exercise(
    "freeze_all_but",
    "4",
    "freezing and counting",
    Property("It returns two whole numbers.", adapters.freeze_numbers),
    Property("A step of training moves what is named, and nothing else.", adapters.freeze_moves, 1),
    Property("The numbers trained, and all of them, are counted right.", adapters.freeze_counts, 2),
)

lora_output = LAB.exercise(
    "lora_output",
    "5a",
    "a layer with a LoRA adapter",
    Property("The output is as wide as the layer's.", adapters.lora_shape),
    Property("An adapter with B = 0 changes nothing.", adapters.lora_start, 1),
    Property("It equals the course's LoRA layer.", adapters.lora_library, 2),
)

merge_lora = LAB.exercise(
    "merge_lora",
    "5b",
    "merging the adapter",
    Property("The merged weight has the weight's shape.", adapters.merge_shape),
    Property("A plain layer with it gives what the adapted layer gave.", adapters.merge_library, 2),
)

wilson_interval = LAB.exercise(
    "wilson_interval",
    "6",
    "an accuracy with its interval",
    Property("It returns two numbers.", heads.wilson_numbers),
    Property("They are the ends of Wilson's 95 % interval, as SciPy computes it.", heads.wilson_library, 2),
    Property("It also holds when all answers are right, or none.", heads.wilson_ends, 1),
)

fine_tune = LAB.exercise(
    "fine_tune",
    "Capstone",
    "a classifier of reviews",
    Property("It returns the model, with finite weights.", reviews.fine_tune_returns),
    Property("Training moves the head.", reviews.fine_tune_moves, 1),
    Property("On real reviews, it beats a coin.", reviews.fine_tune_learns, 2),
    Property(f"It gets at least {reviews.TARGET:.0%} of the held-out reviews right.", reviews.fine_tune_target, 3),
)
