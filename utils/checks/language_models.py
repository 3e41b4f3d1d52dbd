"""Checks of lab 01, language models: the exercises, their properties in order, and their points."""

from utils.checks import language_models_counts as counts
from utils.checks import language_models_measures as measures
from utils.checks import language_models_mixtures as mixtures
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 01: language models")
require, summary = LAB.require, LAB.summary

count_next = LAB.exercise(
    "count_next", "1", "what comes next, and how often",
    Property("The result maps contexts, which are bytes, to counts of single bytes.", counts.next_form),
    Property("Without any context it counts the bytes of the text.", counts.next_single, 1),
    Property("With longer contexts the counts are those of scikit-learn.", counts.next_library, 2))

add_k = LAB.exercise(
    "add_k", "2", "from counts to probabilities",
    Property("Over the whole vocabulary the probabilities sum to one, and none is 0.", counts.add_k_sum),
    Property("They equal those of scikit-learn, also after a context that was never seen.", counts.add_k_library, 2))

perplexity = LAB.exercise(
    "perplexity", "3a", "perplexity",
    Property("The result is a number of at least 1.", measures.perplexity_number),
    Property("It is one over the geometric mean, as SciPy computes it.", measures.perplexity_library, 1),
    Property("It also works for a text of thousands of tokens.", measures.perplexity_long, 1))

bits_per_byte = LAB.exercise(
    "bits_per_byte", "3b", "bits per byte",
    Property("The result is a number of at least 0.", measures.bits_number),
    Property("With one token a byte, it is the mean number of bits.", measures.bits_plain, 1),
    Property("Longer tokens and letters of several bytes change nothing: bytes are bytes.", measures.bits_bytes, 1))

interpolate = LAB.exercise(
    "interpolate", "4", "a mix of all orders",
    Property("The probabilities of all bytes sum to one, whatever the context.", mixtures.interpolate_sum),
    Property("With single bytes only, shares are mixed with 1 / V.", mixtures.interpolate_single, 1),
    Property("With contexts it equals the course's model, be they seen, unseen, short or long.",
             mixtures.interpolate_library, 2))

continuation_counts = LAB.exercise(
    "continuation_counts", "5a", "how many different bytes come before",
    Property("The contexts are one byte shorter.", counts.continuation_form),
    Property("Each count says how many different bytes came before.", counts.continuation_library, 2))

kneser_ney = LAB.exercise(
    "kneser_ney", "5b", "Kneser-Ney",
    Property("What the discount takes is handed on: the probabilities sum to one.", mixtures.kneser_ney_sum),
    Property("It is right for single bytes.", mixtures.kneser_ney_single, 1),
    Property("With contexts it equals the course's model, be they seen, unseen, short or long.",
             mixtures.kneser_ney_library, 2))

draw_next = LAB.exercise(
    "draw_next", "6", "draw the next token",
    Property("The result is the number of a token whose probability is not 0.", measures.draw_possible),
    Property("It is the token that NumPy draws with the same random number.", measures.draw_library, 1),
    Property("Rounding leaves no gap at the end.", measures.draw_gap, 1))

predict = LAB.exercise(
    "predict", "Capstone", "a model of film reviews",
    Property("There is one probability for each byte of the text.", mixtures.predict_form),
    Property("After any beginning, the probabilities of all bytes sum to one.", mixtures.predict_sum),
    Property("No probability depends on what comes later.", mixtures.predict_causal),
    Property("Held-out reviews cost less than 3 bits a byte.", mixtures.predict_good, 2),
    Property("They cost at most 2.45 bits a byte.", mixtures.predict_target, 4))
