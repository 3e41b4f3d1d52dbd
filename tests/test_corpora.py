"""The one split of the reviews: disjoint, of its stated size, independent of the order; and the learner's own files."""

import json
import random

import pytest

from utils.data import corpora, sources
from utils.data.corpora import HELD_OUT, SPLITS, clean, fingerprint, shingles, split_rows

NAMES = tuple(HELD_OUT)


@pytest.fixture(scope="module")
def splits():
    """All splits of both data sets, as they are served."""
    return {name: {split: corpora.reviews(name, split) for split in SPLITS} for name in NAMES}


@pytest.fixture(scope="module")
def prints(splits):
    """The fingerprints of every split."""
    return {
        (name, split): [fingerprint(text) for text in splits[name][split]["text"][:]]
        for name in NAMES
        for split in SPLITS
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_have_their_stated_sizes_and_both_labels(splits, name):
    n_rows = sources.DATA_SETS[name].n_rows
    for split, data in splits[name].items():
        assert data.column_names == ["text", "label", "row"]
        assert 0.4 < sum(data["label"]) / len(data) < 0.6
        if split != "train":
            assert len(data) == HELD_OUT[name][split]
    assert 0.8 * n_rows < len(splits[name]["train"]) < n_rows - sum(HELD_OUT[name].values()) + 1


def test_no_review_is_in_two_splits_or_twice_in_one_over_both_data_sets(prints):
    """By letters and digits alone: copies that differ in case, space or punctuation count as the same."""
    for one, ours in prints.items():
        assert len(set(ours)) == len(ours), one
        for other, theirs in prints.items():
            assert one == other or not set(ours) & set(theirs), (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_no_passage_of_thirteen_words_is_in_a_held_out_and_a_training_review(splits, name):
    held = set()
    for split in ("validation", "test"):
        held |= set().union(*map(shingles, splits[name][split]["text"][:]))
    training = splits[name]["train"]["text"][:]
    sample = random.Random(0).sample(training, min(len(training), 4000))
    assert all(held.isdisjoint(shingles(text)) for text in sample)
    # The test can fail: a held-out review itself shares passages with the held-out ones.
    long_enough = next(text for text in splits[name]["test"]["text"][:] if len(text.split()) > 30)
    assert not held.isdisjoint(shingles("Prologue. " + long_enough))


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_the_sources_row_cleaned(splits, name):
    source = sources.load_reviews(name)
    for data in splits[name].values():
        for i in random.Random(1).sample(range(len(data)), 50):
            original = source[data[i]["row"]]
            assert data[i]["text"] == clean(original["text"]) and data[i]["label"] == original["label"]


def words(n, seed):
    generator = random.Random(seed)
    return " ".join(generator.choice("film plot bad good slow actor music the a of and".split()) for _ in range(n))


def synthetic():
    """Texts with copies, near-copies and shared passages among them."""
    texts = [f"Review number {i}: {words(20, i)}" for i in range(200)]
    copies = [text.upper().replace(" ", "<br />") for text in texts[:40]]
    return texts + copies + [f"As somebody wrote: {text} So true." for text in texts[20:60]]


def test_the_split_does_not_depend_on_the_order_of_the_rows():
    texts = synthetic()
    sizes = {"test": 30, "validation": 12}
    expected = {name: {fingerprint(texts[row]) for row in rows} for name, rows in split_rows(texts, sizes).items()}
    for seed in range(3):
        shuffled = random.Random(seed).sample(texts, len(texts))
        rows = split_rows(shuffled, sizes)
        assert {name: {fingerprint(shuffled[row]) for row in chosen} for name, chosen in rows.items()} == expected
        assert {name: len(rows[name]) for name in sizes} == sizes


def test_copies_are_kept_once_and_texts_that_quote_a_held_out_one_are_not_trained_on():
    texts = synthetic()
    rows = split_rows(texts, {"test": 30, "validation": 12})
    kept = [fingerprint(texts[row]) for chosen in rows.values() for row in chosen]
    assert len(set(kept)) == len(kept)
    held = set().union(*(shingles(texts[row]) for name in ("test", "validation") for row in rows[name]))
    different = len({fingerprint(text) for text in texts})
    assert different == 240 and len(rows["train"]) < different - 42
    assert all(held.isdisjoint(shingles(texts[row])) for row in rows["train"])


def test_too_few_different_texts_are_refused():
    with pytest.raises(ValueError, match="more than 5 different texts, got 1"):
        split_rows(["the same"] * 10, {"test": 5})


@pytest.mark.parametrize("name, split, named", [("imdb", "dev", "'dev'"), ("sst2", "train", "'sst2'")])
def test_an_unknown_data_set_or_split_lists_the_known_ones(name, split, named):
    with pytest.raises(ValueError, match=rf"expected one of .*got {named}"):
        corpora.reviews(name, split)


def test_the_cached_split_belongs_to_the_rows_it_was_made_of(monkeypatch, tmp_path):
    """The hub's copy may come in another order: row numbers of one order must not serve the other."""
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path))
    monkeypatch.setitem(HELD_OUT, "rotten_tomatoes", {"test": 3, "validation": 2})
    texts = [f"Review number {i}: {words(9, i)}" for i in range(30)]
    first, second = (
        {name: {order[row] for row in rows} for name, rows in corpora._rows("rotten_tomatoes", order).items()}
        for order in (texts, texts[::-1])
    )
    assert first == second and len(list(tmp_path.iterdir())) == 2
    assert corpora._rows("rotten_tomatoes", texts) == split_rows(texts, HELD_OUT["rotten_tomatoes"])


def test_a_torn_cache_file_is_made_again_and_an_unwritable_cache_costs_nothing_but_time(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path))
    monkeypatch.setitem(HELD_OUT, "imdb", {"test": 3})
    texts = [f"Review number {i}" for i in range(9)]
    expected = corpora._rows("imdb", texts)
    (cached,) = tmp_path.iterdir()
    cached.write_text(cached.read_text()[:20])
    assert corpora._rows("imdb", texts) == expected == json.loads(cached.read_text())
    monkeypatch.setenv("LLM_COURSE_CACHE", str(cached / "below"))
    assert corpora._rows("imdb", texts) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("One.<br /><br />Two.", "One.\nTwo."),
        ("  One <br> two <br/>  three ", "One\ntwo\nthree"),
        ("One.\r\n\r\n  Two.", "One.\nTwo."),
        ("a < b and b > c", "a < b and b > c"),
        ("", ""),
    ],
)
def test_cleaning_turns_the_pages_breaks_into_newlines(text, expected):
    assert clean(text) == expected and clean(expected) == expected


def test_fingerprints_see_letters_and_digits_alone_and_shingles_see_words():
    assert fingerprint("Good, GOOD<br />film!") == fingerprint("good good film") != fingerprint("good film")
    assert shingles("One two, three<br />FOUR", 3) == {("one", "two", "three"), ("two", "three", "four")}
    assert shingles("too short", 3) == set()


def test_an_own_text_is_split_at_blank_lines(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("First line,\nsecond line.\n\n \n\nÜber alles.\n\n", encoding="utf-8")
    assert corpora.documents_from_file(path) == ["First line,\nsecond line.", "Über alles."]
    assert corpora.documents_from_file(str(path))


@pytest.mark.parametrize(
    "content, named",
    [(None, "found nothing"), (b"", "empty file"), (b" \n\n \t", "empty file"), (b"caf\xe9 au lait", "position 3")],
    ids=["absent", "empty", "blank", "latin-1"],
)
def test_an_own_text_that_cannot_be_used_is_one_clear_error(tmp_path, content, named):
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"own text: expected .*{named}"):
        corpora.documents_from_file(path)


@pytest.mark.parametrize("read", [corpora.documents_from_file, corpora.labelled_texts_from_csv])
def test_a_folder_in_place_of_a_file_is_one_clear_error(tmp_path, read):
    with pytest.raises(ValueError, match="own .*: expected"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content, options",
    [
        ("text,label\nGood.<br />Yes!,1\n,0\nBad.,0\n", {}),
        ("stars,review\n1.0,Good.<br />Yes!\n,gone\n0,Bad.\n", {"text_column": "review", "label_column": "stars"}),
        ("text,label\nGood.<br />Yes!,True\nBad.,False\n", {}),
    ],
)
def test_an_own_csv_gives_clean_texts_and_whole_labels(tmp_path, content, options):
    path = tmp_path / "own.csv"
    path.write_text(content)
    assert corpora.labelled_texts_from_csv(path, **options).to_dict() == {
        "text": ["Good.\nYes!", "Bad."],
        "label": [1, 0],
    }


@pytest.mark.parametrize(
    "content, named",
    [
        (None, "readable CSV"),
        (b"", "readable CSV"),
        (b"text,label\ncaf\xe9,1\n", "readable CSV"),
        (b'text,label\n"never closed,1\n', "readable CSV"),
        (b"text,label\n", "at least one row"),
        (b"review,stars\nGood.,1\n", r"missing \['text', 'label'\]; the file has \['review', 'stars'\]; rename"),
        (b"text\nGood.\n", r"missing \['label'\]"),
        (b"text,label\nGood.,good\n", r"labels such as \['good'\]"),
        (b"text,label\nGood.,-1\n", "labels 0, 1"),
        (b"text,label\nGood.,0.5\n", "labels 0, 1"),
        (b"text,label\nGood.,inf\n", "labels 0, 1"),
    ],
)
def test_an_own_csv_that_cannot_be_used_is_one_clear_error(tmp_path, content, named):
    path = tmp_path / "own.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"own CSV: expected .*{named}"):
        corpora.labelled_texts_from_csv(path)
