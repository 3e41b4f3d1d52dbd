"""The chat model: what is refused, how answers are judged, and a run of the command in small."""

import json

import numpy as np
import pytest
import torch

from utils.data import conversations
from utils.data.conversations import Exchange
from utils.experiments import chat, chat_measures
from utils.metrics import intervals
from utils.models.pretrained import load_model


@pytest.fixture(scope="module")
def base():
    return load_model("reviews-gpt")


@pytest.fixture(scope="module")
def some():
    pairs = [("What is red?", "A rose."), ("What is green?", "The grass."), ("What is blue?", "The sky."),
             ("Who are you?", "A robot."), ("where do birds fly", "In the sky."), ("What is gray?", "An elephant.")]
    return [Exchange("t", question, answer) for question, answer in pairs]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "said"),
    [("", "at least one letter"), (" \n\x07\x00", "at least one letter"), ("👋🏽 !?", "at least one letter"),
     ("x" * 401, "at most 400 characters, got 401"), ("你好，你是谁？", "English alone"), ("Привет", "English alone")],
)  # fmt: skip
def test_messages_that_cannot_be_answered_are_refused(base, message, said):
    with pytest.raises(ValueError, match=said):
        chat.answer(*base, [message])


def test_answers_survive_odd_input_and_long_conversations(base):
    assert chat.readable("  a\x00b\tc 👋\u202e ") == "a b c 👋"
    model, tokenizer = base
    for message in ("hi 👋", "naïve café?", "a" * 400, "1 + 1"):
        assert isinstance(chat.answer(model, tokenizer, [message], max_new_tokens=3), str)
    turns = ["word " * 70, "answer " * 70] * 9 + ["And now?"]
    assert chat.answer(model, tokenizer, turns, max_new_tokens=3) == chat.answer(
        model, tokenizer, turns[-5:], max_new_tokens=3
    )


def test_an_answer_is_the_greedy_continuation_up_to_the_separator(base):
    model, tokenizer = base
    ids = conversations.prompt_ids(tokenizer, ["Hello there"])
    with torch.inference_mode():
        for _ in range(4):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    expected = tokenizer.decode(ids[len(conversations.prompt_ids(tokenizer, ["Hello there"])) :]).strip()
    assert chat.answer(model, tokenizer, ["Hello there"], max_new_tokens=4) == expected
    drawn = [chat.answer(model, tokenizer, ["Hi"], 1.0, torch.Generator().manual_seed(s), 5) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_quiz_holds_the_right_answer_once_and_no_copy_of_it(some):
    quiz = chat_measures.make_quiz([*some, Exchange("t", "And at night?", "the sky")], n_candidates=4)
    assert quiz.places.shape == (7,) and all(len(row) == 4 for row in quiz.candidates)
    for one, row, place in zip([*some, Exchange("t", "", "the sky")], quiz.candidates, quiz.places, strict=True):
        same = [conversations.normal(text) == conversations.normal(one.answer) for text in row]
        assert sum(same) == 1 and same[place]
    with pytest.raises(ValueError, match="at least 10 different answers, got 6"):
        chat_measures.make_quiz(some)


def test_hits_count_the_best_and_toss_a_coin_between_equals(some):
    quiz = chat_measures.make_quiz(some * 100, n_candidates=5)
    scores = np.zeros((600, 5))
    assert 0.13 < chat_measures.hits(scores, quiz).mean() < 0.27
    scores[np.arange(600), quiz.places] = 1
    assert chat_measures.hits(scores, quiz).all() and not chat_measures.hits(-scores, quiz).any()


def test_look_ups_find_what_shares_words_or_meaning(some):
    asked = [Exchange("t", "what is blue", "The sky."), Exchange("t", "Which plant is green?", "The grass.")]
    quiz = chat_measures.Quiz([one.question for one in asked], [["A robot.", "The sky.", "The grass."]] * 2,
                              np.array([1, 2]))  # fmt: skip
    assert chat_measures.hits(chat_measures.word_scores(quiz, some), quiz).all()
    retrieval = chat_measures.EncoderRetrieval(some)
    assert chat_measures.hits(retrieval.scores(quiz), quiz).all()
    assert retrieval.nearest("Tell me who you are")[0].answer == "A robot."
    frequencies = chat_measures.frequency_scores(quiz, some + some[2:3])
    assert frequencies.tolist() == [[1, 2, 1]] * 2


def test_answer_costs_count_the_answer_and_its_end(base):
    model, tokenizer = base
    prompt = conversations.prompt_ids(tokenizer, ["Hi"])
    answer = [*tokenizer.encode(" Hello.").ids, tokenizer.token_to_id(conversations.SEPARATOR)]
    with torch.inference_mode():
        log_probs = model(torch.tensor([prompt + answer]))[0].log_softmax(-1)
    expected = -sum(float(log_probs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))
    assert chat_measures.answer_nats(model, tokenizer, [["Hi"]], ["Hello."])[0] == pytest.approx(expected, rel=1e-5)


def test_a_look_up_pays_for_what_it_does_not_find():
    costs = chat_measures.staked(np.array([10.0, 10.0, 2.0]), [["Yes."], ["No."], ["yes", "no"]], ["yes"] * 3)
    np.testing.assert_allclose(
        np.exp(-costs), [0.5 + 0.5 * np.exp(-10), 0.5 * np.exp(-10), 0.25 + 0.5 * np.exp(-2)], rtol=1e-12
    )


def test_the_command_in_small(tmp_path, monkeypatch):
    for name, value in {"STEPS": 2, "TOKENS_PER_BATCH": 200, "N_INSTRUCTIONS": 8, "COPIES": 1}.items():
        monkeypatch.setattr(chat, name, value)
    every = {split: conversations.exchanges(split)[::14] for split in ("train", "test")}
    monkeypatch.setattr(conversations, "exchanges", every.get)
    whole = chat_measures.measure
    monkeypatch.setattr(chat_measures, "measure", lambda *given: whole(*given, n_judged=6))
    assert chat.chat_tuning(tmp_path) == chat.RESULT.path(tmp_path)
    result = chat.load_results(tmp_path)
    assert all(row.shape == (result["n_questions"],) for row in result["recall_at_1"].values())
    assert result["more_than_chat_model"]["chat model"] == [0, 0, 0] and result["examples"]
    chat.answer(*chat.load_chat(tmp_path / chat.ADAPTER.name), ["Hello"], max_new_tokens=3)
    chat.RESULT.path(tmp_path).write_text("{}")
    with pytest.raises(ValueError, match="chat-tuning"):
        chat.load_results(tmp_path)


def test_the_shipped_adapter_and_result_agree_with_the_code():
    result = chat.load_results()
    assert sum(path.stat().st_size for path in chat.ADAPTER.iterdir()) < 1_000_000
    card = json.loads((chat.ADAPTER / "card.json").read_text())
    assert card["recipe"]["max_steps"] == chat.STEPS and str(chat.N_INSTRUCTIONS) in card["data"]
    recall = result["recall_at_1"]
    for baseline in ("most frequent answer", "nearest question (BM25)", "reviews-gpt"):
        assert intervals.paired_bootstrap_accuracy(recall["encoder"], recall[baseline]).low > 0
    for baseline in ("ten most frequent answers", "nearest question (BM25)", "reviews-gpt"):
        assert result["more_than_chat_model"][baseline][1] > 0
    test = chat_measures.unique_questions(conversations.exchanges("test"))
    quiz = chat_measures.make_quiz(test, chat.SEED)
    again = chat_measures.hits(chat_measures.frequency_scores(quiz, conversations.exchanges("train")), quiz, chat.SEED)
    np.testing.assert_array_equal(again, recall["most frequent answer"])
