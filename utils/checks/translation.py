"""Checks of lab 17, translation: the exercises, their properties in order, and their points."""

from utils.checks import translation_choice as choice
from utils.checks import translation_counts as counts
from utils.checks import translation_parts as parts
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 17: translation")
require, summary = LAB.require, LAB.summary
lines = choice.lines

em_step = LAB.exercise(
    "em_step",
    "1",
    "a dictionary by counting",
    Property("It returns a dictionary over the same pairs, and a number.", counts.step_form),
    Property("The new probabilities are IBM model 1's, after one step and after three.", counts.step_table, 2),
    Property("The log-likelihood is that of the table before the step.", counts.step_likelihood, 2),
)

shift = LAB.exercise(
    "shift",
    "2",
    "teacher forcing",
    Property("It returns two rectangles of the same shape, of whole numbers.", parts.shift_shapes),
    Property("The decoder reads each target behind its beginning.", parts.shift_inputs, 1),
    Property("It is to write the target and its end; padding is -100.", parts.shift_targets, 1),
)

cross_attention = LAB.exercise(
    "cross_attention",
    "3",
    "attention over a padded source",
    Property("It returns a vector for each target position and head.", parts.attention_shape),
    Property("Without padding, it is PyTorch's attention.", parts.attention_plain, 1),
    Property("With padding, too: no weight falls on it.", parts.attention_padded, 2),
)

smoothed_loss = LAB.exercise(
    "smoothed_loss",
    "4",
    "label smoothing",
    Property("It returns one number.", parts.loss_shape),
    Property("Without smoothing, it is the mean cross-entropy.", parts.loss_plain, 1),
    Property("With smoothing, it is PyTorch's.", parts.loss_smoothed, 2),
    Property("Targets of -100 do not count.", parts.loss_ignored, 1),
)

copy_mixture = LAB.exercise(
    "copy_mixture",
    "5",
    "write or point",
    Property("It returns a number for each token of the vocabulary.", parts.mixture_shape),
    Property("Where all source tokens differ, it is the mixture.", parts.mixture_plain, 1),
    Property("A token that stands twice in the source gets both weights.", parts.mixture_repeated, 2),
)

choose = LAB.exercise(
    "choose",
    "6",
    "beat the dictionary",
    Property("It returns a text for each line.", choice.choose_form),
    Property("Its BLEU is above the dictionary's.", choice.choose_better, 1),
    Property(f"It is above it by {choice.TARGET:g} points.", choice.choose_target, 2),
)
