"""The tagger experiment: batches, baselines, counts by paragraph, and a result file that is whole or refused."""

import json

import numpy as np
import pytest

from utils.data.people_daily import BIO, load_people_daily, sentences_of
from utils.experiments import people_daily_tagger as taggers
from utils.metrics import entities

TRAIN = sentences_of(
    "江/nr  泽民/nr  在/p  北京/ns  。/w  北京/ns  银行/n  在/p  发展/v  。/w  发展/v  发展/vn  。/w", 4
)


def test_the_list_marks_the_longest_known_name():
    assert taggers.name_list(TRAIN, ["江泽民到北京来"]) == [["B-nr", "I-nr", "I-nr", "O", "B-ns", "I-ns", "O"]]
    assert taggers.name_list(TRAIN, ["江"]) == [["O"]]


def test_a_word_has_its_most_frequent_tag_and_a_new_one_is_a_noun():
    assert taggers.most_frequent_tags(TRAIN, [("发展", "银河", "在")]) == [["v", "n", "p"]]


def test_batches_hide_features_and_keep_every_label():
    model = taggers.new_tagger("entities")
    batch = next(taggers.tagging_batches(model, TRAIN, "entities"))
    lengths = sorted(len(sentence.text) for sentence in TRAIN)
    assert sorted(batch["attention_mask"].sum(dim=1).tolist()) == lengths
    assert ((batch["targets"] >= 0) == batch["attention_mask"]).all()
    again = next(taggers.tagging_batches(model, TRAIN, "entities"))
    assert (batch["features"] == again["features"]).all(), "the same seed hides the same features"


def test_counts_are_added_up_by_paragraph():
    right = [list(sentence.bio) for sentence in TRAIN]
    assert taggers.count("entities", TRAIN, right).tolist() == [[3, 3, 3]]
    sentences = [*TRAIN, *sentences_of("上海/ns", 9)]
    found = taggers.count("entities", sentences, [*right, ["O", "O"]])
    assert found.tolist() == [[3, 3, 3], [0, 0, 1]] and taggers.score("entities", found) == 6 / 7
    words = taggers.count("pos", TRAIN, [["x"] * len(sentence.tags) for sentence in TRAIN])
    assert words.tolist() == [[0, 13]] and taggers.score("pos", words) == 0


def test_another_task_is_refused():
    with pytest.raises(ValueError, match="expected 'entities' or 'pos', got 'chunks'"):
        taggers.task("chunks")


def test_a_damaged_result_file_is_one_error(tmp_path):
    path = tmp_path / "people_daily_tagger.json"
    for content in (None, "{", "{}", json.dumps({"n_lines": 2, "counts": {"entities": {"a": "AAA="}, "pos": {}}})):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match="make them anew: python -m utils.launch people-daily-tagger"):
            taggers.load_results(tmp_path)


def test_the_committed_results_are_those_of_the_test_split():
    result = taggers.load_results()
    test = load_people_daily("test")
    assert result["n_lines"] == len({sentence.line for sentence in test})
    assert result["counts"]["pos"]["encoder"][:, 1].sum() == sum(len(sentence.words) for sentence in test)
    true = entities.span_counts([s.bio for s in test], [s.bio for s in test])[:, 2].sum()
    for name, rows in result["counts"]["entities"].items():
        assert rows[:, 2].sum() == true and (rows[:, 0] <= rows[:, 1:].min(axis=1)).all()
        assert taggers.score("entities", rows) == pytest.approx(result["scores"]["entities"][name])


def test_the_shipped_tagger_finds_names_and_refuses_what_is_no_news():
    tagger = taggers.load_tagger(taggers.FOLDER / "entities")
    labels, probs = taggers.find_names(tagger, "新华社北京1月1日电")
    assert probs.shape == (10, len(BIO)) and np.allclose(probs.sum(axis=1), 1, atol=1e-5)
    assert "北京" in {"新华社北京1月1日电"[a:b] for a, b, _ in entities.spans(labels)}
    with pytest.raises(ValueError, match="Expected Chinese text"):
        taggers.find_names(tagger, "hello")


def test_the_shipped_weights_stay_within_their_budget():
    assert sum(path.stat().st_size for path in taggers.FOLDER.rglob("*.safetensors")) <= 3e6
