"""Checks of lab 11, mixed precision: the exercises, their properties in order, and their points."""

from utils.checks import mixed_precision_bits as bits
from utils.checks import mixed_precision_gradients as gradients
from utils.checks import mixed_precision_reviews as reviews
from utils.checks import mixed_precision_rounding as rounding
from utils.checks import mixed_precision_sums as sums
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 11: mixed precision")
require, summary = LAB.require, LAB.summary

decode = LAB.exercise(
    "decode",
    "1",
    "from bits to a number",
    Property("Numbers of medium size are right, with both signs.", bits.decode_normal, 1),
    Property("Subnormal numbers and zero are right.", bits.decode_small, 1),
    Property("Infinity and NaN are recognized.", bits.decode_special, 1),
)

gap = LAB.exercise(
    "gap",
    "2a",
    "the gap to the next number",
    Property("It returns a gap for each number.", bits.gap_shape),
    Property("The gap follows the power of 2 below the number.", bits.gap_normal, 1),
    Property("Negative numbers have the gaps of positive ones.", bits.gap_negative, 1),
    Property("Near 0 the gap shrinks no further.", bits.gap_small, 1),
)

round_to = LAB.exercise(
    "round_to",
    "2b",
    "rounding to the nearest number",
    Property("It returns a number for each number.", rounding.round_shape),
    Property("Numbers of medium size become the nearest of the format.", rounding.round_nearest, 1),
    Property("Halfway, the even neighbor is taken.", rounding.round_ties, 1),
    Property("Tiny numbers become multiples of the smallest one, or 0.", rounding.round_small, 1),
    Property("What is too large becomes infinite.", rounding.round_large, 1),
)

add_with_memory = LAB.exercise(
    "add_with_memory",
    "3",
    "a sum that forgets nothing",
    Property("It returns the new total and the new memory, both in bf16.", sums.memory_types),
    Property("Total and memory together are the exact sum.", sums.memory_exact, 1),
    Property("500 small numbers add up to what fp64 finds.", sums.memory_run, 2),
)

next_scale = LAB.exercise(
    "next_scale",
    "4",
    "the rule for the scale",
    Property("It returns the new scale and the good steps in a row.", sums.scale_results),
    Property("An overflow halves the scale, and the count starts anew.", sums.scale_overflow, 1),
    Property("After enough good steps, the scale doubles.", sums.scale_growth, 1),
    Property("60 attempts take the states of torch.amp.GradScaler.", sums.scale_run, 1),
)

unscale_and_clip = LAB.exercise(
    "unscale_and_clip",
    "5",
    "unscale, look, clip",
    Property("It returns gradients in fp32, and a boolean.", gradients.unscale_types),
    Property("Short gradients are divided by the scale, and keep their digits.", gradients.unscale_short, 1),
    Property("Long gradients are clipped as PyTorch clips them.", gradients.unscale_long, 1),
    Property("One infinite or NaN entry is found, wherever it is.", gradients.unscale_overflow, 1),
)

mixed_step = LAB.exercise(
    "mixed_step",
    "6",
    "a whole step",
    Property("It returns weights in fp32, and a boolean.", gradients.step_types),
    Property("The new weights are those of autocast, GradScaler and SGD.", gradients.step_equal, 3),
    Property("A step that overflows changes nothing.", gradients.step_overflow, 1),
)

train = LAB.exercise(
    "train",
    "Capstone",
    "a GPT in fp16",
    Property("It returns all weights, after at most the steps allowed.", reviews.train_shapes),
    Property("It learns, whatever the scale it starts from.", reviews.train_learns, 2),
    Property(f"It loses at most {reviews.MARGIN} nats per held-out byte against fp32.", reviews.train_target, 3),
)
