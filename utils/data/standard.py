"""Labelled data by one name: what the course carries, or a standard data set where the hub or its cache has it."""

from utils.data import corpora, hub
from utils.data.people_daily import Sentence, load_people_daily

# Name on the hub, configuration, the columns of text and label, and the hub's name of each split.
CLASSES = {
    "sst2": ("stanfordnlp/sst2", "default", "sentence", "label", {"train": "train", "test": "validation"}),
    "sms_spam": ("ucirvine/sms_spam", "plain_text", "sms", "label", {"train": "train[:80%]", "test": "train[80%:]"}),
}
NAMES = {
    "conll2003": (
        "tomaarsen/conll2003",
        "default",
        "tokens",
        "ner_tags",
        {s: s for s in ("train", "validation", "test")},
    )
}
REVIEWS, NEWSPAPER = ("imdb", "rotten_tomatoes"), "people_daily"


def labelled_texts(source: str, split: str) -> tuple[list[str], list[int]]:
    """Texts and their class numbers: the course's reviews ("imdb", "rotten_tomatoes"), "sst2" or "sms_spam".

    The published test part of SST-2 has no labels: its validation part is our "test".
    Raises: ValueError for an unknown source or split; SourceError if neither a package, the cache nor the hub has it.
    """
    if source in REVIEWS:
        data = corpora.reviews(source, split)
        return data["text"][:], data["label"][:]
    rows, text, label = _rows(CLASSES, source, split, REVIEWS)
    return rows[text][:], rows[label][:]


def tagged_sentences(source: str, split: str) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Units and their BIO labels, a pair a sentence: "people_daily" (characters), or "conll2003" (English words).

    Raises: ValueError for an unknown source or split; SourceError if neither a package, the cache nor the hub has it.
    """
    if source == NEWSPAPER:
        sentences: list[Sentence] = load_people_daily(split)
        return [(tuple(sentence.text), sentence.bio) for sentence in sentences]
    rows, words, label = _rows(NAMES, source, split, (NEWSPAPER,))
    names = rows.features[label].feature.names
    return [(tuple(row[words]), tuple(names[i] for i in row[label])) for row in rows]


def _rows(known: dict, source: str, split: str, carried: tuple[str, ...]):
    """The rows of a hub data set, and the names of its two columns."""
    if source not in known:
        raise ValueError(f"source: expected one of {sorted((*carried, *known))}, got {source!r}")
    name, configuration, text, label, splits = known[source]
    if split not in splits:
        raise ValueError(f"{source}: expected split one of {sorted(splits)}, got {split!r}")
    return hub.rows(name, configuration, splits[split]), text, label
