"""Plausible wrong answers to lab 14, each with words that its card must show and the points that it still earns."""

import math
from collections import Counter

import torch
import torch.nn.functional as F


def parts(confusion):
    hits = confusion.diagonal().double()
    return hits, confusion.sum(dim=0).double(), confusion.sum(dim=1).double()


def micro_of(confusion):
    return (confusion.diagonal().sum() / confusion.sum()).item()


def each_f1(confusion):
    hits, predicted, true = parts(confusion)
    return 2 * hits / (predicted + true).clamp(min=1)


def swapped_means(confusion):
    return micro_of(confusion), each_f1(confusion).mean().item()


def weighted_by_size(confusion):
    true = confusion.sum(dim=1).double()
    return ((each_f1(confusion) * true).sum() / true.sum()).item(), micro_of(confusion)


def f1_of_the_means(confusion):
    hits, predicted, true = parts(confusion)
    p, r = (hits / predicted.clamp(min=1)).mean(), (hits / true.clamp(min=1)).mean()
    return (2 * p * r / (p + r)).item(), micro_of(confusion)


def macro_twice(confusion):
    return each_f1(confusion).mean().item(), each_f1(confusion).mean().item()


def mean_precision(confusion):
    hits, predicted, _ = parts(confusion)
    return (hits / predicted.clamp(min=1)).mean().item(), micro_of(confusion)


def nothing_over_nothing(confusion):
    hits, predicted, true = parts(confusion)
    return (2 * hits / (predicted + true)).mean().item(), micro_of(confusion)


def absent_classes_left_out(confusion):
    kept = (confusion.sum(dim=0) + confusion.sum(dim=1)) > 0
    return each_f1(confusion)[kept].mean().item(), micro_of(confusion)


def f1_from_precision_and_recall(confusion):
    hits, predicted, true = parts(confusion)
    p, r = hits / predicted, hits / true
    return (2 * p * r / (p + r)).mean().item(), micro_of(confusion)


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def not_clipped(hypothesis, references, n):
    found = grams(hypothesis, n)
    return sum(any(one in grams(r, n) for r in references) for one in found), len(found)


def each_once(hypothesis, references, n):
    found = grams(hypothesis, n)
    return sum(any(one in grams(r, n) for r in references) for one in set(found)), len(found)


def references_added_up(hypothesis, references, n):
    found, wanted = Counter(grams(hypothesis, n)), Counter(one for r in references for one in grams(r, n))
    return sum((found & wanted).values()), sum(found.values())


def first_reference_only(hypothesis, references, n):
    found = Counter(grams(hypothesis, n))
    return sum((found & Counter(grams(references[0], n))).values()), sum(found.values())


def one_gram_short(hypothesis, references, n):
    matches, total = right_matches(hypothesis, references, n)
    return matches, total - 1


def total_of_the_references(hypothesis, references, n):
    return right_matches(hypothesis, references, n)[0], sum(len(grams(r, n)) for r in references) + 1


def right_matches(hypothesis, references, n):
    found, wanted = Counter(grams(hypothesis, n)), Counter()
    for one in references:
        wanted |= Counter(grams(one, n))
    return sum((found & wanted).values()), sum(found.values())


def closest(said, wanted):
    return min((abs(len(one) - len(said)), len(one)) for one in wanted)[1]


def score(hypotheses, references, length=closest, mean=False, penalty=True, full=100.0):
    product, total = 1.0, 0.0
    for n in range(1, 5):
        counts = [right_matches(*pair, n) for pair in zip(hypotheses, references, strict=True)]
        precision = sum(m for m, _ in counts) / max(1, sum(t for _, t in counts))
        product, total = product * precision, total + precision
    h, r = sum(map(len, hypotheses)), sum(map(length, hypotheses, references))
    short = min(1.0, math.exp(1 - r / h)) if penalty else 1.0
    return full * short * (total / 4 if mean else product**0.25)


def no_penalty(hypotheses, references):
    return score(hypotheses, references, penalty=False)


def mean_of_sentences(hypotheses, references):
    return sum(score([h], [r]) for h, r in zip(hypotheses, references, strict=True)) / len(hypotheses)


def mean_of_precisions(hypotheses, references):
    return score(hypotheses, references, mean=True)


def not_in_percent(hypotheses, references):
    return score(hypotheses, references, full=1.0)


def shortest_reference(hypotheses, references):
    return score(hypotheses, references, lambda said, wanted: min(map(len, wanted)))


def first_length(hypotheses, references):
    return score(hypotheses, references, lambda said, wanted: len(wanted[0]))


def longer_in_a_tie(hypotheses, references):
    return score(hypotheses, references,
                 lambda said, wanted: min((abs(len(one) - len(said)), -len(one)) for one in wanted)[1] * -1)


def reward_for_length(hypotheses, references):
    h, r = sum(map(len, hypotheses)), sum(map(closest, hypotheses, references))
    return score(hypotheses, references, penalty=False) * math.exp(1 - r / h)


def pieces(common, hypothesis, reference):
    p, r = common / len(hypothesis), common / len(reference)
    return p, r, 2 * p * r / (p + r) if common else 0.0


def subsequence(a, b):
    row = [0] * (len(b) + 1)
    for word in a:
        above, row = row, [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
    return row[-1]


def common_words(hypothesis, reference):
    return pieces(sum((Counter(hypothesis) & Counter(reference)).values()), hypothesis, reference)


def longest_run(hypothesis, reference):
    best, row = 0, [0] * (len(reference) + 1)
    for word in hypothesis:
        row = [0] + [row[j] + 1 if word == other else 0 for j, other in enumerate(reference)]
        best = max(best, *row)
    return pieces(best, hypothesis, reference)


def sides_swapped(hypothesis, reference):
    p, r, f1 = pieces(subsequence(hypothesis, reference), hypothesis, reference)
    return r, p, f1


def greedy(hypothesis, reference):
    common, place = 0, 0
    for word in hypothesis:
        if word in reference[place:]:
            place = reference.index(word, place) + 1
            common += 1
    return pieces(common, hypothesis, reference)


def plain_mean(hypothesis, reference):
    p, r, _ = pieces(subsequence(hypothesis, reference), hypothesis, reference)
    return p, r, (p + r) / 2


def no_match_divides(hypothesis, reference):
    p, r, _ = pieces(subsequence(hypothesis, reference), hypothesis, reference)
    return p, r, 2 * p * r / (p + r)


def edits(a, b, substitution=1):
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b):
            row.append(min(above[j] + substitution * (word != other), above[j + 1] + 1, row[j] + 1))
    return row[-1]


def all_edits(references, hypotheses, **options):
    return sum(edits(r, h, **options) for r, h in zip(references, hypotheses, strict=True))


def words_in(sentences):
    return sum(map(len, sentences))


def place_by_place(references, hypotheses):
    wrong = 0
    for r, h in zip(references, hypotheses, strict=True):
        wrong += sum(a != b for a, b in zip(r, h, strict=False)) + abs(len(r) - len(h))
    return wrong / words_in(references)


def number_of_edits(references, hypotheses):
    return all_edits(references, hypotheses)


def over_the_hypothesis(references, hypotheses):
    return all_edits(references, hypotheses) / words_in(hypotheses)


def double_substitutions(references, hypotheses):
    return all_edits(references, hypotheses, substitution=2) / words_in(references)


def mean_of_rates(references, hypotheses):
    rates = [edits(r, h) / len(r) for r, h in zip(references, hypotheses, strict=True)]
    return sum(rates) / len(rates)


def at_most_one(references, hypotheses):
    return min(1.0, all_edits(references, hypotheses) / words_in(references))


def one_window(nats_of, ids, length, stride):
    return nats_of(ids[:length]).sum().item()


def whole_text_at_once(nats_of, ids, length, stride):
    return nats_of(ids).sum().item()


def cut_into_pieces(nats_of, ids, length, stride):
    windows = (ids[i : i + length] for i in range(0, len(ids), length))
    return sum(nats_of(one).sum().item() for one in windows if len(one) > 1)


def counted_twice(nats_of, ids, length, stride):
    nats, begin = 0.0, 0
    while True:
        nats += nats_of(ids[begin : begin + length]).sum().item()
        if begin + length >= len(ids):
            return nats
        begin += stride


def windows(nats_of, ids, length, stride, shift=0, mean=False, drop_last=False):
    nats, done, begin = 0.0, 1, 0
    while done < len(ids):
        end = min(begin + length, len(ids))
        if drop_last and end - begin < length and begin:
            break
        nats += nats_of(ids[begin:end])[max(0, done - begin - 1 + shift) :].sum().item()
        done, begin = end, begin + stride
    return nats / (len(ids) - 1) if mean else nats


def mean_in_place_of_sum(nats_of, ids, length, stride):
    return windows(nats_of, ids, length, stride, mean=True)


def off_by_one(nats_of, ids, length, stride):
    return windows(nats_of, ids, length, stride, shift=1)


def last_window_dropped(nats_of, ids, length, stride):
    return windows(nats_of, ids, length, stride, drop_last=True)


def always_one_further(nats_of, ids, length, stride):
    return windows(nats_of, ids, length, 1)


def interval_of(each, rows, levels=(0.025, 0.975)):
    return torch.quantile(each[rows].mean(dim=1), torch.tensor(levels).double()).tolist()


def differences(a, b):
    return a.double() - b.double()


def b_minus_a(a, b, rows):
    each = differences(b, a)
    return each.mean().item(), *interval_of(each, rows)


def counts_of_examples(a, b, rows):
    each = len(a) * differences(a, b)
    return each.mean().item(), *interval_of(each, rows)


def ninety_percent(a, b, rows):
    each = differences(a, b)
    return each.mean().item(), *interval_of(each, rows, (0.05, 0.95))


def extremes(a, b, rows):
    each = differences(a, b)
    found = each[rows].mean(dim=1)
    return each.mean().item(), found.min().item(), found.max().item()


def normal_formula(a, b, rows):
    each = differences(a, b)
    half = 1.96 * each.std() / math.sqrt(len(each))
    return each.mean().item(), (each.mean() - half).item(), (each.mean() + half).item()


def resampled_apart(a, b, rows):
    found = a.double()[rows].mean(dim=1) - b.double()[rows.flip(0)].mean(dim=1)
    return differences(a, b).mean().item(), *torch.quantile(found, torch.tensor([0.025, 0.975]).double()).tolist()


def mean_of_the_resamples(a, b, rows):
    each = differences(a, b)
    return each[rows].mean().item(), *interval_of(each, rows)


def alone(a, b):
    return int((a & ~b).sum()), int((b & ~a).sum())


def tail(n, least):
    return sum(math.comb(n, i) for i in range(least + 1)) / 2**n


def one_tail(a, b):
    return tail(sum(alone(a, b)), min(alone(a, b)))


def exactly_this_split(a, b):
    n, least = sum(alone(a, b)), min(alone(a, b))
    return math.comb(n, least) / 2**n


def chi_squared(a, b):
    x, y = alone(a, b)
    return math.erfc(abs(x - y) / math.sqrt(2 * (x + y)))


def all_examples_as_coins(a, b):
    n, k = len(a), int(a.sum())
    return min(1.0, 2 * tail(n, min(k, n - k)))


def one_direction(a, b):
    x, y = alone(a, b)
    return min(1.0, 2 * tail(x + y, y))


def above_one(a, b):
    return 2 * one_tail(a, b)


def binned(confidences, correct, n_bins):
    bins = (confidences * n_bins).long().clamp(max=n_bins - 1)
    found = []
    for m in bins.unique():
        chosen = bins == m
        gap = abs(confidences[chosen].double().mean() - correct[chosen].double().mean()).item()
        found.append((gap, chosen.sum().item() / len(bins)))
    return found


def bins_alike(confidences, correct, n_bins):
    found = binned(confidences, correct, n_bins)
    return sum(gap for gap, _ in found) / len(found)


def largest_gap(confidences, correct, n_bins):
    return max(gap for gap, _ in binned(confidences, correct, n_bins))


def without_bins(confidences, correct, n_bins):
    return abs(confidences.double().mean() - correct.double().mean()).item()


def over_all_bins(confidences, correct, n_bins):
    return sum(gap for gap, _ in binned(confidences, correct, n_bins)) / n_bins


def bins_of_equal_size(confidences, correct, n_bins):
    gaps = (correct.double() - confidences.double())[confidences.argsort()]
    return sum(abs(one.sum().item()) for one in gaps.tensor_split(n_bins)) / len(gaps)


def empty_bins_break(confidences, correct, n_bins):
    error = 0.0
    for m in range(n_bins):
        chosen = (confidences * n_bins).long() == m
        if m < n_bins // 2:
            continue
        error += chosen.sum().item() * abs(confidences[chosen].mean() - correct[chosen].double().mean()).item()
    return error / len(confidences)


def search(logits, targets, low, high, by=lambda logits, T: logits / T):
    grid = torch.logspace(math.log10(low), math.log10(high), 800).tolist()
    return min(grid, key=lambda T: F.cross_entropy(by(logits, T), targets).item())


def always_one(logits, targets):
    return 1.0


def multiplied(logits, targets):
    return search(logits, targets, 0.04, 25, lambda logits, T: logits * T)


def coarse(logits, targets):
    return search(logits, targets, 0.04, 25) * 1.1


def worst_loss(logits, targets):
    return search(-logits, targets, 0.04, 25)


def never_below_one(logits, targets):
    return search(logits, targets, 1, 25)


def judged(calibration, test, rows, *, own="ab", scale=True, fit_on=None, better=None):
    right = {name: test[name].argmax(dim=1) == test["targets"] for name in "ab"}
    low, high = interval_of(differences(right["a"], right["b"]), rows)
    verdict = better or ("a" if low > 0 else "b" if high < 0 else "undecided")
    fit_on = fit_on or calibration
    probs = []
    for name, other in zip("ab", own, strict=True):
        temperature = search(fit_on[other], fit_on["targets"], 0.04, 25) if scale else 1.0
        probs.append((test[name] / temperature).softmax(dim=1))
    return verdict, *probs


def always_a(calibration, test, rows):
    return judged(calibration, test, rows, better="a")


def never_decides(calibration, test, rows):
    return judged(calibration, test, rows, better="undecided")


def not_scaled(calibration, test, rows):
    return judged(calibration, test, rows, scale=False)


def fitted_on_the_test(calibration, test, rows):
    return judged(calibration, test, rows, fit_on=test)


def one_temperature_for_both(calibration, test, rows):
    return judged(calibration, test, rows, own="aa")


def logits_returned(calibration, test, rows):
    return judged(calibration, test, rows)[0], test["a"], test["b"]


def verdict_alone(calibration, test, rows):
    return judged(calibration, test, rows)[0]


WRONG = {
    "f1_scores": [
        (swapped_means, "changed places", 0),
        (weighted_by_size, "all classes count alike", 0),
        (f1_of_the_means, "the mean precision and the mean recall", 0),
        (macro_twice, "This is the macro F1", 0),
        (mean_precision, "This is the mean precision", 0),
        (nothing_over_nothing, "is NaN", 2),
        (f1_from_precision_and_recall, "is NaN", 2),
        (absent_classes_left_out, "neither occurs nor is predicted", 2),
    ],
    "matching_ngrams": [
        (not_clipped, "clip the counts", 0),
        (each_once, "is not sacrebleu's", 0),
        (one_gram_short, "L - n + 1", 0),
        (total_of_the_references, "L - n + 1", 0),
        (references_added_up, "is not sacrebleu's", 1),
        (first_reference_only, "is not sacrebleu's", 1),
    ],
    "bleu": [
        (mean_of_sentences, "a mean over sentences", 0),
        (mean_of_precisions, "the mean of the four precisions", 0),
        (not_in_percent, "from 0 to 100", 0),
        (reward_for_length, "not sacrebleu's", 0),
        (no_penalty, "The brevity penalty is missing", 1),
        (shortest_reference, "not sacrebleu's", 2),
        (first_length, "always the first reference", 2),
        (longer_in_a_tie, "are as close", 2),
    ],
    "rouge_l": [
        (common_words, "not rouge-score's", 0),
        (longest_run, "not rouge-score's", 0),
        (sides_swapped, "changed places", 0),
        (plain_mean, "plain mean", 0),
        (greedy, "not rouge-score's", 0),
        (no_match_divides, "ZeroDivisionError", 2),
    ],
    "word_error_rate": [
        (place_by_place, "is not jiwer's", 0),
        (number_of_edits, "not the rate", 0),
        (over_the_hypothesis, "is not jiwer's", 0),
        (double_substitutions, "is not jiwer's", 0),
        (mean_of_rates, "Each sentence counts alike", 1),
        (at_most_one, "A rate above 1 is possible", 2),
    ],
    "sliding_nats": [
        (mean_in_place_of_sum, "This is the mean", 0),
        (off_by_one, "the sum of nats is wrong", 0),
        (one_window, "the first window alone", 1),
        (whole_text_at_once, "expected a window", 1),
        (cut_into_pieces, "the first token of each is not scored", 1),
        (counted_twice, "counted twice", 1),
        (last_window_dropped, "The last window is cut short", 1),
        (always_one_further, "move by one", 1),
    ],
    "paired_interval": [
        (b_minus_a, "b minus a", 0),
        (counts_of_examples, "not the share", 0),
        (mean_of_the_resamples, "The difference is wrong", 0),
        (ninety_percent, "holds 90 %", 1),
        (extremes, "most extreme", 1),
        (normal_formula, "not the end of SciPy's", 1),
        (resampled_apart, "not the end of SciPy's", 1),
    ],
    "mcnemar": [
        (one_tail, "one tail only", 0),
        (exactly_this_split, "exactly this split", 0),
        (chi_squared, "chi-squared", 0),
        (all_examples_as_coins, "not the exact p-value", 0),
        (one_direction, "not the exact p-value", 0),
        (above_one, "at most 1", 2),
    ],
    "calibration_error": [
        (bins_alike, "All bins count alike", 0),
        (largest_gap, "the largest gap", 0),
        (without_bins, "the error is not that", 0),
        (over_all_bins, "the error is not that", 0),
        (bins_of_equal_size, "the error is not that", 0),
        (empty_bins_break, "is NaN", 2),
    ],
    "fit_temperature": [
        (always_one, "at a temperature of 1", 0),
        (multiplied, "This is 1/T", 0),
        (coarse, "not the best one", 0),
        (worst_loss, "not the best one", 0),
        (never_below_one, "not the best one", 2),
    ],
    "compare": [
        (always_a, "the whole 95 % interval", 0),
        (never_decides, "the whole 95 % interval", 0),
        (verdict_alone, "must return 3 results", 0),
        (not_scaled, "They are not calibrated", 2),
        (logits_returned, "These are not the probabilities", 2),
        (fitted_on_the_test, "These are not the probabilities", 2),
        (one_temperature_for_both, "These are not the probabilities", 2),
    ],
}
