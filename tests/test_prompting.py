"""Prompts: their texts, their scores against a direct computation, calibration, and answers behind a passage."""

import numpy as np
import pytest
import torch

from utils.data import course_text
from utils.experiments import prompting, retrieval_answers
from utils.models.pretrained import load_model


@pytest.fixture(scope="module")
def base():
    return load_model("reviews-gpt")


TEMPLATE = prompting.Template("{text}\nThis movie is", (" bad", " good"))


def test_examples_stand_before_the_question_with_their_answers():
    assert TEMPLATE.prompt("x") == "x\nThis movie is"
    assert TEMPLATE.prompt("x", [("a", 0), ("b", 1)]) == (
        "a\nThis movie is bad.\n\nb\nThis movie is good.\n\nx\nThis movie is"
    )


def test_scores_are_the_next_words_log_probabilities(base):
    model, tokenizer = base
    texts = ["It drags on.", "A delight from its first scene to its last one, and funny, too.", "Fine"]
    margin, leaning = prompting.scores(model, tokenizer, texts, TEMPLATE)
    found = []
    for text in [*texts, *prompting.NO_CONTENT]:
        ids = torch.tensor([[0, *tokenizer.encode(TEMPLATE.prompt(text)).ids]])
        with torch.inference_mode():
            log_probs = model(ids)[0, -1].log_softmax(-1)
        bad, good = (tokenizer.encode(word).ids[0] for word in TEMPLATE.words)
        found.append(float(log_probs[good] - log_probs[bad]))
    np.testing.assert_allclose(margin, found[:3], atol=1e-4)
    assert leaning == pytest.approx(np.mean(found[3:]), abs=1e-4)


def test_every_template_fits_the_tokenizer_and_bad_requests_are_refused(base):
    model, tokenizer = base
    for template in prompting.TEMPLATES.values():
        assert all(len(tokenizer.encode(word).ids) == 1 for word in template.words)
    with pytest.raises(ValueError, match="words of one token"):
        prompting.word_log_probs(model, tokenizer, ["a"], (" unspeakably",))
    with pytest.raises(ValueError, match="prompts of at most 512"):
        prompting.word_log_probs(model, tokenizer, ["word " * 600], (" bad",))
    with pytest.raises(ValueError, match="even number"):
        prompting.draw_examples(3, 0)
    with pytest.raises(ValueError, match="at most"):
        prompting.reviews("test", 5000)


def test_examples_are_balanced_training_reviews():
    for k in (2, 8):
        examples = prompting.draw_examples(k, 5)
        assert sum(label for _, label in examples) == k // 2 == len(set(examples)) // 2
    held = set(prompting.reviews("test", 300)[0])
    assert not held & {text for text, _ in prompting.draw_examples(8, 5)}


def test_calibration_subtracts_the_leaning():
    row = prompting.row_of(np.array([3.0, 1.0, 2.5, 0.5]), 2.0, np.array([1, 0, 1, 0]))
    assert row["accuracy"][0] == 0.5 and row["accuracy_calibrated"][0] == 1.0
    assert row["called_positive"] == 1.0 and row["called_positive_calibrated"] == 0.5
    assert row["calibration_gain"][0] == 0.5


def test_a_small_measurement_holds_every_part(base, monkeypatch):
    monkeypatch.setattr(prompting, "SHOTS", (2,))
    monkeypatch.setattr(prompting, "N_DRAWS", 1)
    monkeypatch.setattr(prompting.judges, "encoder_judge", lambda: lambda texts: np.full(len(texts), 0.7))
    monkeypatch.setattr(prompting, "best_template", lambda model, tokenizer: "It was … awful / wonderful")
    found = prompting.measure_prompts(*base, n=10, n_ordered=4)
    assert set(found["zero_shot"]) == set(prompting.TEMPLATES) and len(found["orders"]) == 24
    assert len({tuple(row["labels"]) for row in found["orders"]}) == 6 and len(found["few_shot"]) == 1


@pytest.fixture(scope="module")
def search():
    return retrieval_answers.CourseSearch(8, 8)


def test_the_best_sentence_is_one_of_the_passage_and_long_enough(search):
    passage, sentence = search.answer("What does LoRA train?")
    assert sentence in passage.text and len(sentence.split()) >= retrieval_answers.MIN_WORDS
    assert search.best_sentence("anything", "Short.") == "Short."
    for question in ("", "?!", "\x00", "👋"):
        with pytest.raises(ValueError, match="letter or digit"):
            search.answer(question)


def test_a_passage_with_the_sentence_makes_it_cheaper(base, search):
    asked = [one for one in course_text.course_questions() if search.relevant(one)]
    found = retrieval_answers.find(search, asked[:3])
    assert all(one.right_sentence in one.right_passage and one.sentence in one.passage for one in found)
    costs, n_bytes = retrieval_answers.read_answers(*base, found)
    assert all(row.shape == n_bytes.shape == (3,) for row in costs.values())
    assert costs["right passage"].sum() < costs["no passage"].sum()


def test_answer_costs_are_those_of_the_answer_alone(base):
    model, tokenizer = base
    front = [0, *tokenizer.encode("A passage.").ids, *tokenizer.encode("\nWhy?\n").ids]
    answer = tokenizer.encode("Because of it.").ids
    with torch.inference_mode():
        log_probs = model(torch.tensor([front + answer]))[0].log_softmax(-1)
    expected = -sum(float(log_probs[len(front) - 1 + i, token]) for i, token in enumerate(answer))
    found = retrieval_answers.answer_nats(model, tokenizer, ["A passage."], ["Why?"], ["Because of it."])
    assert found[0] == pytest.approx(expected, rel=1e-5)


def test_the_shipped_result_is_that_of_the_command():
    result = prompting.load_results()
    found, search = result["sentiment"], result["retrieval"]
    assert result["command"] == prompting.RESULT.run and len(found["orders"]) == 24
    assert set(found["zero_shot"]) == set(prompting.TEMPLATES) and found["template"] in prompting.TEMPLATES
    assert len(found["few_shot"]) == len(prompting.SHOTS) * prompting.N_DRAWS
    labels = prompting.reviews("test", found["n_test"])[1]
    for row in (*found["zero_shot"].values(), *found["few_shot"]):
        assert row["right"].shape == labels.shape and row["accuracy"][1] <= row["right"].mean() <= row["accuracy"][2]
    assert search["n_questions"] == len(course_text.course_questions())
    assert search["retrieved_against_another"][2] < 0


def test_a_damaged_result_says_how_to_make_it_anew(tmp_path):
    for content in ("[]", '{"sentiment": {}, "retrieval": {}}'):
        prompting.RESULT.path(tmp_path).write_text(content)
        with pytest.raises(ValueError, match="utils.launch prompting"):
            prompting.load_results(tmp_path)
