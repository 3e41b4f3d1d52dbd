"""The explorers of answers and of search: what they send to the page, and what they refuse."""

import pytest
import torch

from utils.models import spans
from utils.models.pretrained import load_model
from utils.models.retrieval import Found
from utils.widgets import answers, base, search

PASSAGE = "Kestrel was founded in 1962. Its <b>seat</b> is in Riga."


@pytest.fixture(scope="module")
def read():
    """A reader that believes in one span: the first number."""
    tokenizer = load_model("reviews-bert")[1]

    def compute(question, passage):
        pair = spans.encode_pair(tokenizer, question, passage, 60)
        logits = torch.zeros(len(pair.input_ids), 2)
        places = [t for t, (a, b) in enumerate(pair.offsets) if pair.in_passage[t] and passage[a:b].strip().isdigit()]
        if places:
            logits[places[0], 0] = logits[places[-1], 1] = 4.0
        return pair, spans.reading_of(pair, logits)

    return compute


def test_sends_tokens_spans_and_no_answer(read):
    explorer = answers.explore_answers(read, "When was Kestrel founded?", PASSAGE)
    assert explorer.error == ""
    assert "".join((" " if spaced else "") + text for text, spaced, *_ in explorer.tokens).strip() == PASSAGE
    text, first, last, prob = explorer.candidates[0]
    assert text == "1962" and explorer.lead == pytest.approx(8.0)
    assert "".join(piece for piece, *_ in explorer.tokens[first : last + 1]) == "1962"
    assert prob > explorer.candidates[1][3] and 0 < explorer.none < prob
    assert sum(start for _, _, start, _ in explorer.tokens) < 1


@pytest.mark.parametrize(
    ("question", "passage", "message"),
    [("", PASSAGE, "a question with"), ("Who?", "", "a passage with"), ("Who?", "word " * 99, "at most 60 tokens")],
)
def test_says_what_is_wrong_and_recovers(read, question, passage, message):
    explorer = answers.explore_answers(read, "When?", PASSAGE)
    before = explorer.tokens
    explorer.query = {"question": question, "passage": passage}
    assert message in explorer.error and explorer.tokens == before
    explorer.query = {"question": "When?", "passage": "In 1999."}
    assert explorer.error == "" and explorer.candidates[0][0] == "1999"


def test_answers_leave_a_still_picture(read):
    explorer = answers.explore_answers(read, "When?", PASSAGE)
    data, _ = explorer._repr_mimebundle_()
    assert "1962" in data["text/plain"] and "<b>" not in data["text/html"] and "svg" in data["text/html"]
    assert explorer._esm == base.source("answers") and "innerHTML" not in explorer._esm and "url(" not in explorer._css
    broken = answers.explore_answers(read, "", PASSAGE)
    assert "Nothing could be read" in broken._repr_mimebundle_()[0]["text/plain"]


def find(text, method):
    """One passage for every question but the empty one."""
    if not text:
        raise ValueError("expected a question")
    return [Found(None, f"1. A › B by {method}", 0.5, ["One <i>two</i>.", "Three."], 1, {"two"})]


def test_search_sends_what_was_found():
    explorer = search.explore_search(find, "two", ("meaning", "words"))
    assert explorer.found == [
        {
            "where": "1. A › B by meaning",
            "score": 0.5,
            "sentences": ["One <i>two</i>.", "Three."],
            "best": 1,
            "words": ["two"],
        }
    ]
    explorer.query = {"text": "two", "method": "words"}
    assert explorer.found[0]["where"].endswith("words")


def test_search_says_what_is_wrong_and_leaves_a_still_picture():
    explorer = search.explore_search(find, "two", ("meaning", "words"))
    explorer.query = {"text": "", "method": "words"}
    assert explorer.error == "expected a question"
    explorer.query = {"text": "x", "method": "magic"}
    assert "Expected one of meaning, words" in explorer.error
    data, _ = explorer._repr_mimebundle_()
    assert "<i>" not in data["text/html"] and "table" in data["text/html"] and "1 passages" in data["text/plain"]
    assert explorer._esm == base.source("search") and "innerHTML" not in explorer._esm and "url(" not in explorer._css
