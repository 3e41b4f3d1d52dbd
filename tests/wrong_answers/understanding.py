"""Plausible wrong answers to lab 16, each with words that its card must show and the points that it still earns."""

import math

import torch
import torch.nn.functional as F


def right_entities(tags):
    found, kind, first = [], None, 0
    for place, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            found.append((kind, first, place))
            kind = None
        if tag != "O" and kind is None:
            kind, first = tag[2:], place
    return found


def last_word_included(tags):
    return [(kind, first, end - 1) for kind, first, end in right_entities(tags)]


def never_closed_at_the_end(tags):
    return [one for one in right_entities([*tags, "O"]) if one[2] < len(tags)]


def neighbors_joined(tags):
    return right_entities([
        f"I-{tag[2:]}" if i and tag[0] == "B" and tags[i - 1][1:] == tag[1:] or i and tag[0] == "B"
        and tags[i - 1][2:] == tag[2:] else tag for i, tag in enumerate(tags)
    ])  # fmt: skip


def needs_a_b(tags):
    found, open_ = [], None
    for place, tag in enumerate([*tags, "O"]):
        if open_ and tag != f"I-{open_[0]}":
            found.append((*open_, place))
            open_ = None
        if tag[0] == "B":
            open_ = (tag[2:], place)
    return found


def any_i_continues(tags):
    kept = []
    for tag in tags:
        kept.append(f"I-{kept[-1][2:]}" if tag[0] == "I" and kept and kept[-1] != "O" else tag)
    return right_entities(kept)


def kinds_alone(tags):
    return [kind for kind, _, _ in right_entities(tags)]


def sets_of(true, predicted):
    pairs = zip(true, predicted, strict=True)
    return [(set(right_entities(a)), set(right_entities(b))) for a, b in pairs]


def over_words(true, predicted):
    words = [pair for a, b in zip(true, predicted, strict=True) for pair in zip(a, b, strict=True)]
    hits = sum(a == b != "O" for a, b in words)
    every = sum(a != "O" for a, _ in words) + sum(b != "O" for _, b in words)
    return 2 * hits / every if every else 0.0


def mean_over_texts(true, predicted):
    each = [2 * len(a & b) / max(1, len(a) + len(b)) for a, b in sets_of(true, predicted)]
    return sum(each) / len(each)


def places_alone(true, predicted):
    pairs = [({one[1:] for one in a}, {one[1:] for one in b}) for a, b in sets_of(true, predicted)]
    return 2 * sum(len(a & b) for a, b in pairs) / max(1, sum(len(a) + len(b) for a, b in pairs))


def precision_alone(true, predicted):
    pairs = sets_of(true, predicted)
    return sum(len(a & b) for a, b in pairs) / max(1, sum(len(b) for _, b in pairs))


def texts_mixed(true, predicted):
    a, b = (set(one for tags in side for one in right_entities(tags)) for side in (true, predicted))
    return 2 * len(a & b) / max(1, len(a) + len(b))


def nothing_is_perfect(true, predicted):
    pairs = sets_of(true, predicted)
    every = sum(len(a) + len(b) for a, b in pairs)
    return 2 * sum(len(a & b) for a, b in pairs) / every if every else 1.0


def every_piece(word_ids, labels):
    return torch.tensor([-100 if word is None else labels[word] for word in word_ids])


def last_piece(word_ids, labels):
    after = [*word_ids[1:], None]
    pairs = zip(word_ids, after, strict=True)
    return torch.tensor([-100 if word is None or word == later else labels[word] for word, later in pairs])


def zero_to_skip(word_ids, labels):
    before = [None, *word_ids[:-1]]
    pairs = zip(word_ids, before, strict=True)
    return torch.tensor([0 if word is None or word == earlier else labels[word] for word, earlier in pairs])


def in_order_of_pieces(word_ids, labels):
    return torch.tensor([*labels, *[-100] * len(word_ids)][: len(word_ids)])


def one_a_word(word_ids, labels):
    return torch.tensor(labels)


def bm25_with(query, documents, k1=1.2, b=0.75, inner=1.0, plain_idf=False, once=False, use_idf=True):
    N, mean = len(documents), sum(map(len, documents)) / len(documents)
    scores = torch.zeros(N, dtype=torch.float64)
    for word in sorted(set(query)) if once else query:
        n = sum(word in document for document in documents)
        if n == 0:
            continue
        idf = math.log(N / n) if plain_idf else math.log(inner + (N - n + 0.5) / (n + 0.5)) if use_idf else 1.0
        for i, document in enumerate(documents):
            f = document.count(word)
            scores[i] += idf * f * (k1 + 1) / (f + k1 * (1 - b + b * len(document) / mean))
    return scores


def without_the_one(query, documents):
    return bm25_with(query, documents, inner=0.0)


def without_idf(query, documents):
    return bm25_with(query, documents, use_idf=False)


def idf_of_tfidf(query, documents):
    return bm25_with(query, documents, plain_idf=True)


def without_length(query, documents):
    return bm25_with(query, documents, b=0.0)


def counts_alone(query, documents):
    return torch.tensor([float(sum(d.count(word) for word in query)) for d in documents])


def each_query_word_once(query, documents):
    return bm25_with(query, documents, once=True)


def unseen_words_break(query, documents):
    if any(all(word not in d for d in documents) for word in query):
        return torch.full((len(documents),), math.nan)
    return bm25_with(query, documents)


def padding_included(hidden, mask):
    return F.normalize(hidden.mean(dim=1), dim=1)


def length_not_one(hidden, mask):
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def first_token(hidden, mask):
    return F.normalize(hidden[:, 0], dim=1)


def over_the_batch(hidden, mask):
    return F.normalize(length_not_one(hidden, mask), dim=0)


def absolute_values(hidden, mask):
    return F.normalize(length_not_one(hidden, mask), p=1, dim=1)


def largest_not_mean(hidden, mask):
    return F.normalize(hidden.masked_fill(~mask[:, :, None], -torch.inf).max(dim=1).values, dim=1)


def ranks(scores, items):
    order = scores.argsort(descending=True).tolist()
    return [order.index(item) + 1 for item in items]


def without_cutoff(scores, relevant, cutoff=10):
    return sum(1 / min(ranks(row, items)) for row, items in zip(scores, relevant, strict=True)) / len(relevant)


def from_zero(scores, relevant, cutoff=10):
    best = [min(ranks(row, items)) for row, items in zip(scores, relevant, strict=True)]
    return sum(1 / (r + 1) for r in best if r <= cutoff) / len(relevant)


def worst_item(scores, relevant, cutoff=10):
    best = [max(ranks(row, items)) for row, items in zip(scores, relevant, strict=True)]
    return sum(1 / r for r in best if r <= cutoff) / len(relevant)


def share_found(scores, relevant, cutoff=10):
    best = [min(ranks(row, items)) for row, items in zip(scores, relevant, strict=True)]
    return sum(r <= cutoff for r in best) / len(relevant)


def upside_down(scores, relevant, cutoff=10):
    best = [min(ranks(-row, items)) for row, items in zip(scores, relevant, strict=True)]
    return sum(1 / r for r in best if r <= cutoff) / len(relevant)


def best_pair(start, end, allowed, longest):
    apart = torch.arange(len(start))[None] - torch.arange(len(start))[:, None]
    fits = (apart >= 0) & (apart < longest) & allowed[:, None] & allowed[None]
    scores = (start[:, None] + end[None]).masked_fill(~fits, -math.inf)
    return *divmod(int(scores.argmax()), len(start)), float(scores.max())


def or_none(first, last, score, start, end):
    return (first, last) if score > start[0] + end[0] else (0, 0)


def one_by_one(start, end, in_passage, longest):
    first, last = (int(side.masked_fill(~in_passage, -math.inf).argmax()) for side in (start, end))
    return or_none(first, last, start[first] + end[last], start, end)


def any_length(start, end, in_passage, longest):
    return or_none(*best_pair(start, end, in_passage, len(start)), start, end)


def one_token_too_long(start, end, in_passage, longest):
    return or_none(*best_pair(start, end, in_passage, longest + 1), start, end)


def in_the_question(start, end, in_passage, longest):
    return or_none(*best_pair(start, end, torch.arange(len(start)) > 0, longest), start, end)


def always_answers(start, end, in_passage, longest):
    return best_pair(start, end, in_passage, longest)[:2]


def tie_answers(start, end, in_passage, longest):
    first, last, score = best_pair(start, end, in_passage, longest)
    return (first, last) if score >= start[0] + end[0] else (0, 0)


def scores_too(start, end, in_passage, longest):
    return best_pair(start, end, in_passage, longest)


def cosines(questions, passages):
    a, b = (length_not_one(part["hidden"], part["mask"]) for part in (questions, passages))
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


def by_section(scores, passages, pick):
    numbers = passages["sections"]
    return torch.stack([pick(scores[:, numbers == s]) for s in range(int(numbers.max()) + 1)], dim=1)


def word_scores(questions, passages):
    from utils.text.bm25 import BM25

    numbers = passages["sections"].tolist()
    together = [[] for _ in range(max(numbers) + 1)]
    for number, some in zip(numbers, passages["words"], strict=True):
        together[number] += some
    index = BM25(together)
    return torch.stack([torch.from_numpy(index.scores(asked)) for asked in questions["words"]])


def best_of(part):
    return part.max(dim=1).values


def words_alone(questions, passages):
    return word_scores(questions, passages)


def meaning_alone(questions, passages):
    return by_section(cosines(questions, passages), passages, best_of)


def standard(scores):
    return (scores - scores.mean(dim=1, keepdim=True)) / scores.std(dim=1, keepdim=True)


def not_standardized(questions, passages):
    return word_scores(questions, passages) + meaning_alone(questions, passages)


def mean_of_the_passages(questions, passages):
    means = by_section(cosines(questions, passages), passages, lambda part: part.mean(dim=1))
    return standard(word_scores(questions, passages)) + standard(means)


def passages_not_sections(questions, passages):
    return cosines(questions, passages)


def nearest_turned_round(questions, passages):
    return -by_section(cosines(questions, passages), passages, best_of)


def all_alike(questions, passages):
    return torch.zeros(len(questions["words"]), int(passages["sections"].max()) + 1)


def order_forgotten(questions, passages):
    scores = word_scores(questions, passages) + by_section(cosines(questions, passages), passages, best_of)
    return scores.flip(1)


WRONG = {
    "entities": [
        (last_word_included, "one past the last word", 0),
        (kinds_alone, "no list of triples", 0),
        (never_closed_at_the_end, "runs to the last word", 1),
        (neighbors_joined, "begins a new entity even where", 0),
        (needs_a_b, "An I that no B of its kind precedes", 2),
        (any_i_continues, "An I of another kind", 2),
    ],
    "entity_f1": [
        (over_words, "Count whole entities", 0),
        (mean_over_texts, "mean over texts", 0),
        (places_alone, "The kind must be right", 0),
        (precision_alone, "This is the precision", 0),
        (texts_mixed, "", 0),
        (nothing_is_perfect, "Without any entity", 2),
    ],
    "align_labels": [
        (every_piece, "Only the first one should count", 0),
        (last_piece, "Take the first", 0),
        (zero_to_skip, "must be -100", 0),
        (in_order_of_pieces, "word number says", 0),
        (one_a_word, "wrong shape", 0),
    ],
    "bm25": [
        (without_the_one, "inside of the logarithm is missing", 0),
        (without_idf, "idf is missing", 0),
        (idf_of_tfidf, "that of TF-IDF", 0),
        (without_length, "length is left out", 0),
        (counts_alone, "less and less", 0),
        (each_query_word_once, "counts twice", 1),
        (unseen_words_break, "not finite", 2),
    ],
    "embed": [
        (padding_included, "padding is in the mean", 0),
        (length_not_one, "do not have length 1", 0),
        (first_token, "first token", 0),
        (over_the_batch, "over the batch", 0),
        (absolute_values, "root of the sum of squares", 0),
        (largest_not_mean, "not the normalized mean", 0),
    ],
    "mean_reciprocal_rank": [
        (from_zero, "best rank is 1", 0),
        (upside_down, "upside down", 0),
        (share_found, "", 0),
        (without_cutoff, "cutoff is not used", 1),
        (worst_item, "not the worst", 1),
    ],
    "answer_span": [
        (one_by_one, "chosen one by one", 0),
        (in_the_question, "not in the question", 0),
        (scores_too, "must return 2 results", 0),
        (any_length, "at most `longest` tokens", 1),
        (one_token_too_long, "a span of one token", 1),
        (always_answers, "only if it scores more", 2),
        (tie_answers, "only if it scores more", 2),
    ],
    "search": [
        (passages_not_sections, "wrong shape", 0),
        (all_alike, "finds too little", 0),
        (nearest_turned_round, "finds too little", 0),
        (order_forgotten, "finds too little", 0),
        (words_alone, "finds too little", 0),
        (not_standardized, "finds too little", 0),
        (meaning_alone, "mean 0 and deviation 1", 2),
        (mean_of_the_passages, "finds too little", 2),
    ],
}
