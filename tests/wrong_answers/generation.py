"""Plausible wrong answers to lab 13, each with words that its card must show and the points that it still earns."""

import torch
import torch.nn.functional as F


def always_the_likeliest(logits, temperature, u):
    return logits.argmax(dim=-1)


def any_token(logits, temperature, u):
    return (u * logits.shape[-1]).long()


def chance_of_torch(logits, temperature, u):
    sums = logits.softmax(dim=-1).cumsum(dim=-1)
    return (sums <= u[:, None]).sum(dim=-1)


def multiplied_by_the_temperature(logits, temperature, u):
    return ((logits * temperature).softmax(dim=-1).cumsum(dim=-1) <= u[:, None]).sum(dim=-1)


def divided_probabilities(logits, temperature, u):
    probs = logits.softmax(dim=-1) / temperature
    return ((probs / probs.sum(dim=-1, keepdim=True)).cumsum(dim=-1) <= u[:, None]).sum(dim=-1)


def one_too_far(logits, temperature, u):
    sums = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
    return ((sums <= u[:, None]).sum(dim=-1) + 1) % logits.shape[-1]


def overflowing(logits, temperature, u):
    powers = (logits / temperature).exp()
    sums = (powers / powers.sum(dim=-1, keepdim=True)).cumsum(dim=-1)
    return (sums <= u[:, None]).sum(dim=-1)


def unnormalized(logits, temperature, u):
    return ((logits / temperature).exp().cumsum(dim=-1) <= u[:, None]).sum(dim=-1)


def ids_as_a_column(logits, temperature, u):
    return always_the_likeliest(logits, temperature, u)[:, None]


def kth(logits, k):
    return logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]


def exactly_k(logits, k):
    values, places = logits.topk(min(k, logits.shape[-1]), dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values)


def kth_is_gone(logits, k):
    return logits.masked_fill(logits <= kth(logits, k), -torch.inf)


def one_too_many(logits, k):
    return logits.masked_fill(logits < logits.topk(k + 1, dim=-1).values[:, -1:], -torch.inf)


def smallest_k(logits, k):
    return -exactly_k(-logits, k).masked_fill(exactly_k(-logits, k) == -torch.inf, torch.inf)


def k_of_the_batch(logits, k):
    return logits.masked_fill(logits < logits.flatten().topk(k).values[-1], -torch.inf)


def zeros_in_place_of_infinity(logits, k):
    return logits.masked_fill(logits < kth(logits, k), 0.0)


def k_at_most_the_vocabulary(logits, k):
    return logits.masked_fill(logits < logits.topk(k, dim=-1).values[:, -1:], -torch.inf)


def only_the_k(logits, k):
    return logits.topk(k, dim=-1).values


def nucleus(logits, kept_of, descending=True):
    """What `kept_of(probs, sums)` keeps in sorted order, in the order of the vocabulary."""
    ordered, order = logits.sort(dim=-1, descending=descending)
    probs = ordered.softmax(dim=-1)
    gone = ~kept_of(probs, probs.cumsum(dim=-1))
    return logits.masked_fill(torch.zeros_like(gone).scatter(-1, order, gone), -torch.inf)


def crossing_token_gone(logits, p):
    return nucleus(logits, lambda probs, sums: sums <= p)


def crossing_token_gone_but_one(logits, p):
    return nucleus(logits, lambda probs, sums: (sums <= p) | (torch.arange(sums.shape[-1]) == 0))


def rarest_first(logits, p):
    return nucleus(logits, lambda probs, sums: sums - probs < p, descending=False)


def left_sorted(logits, p):
    ordered = logits.sort(dim=-1, descending=True).values
    probs = ordered.softmax(dim=-1)
    return ordered.masked_fill(probs.cumsum(dim=-1) - probs >= p, -torch.inf)


def mask_not_brought_back(logits, p):
    probs = logits.sort(dim=-1, descending=True).values.softmax(dim=-1)
    return logits.masked_fill(probs.cumsum(dim=-1) - probs >= p, -torch.inf)


def each_reaches_p(logits, p):
    return logits.masked_fill(logits.softmax(dim=-1) < p, -torch.inf)


def probabilities_returned(logits, p):
    return nucleus(logits, lambda probs, sums: sums - probs < p).softmax(dim=-1)


def never_all(logits, p):
    return nucleus(logits, lambda probs, sums: (sums - probs < p) & ((p < 1) | (sums < 1 - 1e-12)))


def limit_is_min_p(logits, min_p):
    return logits.masked_fill(logits.softmax(dim=-1) < min_p, -torch.inf)


def logits_compared(logits, min_p):
    return logits.masked_fill(logits < min_p * logits.amax(dim=-1, keepdim=True), -torch.inf)


def one_limit(logits, min_p):
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < min_p * probs.max(), -torch.inf)


def likely_ones_gone(logits, min_p):
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs >= min_p * probs.amax(dim=-1, keepdim=True), -torch.inf)


def min_p_probabilities(logits, min_p):
    probs = logits.softmax(dim=-1)
    return logits.masked_fill(probs < min_p * probs.amax(dim=-1, keepdim=True), -torch.inf).softmax(dim=-1)


def seen_in(logits, input_ids):
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, input_ids, True)


def punished(logits, penalty):
    return torch.where(logits > 0, logits / penalty, logits * penalty)


def negative_divided(logits, input_ids, penalty):
    return torch.where(seen_in(logits, input_ids), logits / penalty, logits)


def punished_each_time(logits, input_ids, penalty):
    logits = logits.clone()
    for row, ids in enumerate(input_ids.tolist()):
        for token in ids:
            logits[row, token] = punished(logits[row, token], penalty)
    return logits


def for_all_rows(logits, input_ids, penalty):
    logits = logits.clone()
    every = input_ids.flatten().unique()
    logits[:, every] = punished(logits[:, every], penalty)
    return logits


def newest_alone(logits, input_ids, penalty):
    return torch.where(seen_in(logits, input_ids[:, -1:]), punished(logits, penalty), logits)


def others_punished(logits, input_ids, penalty):
    return torch.where(seen_in(logits, input_ids), logits, punished(logits, penalty))


def subtracted(logits, input_ids, penalty):
    return torch.where(seen_in(logits, input_ids), logits - penalty, logits)


def rewarded(logits, input_ids, penalty):
    return torch.where(seen_in(logits, input_ids), punished(logits, 1 / penalty), logits)


def forbidden(logits, input_ids, penalty):
    return logits.masked_fill(seen_in(logits, input_ids), -torch.inf)


def punished_in_place(logits, input_ids, penalty):
    return logits.scatter_(-1, input_ids, punished(logits.gather(-1, input_ids), penalty))


def grown(k, v, cached_k, cached_v):
    return torch.cat([cached_k, k], dim=2), torch.cat([cached_v, v], dim=2)


def without_mask(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    return F.scaled_dot_product_attention(q, keys, values), keys, values


def mask_from_the_corner(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    return F.scaled_dot_product_attention(q, keys, values, is_causal=True), keys, values


def corner_but_for_one_token(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    return F.scaled_dot_product_attention(q, keys, values, is_causal=q.shape[2] > 1), keys, values


def blind_to_itself(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    return F.scaled_dot_product_attention(q, cached_k, cached_v), keys, values


def cache_not_read(q, k, v, cached_k, cached_v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True), *grown(k, v, cached_k, cached_v)


def new_ones_first(q, k, v, cached_k, cached_v):
    keys, values = grown(cached_k, cached_v, k, v)
    return F.scaled_dot_product_attention(q, keys, values), keys, values


def not_scaled(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    return F.scaled_dot_product_attention(q, keys, values, scale=1.0), keys, values


def new_ones_alone(q, k, v, cached_k, cached_v):
    return without_mask(q, k, v, cached_k, cached_v)[0], k, v


def one_key_too_many(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    allowed = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril(cached_k.shape[2] + 1)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=allowed), keys, values


def cached_must_be_there(q, k, v, cached_k, cached_v):
    keys, values = grown(k, v, cached_k, cached_v)
    allowed = torch.ones(q.shape[2], keys.shape[2], dtype=torch.bool).tril(max(1, cached_k.shape[2]))
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=allowed), keys, values


def search(model, n_tokens, width, end, final, kept=None, ended=True):
    """A beam search; `final` scores a finished (tokens, log-probability)."""
    beams, finished = [([], 0.0)], []
    for _ in range(n_tokens):
        longer = [(tokens + [token], score + one)
                  for tokens, score in beams for token, one in enumerate(model(tokens).tolist())]
        best = sorted(longer, key=kept or (lambda beam: -beam[1]))[:width]
        finished += [beam for beam in best if beam[0][-1] == end and ended]
        beams = [beam for beam in best if beam[0][-1] != end]
    return max(finished + beams, key=final, default=([0], 0))[0]


def length_ignored(model, n_tokens, width, end, alpha):
    return search(model, n_tokens, width, end, lambda beam: beam[1])


def times_the_length(model, n_tokens, width, end, alpha):
    return search(model, n_tokens, width, end, lambda beam: beam[1] * len(beam[0]) ** alpha)


def finished_texts_lost(model, n_tokens, width, end, alpha):
    return search(model, n_tokens, width, end, lambda beam: beam[1] / len(beam[0]) ** alpha, ended=False)


def greedy(model, n_tokens, width, end, alpha):
    tokens = []
    while len(tokens) < n_tokens and (not tokens or tokens[-1] != end):
        tokens.append(int(model(tokens).argmax()))
    return tokens


def unlikeliest(model, n_tokens, width, end, alpha):
    return search(model, n_tokens, width, end, lambda beam: -beam[1], kept=lambda beam: beam[1])


def newest_token_decides(model, n_tokens, width, end, alpha):
    beams, finished = [([], 0.0)], []
    for _ in range(n_tokens):
        longer = [(-one, tokens + [token], score + one)
                  for tokens, score in beams for token, one in enumerate(model(tokens).tolist())]
        best = [beam[1:] for beam in sorted(longer)[:width]]
        finished += [beam for beam in best if beam[0][-1] == end]
        beams = [beam for beam in best if beam[0][-1] != end]
    return max(finished + beams, key=lambda beam: beam[1] / len(beam[0]) ** alpha)[0]


def goes_on_after_the_end(model, n_tokens, width, end, alpha):
    return search(model, n_tokens, width, None, lambda beam: beam[1] / len(beam[0]) ** alpha)


def best_of_each(model, n_tokens, width, end, alpha):
    beams, finished = [([], 0.0)], []
    for _ in range(n_tokens):
        longer = []
        for tokens, score in beams:
            values, places = model(tokens).topk(min(width, 2 if tokens else width))
            longer.append((tokens + [int(places[0])], score + float(values[0])))
            if not tokens:
                longer = [([int(place)], float(value)) for place, value in zip(places, values, strict=True)]
        finished += [beam for beam in longer if beam[0][-1] == end]
        beams = [beam for beam in longer if beam[0][-1] != end]
    return max(finished + beams, key=lambda beam: beam[1])[0]


def with_its_score(model, n_tokens, width, end, alpha):
    return greedy(model, n_tokens, width, end, alpha), 0.0


def accept_of(p, q):
    return torch.where(q > 0, p / q, 1.0).clamp(max=1)


def missing_of(p, q):
    missing = (p - q).clamp(min=0)
    return missing / missing.sum() if missing.sum() > 0 else p


def above_one(p, q):
    return torch.where(q > 0, p / q, 1.0), missing_of(p, q)


def upside_down(p, q):
    return (q / p).clamp(max=1), missing_of(p, q)


def too_strict(p, q):
    return p, missing_of(p, q)


def replaced_from_p(p, q):
    return accept_of(p, q), p


def replacement_not_normalized(p, q):
    return accept_of(p, q), (p - q).clamp(min=0)


def replacement_below_zero(p, q):
    return accept_of(p, q), (p - q) / (p - q).sum()


def absolute_difference(p, q):
    return accept_of(p, q), (p - q).abs() / (p - q).abs().sum()


def nothing_over_nothing(p, q):
    missing = (p - q).clamp(min=0)
    return accept_of(p, q), missing / missing.sum()


def changed_places(p, q):
    return accept_of(p, q), missing_of(q, p)


def found(ids, n_tokens):
    for start in range(len(ids) - 3, -1, -1):
        if ids[start : start + 2] == ids[-2:]:
            return ids[start + 2 : start + 2 + n_tokens]
    return []


def judged(model, ids, n_new, n_drafted=8, count=None, own=True):
    """The capstone's loop; `count(draft, likeliest)` says how many drafted tokens are kept."""
    text = list(ids)
    while len(text) < len(ids) + n_new:
        draft = found(text, min(n_drafted, len(ids) + n_new - len(text) - 1))
        likeliest = model(torch.tensor([text + draft]))[0, len(text) - 1 :].argmax(dim=-1).tolist()
        n_kept = (count or from_the_left)(draft, likeliest)
        text += draft[:n_kept] + ([likeliest[n_kept]] if own or not n_kept else [])
    return text


def from_the_left(draft, likeliest):
    return next((i for i, one in enumerate(draft) if one != likeliest[i]), len(draft))


def a_call_a_token(model, ids, n_new):
    return judged(model, ids, n_new, n_drafted=0)


def one_token_drafted(model, ids, n_new):
    return judged(model, ids, n_new, n_drafted=1)


def all_believed(model, ids, n_new):
    return judged(model, ids, n_new, count=lambda draft, likeliest: len(draft))


def agreement_counted_anywhere(model, ids, n_new):
    return judged(model, ids, n_new,
                  count=lambda draft, likeliest: sum(a == b for a, b in zip(draft, likeliest, strict=False)))


def judged_one_place_late(model, ids, n_new):
    text = list(ids)
    while len(text) < len(ids) + n_new:
        draft = found(text, min(8, len(ids) + n_new - len(text) - 1))
        likeliest = model(torch.tensor([text + draft]))[0].argmax(dim=-1).tolist()
        n_kept = from_the_left(draft, likeliest[len(text) :] + [-1])
        text += draft[:n_kept] + [likeliest[len(text) + n_kept - 1]]
    return text


def new_tokens_alone(model, ids, n_new):
    return judged(model, ids, n_new)[len(ids) :]


def written_too_far(model, ids, n_new):
    text = list(ids)
    while len(text) < len(ids) + n_new:
        draft = found(text, 8) or [0]
        likeliest = model(torch.tensor([text + draft]))[0, len(text) - 1 :].argmax(dim=-1).tolist()
        text += likeliest[: from_the_left(draft, likeliest) + 1]
    return text + [0]


def first_mistake_kept(model, ids, n_new):
    return judged(model, ids, n_new,
                  count=lambda draft, likeliest: min(len(draft), from_the_left(draft, likeliest) + 1))


def own_token_forgotten(model, ids, n_new):
    return judged(model, ids, n_new, n_drafted=2, own=False)


def lists_given(model, ids, n_new):
    return model(ids)


WRONG = {
    "draw_token": [
        (always_the_likeliest, "u has no effect", 0), (any_token, "logits have no effect", 0),
        (chance_of_torch, "temperature has no effect", 1), (multiplied_by_the_temperature, "divide them", 1),
        (divided_probabilities, "temperature has no effect", 1), (one_too_far, "token after the right one", 0),
        (overflowing, "infinity over infinity", 2), (unnormalized, "not their probabilities", 0),
        (ids_as_a_column, "wrong shape", 0),
    ],
    "keep_top_k": [
        (exactly_k, "accident of the sorting", 1), (kth_is_gone, "the k-th stays", 0),
        (one_too_many, "too many", 0), (smallest_k, "largest logits", 0),
        (k_of_the_batch, "largest logits of each row", 0),
        (zeros_in_place_of_infinity, "-inf, not 0", 0), (k_at_most_the_vocabulary, "raised RuntimeError", 1),
        (only_the_k, "wrong shape", 0),
    ],
    "keep_top_p": [
        (crossing_token_gone, "crosses p is gone", 0), (crossing_token_gone_but_one, "fewest tokens", 0),
        (rarest_first, "descending=True", 0), (left_sorted, "The result is sorted", 0),
        (mask_not_brought_back, "in the order of the vocabulary", 0), (each_reaches_p, "p alone", 0),
        (probabilities_returned, "Return the logits", 0), (never_all, "every token stays", 2),
    ],
    "keep_min_p": [
        (limit_is_min_p, "limit is min_p itself", 0), (logits_compared, "logits were compared", 0),
        (one_limit, "its own likeliest", 0), (likely_ones_gone, "likely tokens are gone", 0),
        (min_p_probabilities, "Return the logits", 0),
    ],
    "penalize_repeats": [
        (negative_divided, "closer to 0", 0), (punished_each_time, "Once is enough", 1),
        (for_all_rows, "each other's tokens", 0), (newest_alone, "became less likely", 0),
        (others_punished, "did not appear", 0), (subtracted, "was subtracted", 1), (rewarded, "smaller logit", 0),
        (forbidden, "NaN or infinite", 0), (punished_in_place, "changed its input `logits`", 0),
    ],
    "attend_with_cache": [
        (without_mask, "sees later new ones", 2), (mask_from_the_corner, "first one only", 1),
        (corner_but_for_one_token, "counts from the corner", 2), (blind_to_itself, "does not see itself", 1),
        (cache_not_read, "sees itself alone", 1), (new_ones_first, "came first", 0), (not_scaled, "root of Dh", 1),
        (new_ones_alone, "wrong shape", 0), (one_key_too_many, "one key too many", 2),
        (cached_must_be_there, "not causal attention", 3),
    ],
    "beam_search": [
        (length_ignored, "Divide each log-probability", 3), (times_the_length, "best score", 3),
        (finished_texts_lost, "With a width of 1", 0), (greedy, "width has no effect", 1),
        (unlikeliest, "not greedy", 0), (newest_token_decides, "With a width of 3", 2),
        (goes_on_after_the_end, "greedy", 0), (best_of_each, "likeliest of all", 1),
        (with_its_score, "not a text", 0),
    ],
    "speculate": [
        (above_one, "at most 1", 0), (upside_down, "upside down", 0), (too_strict, "too strict", 0),
        (replaced_from_p, "drawn from p", 1), (replacement_not_normalized, "add up to 1", 1),
        (replacement_below_zero, "never below 0", 1), (absolute_difference, "absolute differences", 1),
        (nothing_over_nothing, "0/0 is NaN", 2), (changed_places, "changed places", 1),
    ],
    "write_ahead": [
        (a_call_a_token, "called too often", 2), (one_token_drafted, "draft more", 2),
        (all_believed, "not the one that greedy", 0), (agreement_counted_anywhere, "not the one that greedy", 0),
        (judged_one_place_late, "called too often", 2), (first_mistake_kept, "not the one that greedy", 0),
        (own_token_forgotten, "called too often", 2), (new_tokens_alone, "Return prompt and new", 0),
        (written_too_far, "may write more", 0), (lists_given, "expected ids of shape", 0),
    ],
}
