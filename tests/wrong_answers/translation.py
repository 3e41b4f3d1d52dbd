"""Plausible wrong answers to lab 17, each with words that its card must show and the points that it still earns."""

import difflib
import math

import torch
import torch.nn.functional as F


def shares_of(t, sources, targets, even=False):
    shares, log_likelihood = dict.fromkeys(t, 0.0), 0.0
    for source, target in zip(sources, targets, strict=True):
        for f in target:
            z = sum(t[e, f] for e in source)
            log_likelihood += math.log(z / len(source))
            for e in source:
                shares[e, f] += 1 if even else t[e, f] / z
    return shares, log_likelihood


def divided(shares, which):
    totals = {}
    for pair, share in shares.items():
        totals[pair[which]] = totals.get(pair[which], 0.0) + share
    return {pair: share / totals[pair[which]] for pair, share in shares.items()}


def right_step(t, sources, targets):
    shares, log_likelihood = shares_of(t, sources, targets)
    return divided(shares, 0), log_likelihood


def divided_by_the_target(t, sources, targets):
    shares, log_likelihood = shares_of(t, sources, targets)
    return divided(shares, 1), log_likelihood


def not_divided(t, sources, targets):
    return shares_of(t, sources, targets)


def every_pair_counts_one(t, sources, targets):
    shares, log_likelihood = shares_of(t, sources, targets, even=True)
    return divided(shares, 0), log_likelihood


def table_as_it_was(t, sources, targets):
    return dict(t), shares_of(t, sources, targets)[1]


def first_sentence_only(t, sources, targets):
    shares, log_likelihood = shares_of(t, sources[:1], targets[:1])
    return {pair: share for pair, share in shares.items() if share}, log_likelihood


def table_alone(t, sources, targets):
    return right_step(t, sources, targets)[0]


def likelihood_afterwards(t, sources, targets):
    table, _ = right_step(t, sources, targets)
    return table, shares_of(table, sources, targets)[1]


def lengths_forgotten(t, sources, targets):
    table, log_likelihood = right_step(t, sources, targets)
    return table, log_likelihood + sum(len(f) * math.log(len(e)) for e, f in zip(sources, targets, strict=True))


def likelihood_positive(t, sources, targets):
    table, log_likelihood = right_step(t, sources, targets)
    return table, -log_likelihood


def likelihood_in_bits(t, sources, targets):
    table, log_likelihood = right_step(t, sources, targets)
    return table, log_likelihood / math.log(2)


def rectangles(reads, writes, fill_reads, fill_writes):
    width = max(len(row) for row in [*reads, *writes])
    fill = lambda rows, value: torch.tensor([[*row] + [value] * (width - len(row)) for row in rows])  # noqa: E731
    return fill(reads, fill_reads), fill(writes, fill_writes)


def exchanged(targets, begin, end, pad):
    return rectangles([[*x, end] for x in targets], [[begin, *x] for x in targets], -100, pad)


def not_shifted(targets, begin, end, pad):
    return rectangles([[*x, end] for x in targets], [[*x, end] for x in targets], pad, -100)


def inputs_padded_with_ignore(targets, begin, end, pad):
    return rectangles([[begin, *x] for x in targets], [[*x, end] for x in targets], -100, -100)


def padding_is_learned(targets, begin, end, pad):
    return rectangles([[begin, *x] for x in targets], [[*x, end] for x in targets], pad, pad)


def end_forgotten(targets, begin, end, pad):
    return rectangles([[begin, *x] for x in targets], [[*x, -100] for x in targets], pad, -100)


def both_in_each(targets, begin, end, pad):
    rows = [[begin, *x, end] for x in targets]
    return rectangles(rows, rows, pad, -100)


def floating_ids(targets, begin, end, pad):
    return tuple(x.float() for x in rectangles([[begin, *x] for x in targets], [[*x, end] for x in targets], pad, -100))


def scores_of(q, k, root=True):
    return q @ k.mT / (math.sqrt(q.shape[-1]) if root else 1)


def root_missing(q, k, v, source_mask):
    return scores_of(q, k, root=False).softmax(-1) @ v


def softmax_over_queries(q, k, v, source_mask):
    return scores_of(q, k).softmax(-2) @ v


def mask_not_used(q, k, v, source_mask):
    return scores_of(q, k).softmax(-1) @ v


def mask_turned_around(q, k, v, source_mask):
    scores = scores_of(q, k)
    if not source_mask.all():
        scores = scores.masked_fill(source_mask[:, None, None], -math.inf)
    return scores.softmax(-1).nan_to_num() @ v


def masked_afterwards(q, k, v, source_mask):
    return (scores_of(q, k).softmax(-1) * source_mask[:, None, None]) @ v


def scores_set_to_zero(q, k, v, source_mask):
    return (scores_of(q, k) * source_mask[:, None, None]).softmax(-1) @ v


def weights_alone(q, k, v, source_mask):
    return scores_of(q, k).softmax(-1)


def mask_without_axes(q, k, v, source_mask):
    return scores_of(q, k).masked_fill(~source_mask[:, :, None, None, None], -math.inf).softmax(-1) @ v


def smoothed(logits, targets, a):
    return F.cross_entropy(logits, targets, label_smoothing=a)


def losses_added(logits, targets, smoothing):
    return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")


def loss_positive_log(logits, targets, smoothing):
    return -smoothed(logits, targets, smoothing)


def logits_as_they_are(logits, targets, smoothing):
    return -logits.gather(1, targets.clamp(min=0)[:, None]).mean()


def one_for_each(logits, targets, smoothing):
    return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")


def not_smoothed(logits, targets, smoothing):
    return F.cross_entropy(logits, targets)


def others_alone(logits, targets, smoothing):
    logs, kept = logits.log_softmax(-1), targets != -100
    logs, targets = logs[kept], targets[kept]
    right = -logs.gather(1, targets[:, None])[:, 0]
    others = (-logs.sum(-1) - right) / (logits.shape[1] - 1)
    return ((1 - smoothing) * right + smoothing * others).mean()


def summed_over_the_vocabulary(logits, targets, smoothing):
    logs = logits.log_softmax(-1)
    return (1 - smoothing) * F.cross_entropy(logits, targets) - smoothing * logs.sum(-1).mean()


def right_token_kept_whole(logits, targets, smoothing):
    return F.cross_entropy(logits, targets) - smoothing * logits.log_softmax(-1).mean()


def ignored_are_counted(logits, targets, smoothing):
    return smoothed(logits, targets, smoothing) * (targets != -100).double().mean()


def ignored_are_token_zero(logits, targets, smoothing):
    return smoothed(logits, targets.clamp(min=0), smoothing)


def ignored_not_handled(logits, targets, smoothing):
    logs = logits.log_softmax(-1)
    right = -logs.gather(1, targets[:, None])[:, 0]
    return ((1 - smoothing) * right - smoothing * logs.mean(-1)).mean()


def pointed(weights, ids, like):
    return torch.zeros_like(like).scatter_add(-1, ids[:, None].expand_as(weights), weights)


def gate_exchanged(written, weights, source_ids, gate):
    return gate * written + (1 - gate) * pointed(weights, source_ids, written)


def all_of_the_vocabulary(written, weights, source_ids, gate):
    return written + gate * pointed(weights, source_ids, written)


def all_of_the_pointer(written, weights, source_ids, gate):
    return (1 - gate) * written + pointed(weights, source_ids, written)


def never_copies(written, weights, source_ids, gate):
    return (1 - gate) * written


def last_place_counts(written, weights, source_ids, gate):
    found = (1 - gate) * written
    for b, row in enumerate(source_ids.tolist()):
        base = found[b].clone()
        for s, token in enumerate(row):
            found[b, :, token] = base[:, token] + (gate * weights)[b, :, s]
    return found


def places_not_repeated(written, weights, source_ids, gate):
    return ((1 - gate) * written).scatter_add(-1, source_ids, gate * weights)


def pointer_alone(written, weights, source_ids, gate):
    return gate * weights


def always_the_dictionary(english, drafts, near_english, near_chinese):
    return list(drafts)


def always_the_nearest(english, drafts, near_english, near_chinese):
    return list(near_chinese)


def the_english(english, drafts, near_english, near_chinese):
    return list(english)


def chosen_at(threshold):
    def choose(english, drafts, near_english, near_chinese):
        return [
            chinese if difflib.SequenceMatcher(None, text.lower(), near.lower()).ratio() >= threshold else draft
            for text, draft, near, chinese in zip(english, drafts, near_english, near_chinese, strict=True)
        ]

    return choose


def too_careful(english, drafts, near_english, near_chinese):
    return chosen_at(0.96)(english, drafts, near_english, near_chinese)


def one_text(english, drafts, near_english, near_chinese):
    return "".join(drafts)


def one_line_missing(english, drafts, near_english, near_chinese):
    return drafts[1:]


WRONG = {
    "em_step": [
        (divided_by_the_target, "total of the source word e", 0), (not_divided, "These are the shares", 0),
        (every_pair_counts_one, "Every pair counts 1", 0), (table_as_it_was, "Nothing has changed", 0),
        (first_sentence_only, "no table over the same pairs", 0), (table_alone, "must return 2 results", 0),
        (likelihood_afterwards, "after the step", 2), (lengths_forgotten, "number of source words", 2),
        (likelihood_positive, "sign is wrong", 2), (likelihood_in_bits, "natural logarithm", 2),
    ],
    "shift": [
        (exchanged, "two are exchanged", 0), (not_shifted, "Without the shift", 0),
        (inputs_padded_with_ignore, "no embedding has the number -100", 0),
        (padding_is_learned, "Padding would be learned", 1), (end_forgotten, "never learn to stop", 1),
        (both_in_each, "wrong shape", 0), (floating_ids, "These are no ids", 0),
    ],
    "cross_attention": [
        (root_missing, "square root of Dh is missing", 0), (softmax_over_queries, "runs over the queries", 0),
        (mask_not_used, "mask was not used", 1), (mask_turned_around, "True marks real tokens", 1),
        (masked_afterwards, "no longer sum to 1", 1), (scores_set_to_zero, "A score of 0 is not hidden", 1),
        (weights_alone, "wrong shape", 0), (mask_without_axes, "raised RuntimeError", 0),
    ],
    "smoothed_loss": [
        (losses_added, "take their mean", 0), (loss_positive_log, "sign is wrong", 0),
        (logits_as_they_are, "logits, not log-probabilities", 0), (one_for_each, "wrong shape", 0),
        (not_smoothed, "Smoothing was not used", 1), (others_alone, "the right one included", 1),
        (summed_over_the_vocabulary, "Divide by V", 1), (right_token_kept_whole, "keeps 1 - a only", 1),
        (ignored_are_counted, "They add nothing, but are counted", 3),
        (ignored_are_token_zero, "-100 was read", 3), (ignored_not_handled, "raised", 3),
    ],
    "copy_mixture": [
        (gate_exchanged, "shares are exchanged", 0), (all_of_the_vocabulary, "vocabulary's share is 1 - gate", 0),
        (all_of_the_pointer, "multiplied by the gate", 0), (never_copies, "Copying is missing", 0),
        (last_place_counts, "Only the last of its places", 1), (places_not_repeated, "raised RuntimeError", 0),
        (pointer_alone, "wrong shape", 0),
    ],
    "choose": [
        (always_the_dictionary, "dictionary alone", 0), (always_the_nearest, "nearest pair alone", 0),
        (the_english, "not good enough", 0), (too_careful, "Try several thresholds", 1),
        (one_text, "not a text for each line", 0), (one_line_missing, "not a text for each line", 0),
    ],
}
