"""Checks of lab 14, evaluation: the exercises, their properties in order, and their points."""

from utils.checks import evaluation_calibration as calibration
from utils.checks import evaluation_overlap as overlap
from utils.checks import evaluation_reviews as reviews
from utils.checks import evaluation_scores as scores
from utils.checks import evaluation_tests as tests
from utils.checks import evaluation_windows as windows
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 14: evaluation")
require, summary = LAB.require, LAB.summary

f1_scores = LAB.exercise(
    "f1_scores",
    "1",
    "macro and micro F1",
    Property("Both are scikit-learn's, for classes of different sizes.", scores.f1_library, 2),
    Property("A class without hits has an F1 of 0, not 0/0.", scores.f1_missing, 1),
)

matching_ngrams = LAB.exercise(
    "matching_ngrams",
    "2a",
    "clipped matches",
    Property("With one reference, the counts are sacrebleu's.", overlap.matches_one, 1),
    Property("With several references, too.", overlap.matches_several, 2),
)

bleu = LAB.exercise(
    "bleu",
    "2b",
    "BLEU of a corpus",
    Property("Long hypotheses have sacrebleu's score.", overlap.bleu_long, 1),
    Property("Short hypotheses pay for it.", overlap.bleu_short, 1),
    Property("Of several references, the closest length counts.", overlap.bleu_references, 1),
    Property("Without a match of four words, the score is 0.", overlap.bleu_nothing),
)

rouge_l = LAB.exercise(
    "rouge_l",
    "3",
    "ROUGE-L",
    Property("A few pairs have rouge-score's values.", overlap.rouge_scores, 1),
    Property("All pairs have them.", overlap.rouge_all, 1),
    Property("Without a common word, all is 0.", overlap.rouge_nothing, 1),
)

word_error_rate = LAB.exercise(
    "word_error_rate",
    "4",
    "the word error rate",
    Property("One sentence has jiwer's rate.", scores.wer_one, 1),
    Property("So has a corpus.", scores.wer_corpus, 1),
    Property("So have extreme cases.", scores.wer_extremes, 1),
)

sliding_nats = LAB.exercise(
    "sliding_nats",
    "5",
    "perplexity with sliding windows",
    Property("A text of one window is summed up.", windows.windows_short, 1),
    Property("Each token of a longer text is scored once, after the context it should have.", windows.windows_long, 2),
    Property("So it is on the course's GPT and a real review.", windows.windows_gpt, 1),
)

paired_interval = LAB.exercise(
    "paired_interval",
    "6a",
    "the interval of a difference",
    Property("The difference is that of the accuracies.", tests.interval_difference, 1),
    Property("The interval is that of SciPy's paired bootstrap.", tests.interval_scipy, 2),
)

mcnemar = LAB.exercise(
    "mcnemar",
    "6b",
    "McNemar's test",
    Property("Uneven splits have SciPy's p-value, in both directions.", tests.mcnemar_uneven, 2),
    Property("So have even splits, and no disagreement at all.", tests.mcnemar_even, 1),
)

calibration_error = LAB.exercise(
    "calibration_error",
    "7a",
    "the calibration error",
    Property("It is that of scikit-learn's bins.", calibration.error_value, 2),
    Property("Empty bins do no harm.", calibration.error_sparse, 1),
)

fit_temperature = LAB.exercise(
    "fit_temperature",
    "7b",
    "the best temperature",
    Property("A model that is too sure is cooled down as SciPy does it.", calibration.temperature_sure, 2),
    Property("A model that is not sure enough is sharpened.", calibration.temperature_unsure, 1),
)

compare = LAB.exercise(
    "compare",
    "Capstone",
    "which model is better?",
    Property("It returns a verdict, and probabilities for each review.", reviews.compare_shapes),
    Property("The verdict follows from the paired interval.", reviews.compare_verdict, 2),
    Property("The temperatures are those of the calibration reviews.", reviews.compare_predictions, 1),
    Property(f"The calibration error is at most {reviews.TARGET}.", reviews.compare_target, 2),
)
