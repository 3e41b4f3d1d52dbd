"""One name switches from the course's data to a standard set; without the hub that is one clear error, at once."""

import time

import datasets
import pytest

from utils import environment
from utils.data import hub, standard
from utils.data.sources import SourceError


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "online", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


@pytest.mark.parametrize("load, source", [
    (standard.labelled_texts, "sst2"), (standard.labelled_texts, "sms_spam"), (standard.tagged_sentences, "conll2003"),
])  # fmt: skip
def test_what_is_not_here_is_said_at_once(offline, load, source):
    began = time.perf_counter()
    with pytest.raises(SourceError, match=r"in the local cache and on the hub \(offline\): neither has it"):
        load(source, "test")
    assert time.perf_counter() - began < 10


def test_the_courses_own_data_come_by_the_same_call():
    texts, labels = standard.labelled_texts("rotten_tomatoes", "validation")
    assert len(texts) == len(labels) == 500 and set(labels) == {0, 1}
    units, bio = standard.tagged_sentences("people_daily", "validation")[0]
    assert len(units) == len(bio)


def test_a_standard_set_arrives_in_the_same_form(monkeypatch):
    features = datasets.Features({
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-PER", "I-PER"])),
    })  # fmt: skip
    rows = datasets.Dataset.from_dict({"tokens": [["Ada", "Lovelace", "wrote"]], "ner_tags": [[1, 2, 0]]}, features)
    asked = []
    monkeypatch.setattr(hub, "rows", lambda *names: asked.append(names) or rows)
    assert standard.tagged_sentences("conll2003", "test") == [(("Ada", "Lovelace", "wrote"), ("B-PER", "I-PER", "O"))]
    assert asked == [("tomaarsen/conll2003", "default", "test")]
    rows = datasets.Dataset.from_dict({"sentence": ["good"], "label": [1]})
    assert standard.labelled_texts("sst2", "test") == (["good"], [1])


@pytest.mark.parametrize(
    "load, name", [(standard.labelled_texts, "rotten_tomatoes"), (standard.tagged_sentences, "people_daily")]
)
def test_unknown_names_list_the_known_ones(load, name):
    with pytest.raises(ValueError, match=f"expected one of .*{name}.*, got 'enron'"):
        load("enron", "test")
    with pytest.raises(ValueError, match="expected split one of"):
        load("sst2" if load is standard.labelled_texts else "conll2003", "dev")
