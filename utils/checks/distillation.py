"""Checks of lab 15, distillation: the exercises, their properties in order, and their points."""

from utils.checks import distillation_codes as codes
from utils.checks import distillation_losses as losses
from utils.checks import distillation_reviews as reviews
from utils.checks import distillation_weights as weights
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 15: distillation")
require, summary = LAB.require, LAB.summary
school = reviews.school

distillation_loss = LAB.exercise(
    "distillation_loss",
    "1a",
    "the distillation loss",
    Property("It returns one number.", losses.loss_shape),
    Property("At temperature 1, it is PyTorch's KL divergence from the teacher.", losses.loss_plain, 1),
    Property("At other temperatures, both are softened, and the factor is T².", losses.loss_soft, 2),
    Property("With logits in the thousands, it stays finite.", losses.loss_large, 1),
)

distillation_gradient = LAB.exercise(
    "distillation_gradient",
    "1b",
    "its gradient",
    Property("It returns a number for each of the student's logits.", losses.gradient_shape),
    Property("It equals autograd's, at several temperatures.", losses.gradient_autograd, 2),
)

mixed_loss = LAB.exercise(
    "mixed_loss",
    "2",
    "labels, too",
    Property("A share of 0 is the labels' loss alone, a share of 1 the teacher's.", losses.mixed_ends, 1),
    Property("Between, it is the weighted mean.", losses.mixed_between, 1),
)

agreement = LAB.exercise(
    "agreement",
    "3",
    "agreement with an interval",
    Property("The share of equal decisions is right.", losses.agreement_share, 1),
    Property("The interval is Wilson's, as SciPy has it, also where all agree.", losses.agreement_interval, 2),
)

quantize = LAB.exercise(
    "quantize",
    "4a",
    "eight bits a number",
    Property("It returns codes in int8, and a scale for each row.", codes.quantize_shapes),
    Property("Each row's largest size is 127 scales.", codes.quantize_scales, 1),
    Property("The codes are those of PyTorch's quantization by channel.", codes.quantize_library, 2),
    Property("A row of zeros stays one.", codes.quantize_zeros, 1),
)

pack = LAB.exercise(
    "pack",
    "4b",
    "two codes in a byte",
    Property("It returns half as many bytes.", codes.pack_shape),
    Property("Codes from 0 to 7 come out right.", codes.pack_positive, 1),
    Property("So do negative ones.", codes.pack_all, 1),
)

unpack = LAB.exercise(
    "unpack",
    "4c",
    "and back",
    Property("It returns twice as many codes.", codes.unpack_shape),
    Property("Codes from 0 to 7 come back.", codes.unpack_positive, 1),
    Property("So do negative ones.", codes.unpack_all, 1),
)

magnitude_mask = LAB.exercise(
    "magnitude_mask",
    "5",
    "an exact share of zeros",
    Property("It returns a boolean mask.", weights.mask_shape),
    Property("It equals the mask of torch.nn.utils.prune.", weights.mask_library, 2),
    Property("Exactly so many weights go, even if many have the same size.", weights.mask_ties, 1),
)

every_other_layer = LAB.exercise(
    "every_other_layer",
    "6",
    "a student from its teacher's layers",
    Property("The names are those of a model with half the layers.", weights.layers_names, 1),
    Property("Every tensor is the right layer's, in a teacher of 22 layers, too.", weights.layers_library, 2),
)

distil = LAB.exercise(
    "distil",
    "Capstone",
    "a student without labels",
    Property("It returns a model with at most a quarter of the teacher's parameters.", reviews.distil_model),
    Property("It learns: it agrees with the teacher more often than one decision for all does.",
             reviews.distil_learns, 2),
    Property(f"It reaches the target: agreement on at least {reviews.TARGET:.0%} of the held-out reviews.",
             reviews.distil_target, 3),
)
