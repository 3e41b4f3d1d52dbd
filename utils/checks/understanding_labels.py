"""Properties for lab 16: entities from BIO tags, their F1, and labels of words moved to subwords."""

import re

from utils.checks.calls import NotYet, describe
from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import is_equal, is_tensor

KINDS = ("PER", "LOC", "ORG", "MISC")


def entities_of(tags: list[str]) -> set[tuple[str, int, int]]:
    """The entities of a tag sequence, by a regular expression over one letter a tag: small letters continue.

    An I of another kind than the tag before it begins an entity of its own, as in the CoNLL-2000 evaluation script.
    """
    letters = "".join(
        "." if tag == "O" else "abcd"[KINDS.index(tag[2:])].upper() if tag[0] == "B" else "abcd"[KINDS.index(tag[2:])]
        for tag in tags
    )
    runs = re.finditer("|".join(f"{one.upper()}{one}*|{one}+" for one in "abcd"), letters)
    return {(KINDS["abcd".index(run[0][0].lower())], run.start(), run.end()) for run in runs}


def _tags(draw, count: int, broken: bool = False) -> list[str]:
    """Random tags of `count` words: entities of 1 to 4 words, some side by side; `broken`: some without their B."""
    tags: list[str] = []
    while len(tags) < count:
        if draw.number(0, 2) == 0:
            tags.append("O")
            continue
        kind, length = KINDS[draw.number(0, 3)], draw.number(1, 4)
        first = "I" if broken and draw.number(0, 1) else "B"
        tags += [f"{first}-{kind}", *[f"I-{kind}"] * (length - 1)]
    return tags[:count]


# Exercise 1: entities


def _entities(answer, tags: list[str], hint: str, slips: dict[str, set]) -> None:
    expected, got = entities_of(tags), answer(tags)
    if not isinstance(got, list | set) or not all(isinstance(one, tuple) and len(one) == 3 for one in got):
        raise NotYet(
            "The entities are no list of triples.",
            {"expected": "[(kind, first, end), ...]", "got": describe(got)},
            "Append a tuple `(kind, first, end)` for each entity.",
        )
    found = {(str(kind), int(first), int(end)) for kind, first, end in got}
    if found == expected and len(got) == len(expected):
        return
    hint = next((why for why, value in slips.items() if value == found), hint)
    raise NotYet(
        "These are not the entities.",
        {"tags": " ".join(tags), "expected": _listed(expected), "got": _listed(found)},
        hint,
    )


def _listed(entities: set) -> str:
    return ", ".join(f"({kind}, {first}, {end})" for kind, first, end in sorted(entities, key=lambda one: one[1:]))


def _slips(tags: list[str]) -> dict[str, set]:
    right = entities_of(tags)
    joined = set()
    for i, tag in enumerate(tags):
        if tag != "O":
            before = max(joined, key=lambda one: one[2], default=None)
            if before and before[2] == i and before[0] == tag[2:]:
                joined = joined - {before} | {(before[0], before[1], i + 1)}
            else:
                joined |= {(tag[2:], i, i + 1)}
    return {
        "`end` is one past the last word, as in a slice.": {(kind, first, end - 1) for kind, first, end in right},
        "A B begins a new entity even where one of the same kind has just ended.": joined,
        "An I that no B of its kind precedes begins an entity here.": {one for one in right if tags[one[1]][0] == "B"},
        "An entity that runs to the last word must be closed, too.": {one for one in right if one[2] < len(tags)},
    }


def entities_clean(answer, draw):
    """Well-formed tags with an O at the end."""
    tags = [*_tags(draw, draw.number(9, 13)), "O"]
    tags = ["B-LOC", "I-LOC", "O", *tags]
    _entities(answer, tags, "A B opens an entity, I's of its kind continue it, anything else closes it.", _slips(tags))


def entities_edges(answer, draw):
    """Entities side by side, and one at the end."""
    kind = KINDS[draw.number(0, 3)]
    tags = [*_tags(draw, draw.number(5, 9)), "O", f"B-{kind}", f"I-{kind}", f"B-{kind}", f"I-{kind}"]
    _entities(answer, tags, "Close the open entity when the next one begins, and at the end of the text.", _slips(tags))
    for few in (["O"], [f"B-{kind}"]):
        _entities(answer, few, "One word alone is a text, too.", {})


def entities_broken(answer, draw):
    """Tags as a model makes them: an I where no B was."""
    tags = ["O", "I-PER", "I-PER", "I-ORG", "O", "B-LOC", "I-PER", *_tags(draw, draw.number(7, 11), broken=True)]
    _entities(
        answer,
        tags,
        "A model may leave the B out. An I begins an entity when the word before is O or of another kind.",
        _slips(tags) | {"An I of another kind begins an entity of its own.": entities_of(_one_kind(tags))},
    )
    return "As the CoNLL evaluation script reads such tags."


def _one_kind(tags: list[str]) -> list[str]:
    """The tags with each I given the kind of the tag before it."""
    kept: list[str] = []
    for tag in tags:
        kept.append(f"I-{kept[-1][2:]}" if tag[0] == "I" and kept and kept[-1] != "O" else tag)
    return kept


# Exercise 2: entity F1


def _pairs(draw, count: int) -> tuple[list[list[str]], list[list[str]]]:
    """True and predicted tags of texts; predictions are the truth with some tags redrawn."""
    true = [_tags(draw, draw.number(8, 14)) for _ in range(count)]
    predicted = []
    for tags in true:
        other = _tags(draw, len(tags))
        place = draw.number(2, len(tags) - 2)
        predicted.append(tags[:place] + other[place:])
    return true, predicted


def _counts(true: list[list[str]], predicted: list[list[str]]) -> list[tuple[int, int, int]]:
    """By text, how many entities are shared, true and predicted."""
    sets = [(entities_of(t), entities_of(p)) for t, p in zip(true, predicted, strict=True)]
    return [(len(t & p), len(t), len(p)) for t, p in sets]


def _ratio(shared: float, n_true: float, n_predicted: float) -> float:
    return 2 * shared / (n_true + n_predicted) if n_true + n_predicted else 0.0


def _f1(answer, true: list[list[str]], predicted: list[list[str]], problem: str) -> None:
    counts = _counts(true, predicted)
    shared, n_true, n_predicted = (sum(column) for column in zip(*counts, strict=True))
    words = [(a, b) for t, p in zip(true, predicted, strict=True) for a, b in zip(t, p, strict=True)]
    hits = sum(a == b != "O" for a, b in words)
    loose = sum(
        len({one[1:] for one in entities_of(t)} & {one[1:] for one in entities_of(p)})
        for t, p in zip(true, predicted, strict=True)
    )
    got = is_number(answer(true, predicted), name="The F1", hint="Nothing true and nothing predicted is an F1 of 0.")
    is_close(
        got,
        _ratio(shared, n_true, n_predicted),
        problem=problem,
        hint="An entity is right if its kind, its first and its last word all are. F1 = 2 right / (true + predicted).",
        slips={
            "This counts words. Count whole entities.": _ratio(
                hits, sum(a != "O" for a, _ in words), sum(b != "O" for _, b in words)
            ),
            "This is the accuracy over words.": sum(a == b for a, b in words) / len(words),
            "This is a mean over texts. Add up the counts of all texts first.": sum(_ratio(*one) for one in counts)
            / len(counts),
            "The kind must be right, too.": _ratio(loose, n_true, n_predicted),
            "This is the precision.": shared / max(1, n_predicted),
            "This is the recall.": shared / max(1, n_true),
        },
    )


def f1_value(answer, draw):
    """The F1 over all entities of several texts."""
    while True:
        true, predicted = _pairs(draw, draw.number(4, 6))
        counts = _counts(true, predicted)
        if 0 < sum(one[0] for one in counts) < sum(one[1] for one in counts):
            break
    _f1(answer, true, predicted, "The F1 of several texts is wrong.")
    texts = [["B-PER", "I-PER", "O"], ["O", "B-LOC", "O"]]
    _f1(answer, texts, [["B-PER", "O", "O"], ["O", "B-ORG", "O"]], "A cut name and a wrong kind are no hits.")
    _f1(answer, texts, [texts[0], ["B-PER", "I-PER", "O"]], "The same place in another text is another entity.")


def f1_nothing(answer, draw):
    """Nothing to find, nothing found."""
    empty = [["O"] * draw.number(2, 5)]
    _f1(answer, empty, empty, "Without any entity, the F1 is not 0.")
    _f1(answer, empty, [["B-PER", *empty[0][1:]]], "Entities were predicted where none is.")


# Exercise 3: labels of subwords


def labels_of_first_pieces(answer, draw):
    """Words of one to four pieces between special tokens and padding."""
    word_ids, labels, expected = _pieces(draw, draw.number(4, 8))
    _aligned(answer, word_ids, labels, expected)


def labels_of_cut_texts(answer, draw):
    """A text that was cut in the middle of a word, and one that begins within it."""
    word_ids, labels, expected = _pieces(draw, draw.number(5, 8))
    cut = draw.number(4, len(word_ids) - 2)
    _aligned(answer, word_ids[:cut], labels, expected[:cut])
    return "Pieces that are not counted carry -100."


def _pieces(draw, count: int) -> tuple[list, list[int], list[int]]:
    """Word numbers of pieces (None for special tokens), labels of the words, and what each piece should carry."""
    labels = [draw.number(0, 6) for _ in range(count)]
    word_ids: list = [None]
    expected = [-100]
    for word, label in enumerate(labels):
        pieces = draw.number(1, 4)
        word_ids += [word] * pieces
        expected += [label] + [-100] * (pieces - 1)
    padding = draw.number(1, 3)
    return word_ids + [None] * padding, labels, expected + [-100] * padding


def _aligned(answer, word_ids: list, labels: list[int], expected: list[int]) -> None:
    import torch

    wanted = torch.tensor(expected)
    every = torch.tensor([-100 if word is None else labels[word] for word in word_ids])
    last = torch.tensor(
        [
            -100 if word is None or word == after else labels[word]
            for word, after in zip(word_ids, [*word_ids[1:], None], strict=True)
        ]
    )
    got = is_tensor(answer(word_ids, labels), (len(word_ids),), letters="(T,)", hint="One label for each piece.")
    is_equal(
        got,
        wanted,
        problem="A piece carries the wrong label.",
        hint="The first piece of a word carries its label; all other pieces, and special tokens, carry -100.",
        slips={
            "Every piece carries its word's label. Only the first one should count.": every,
            "The last piece of each word carries the label. Take the first.": last,
            "The places to skip must be -100: 0 is a label.": torch.where(wanted == -100, 0, wanted),
            "Labels were taken in order of the pieces. A piece's word number says which label it gets.": torch.tensor(
                [*labels, *[-100] * len(word_ids)][: len(word_ids)]
            ),
        },
    )
