"""Control tokens: what is trained, what is written, what it costs; and a run of the command in small."""

import json

import numpy as np
import pytest
import torch

from utils.data.batches import IGNORE
from utils.experiments import control, judges
from utils.models.generation import generate
from utils.models.guidance import generate_guided, guided_logits
from utils.models.pretrained import load_model


@pytest.fixture(scope="module")
def base():
    return load_model("reviews-gpt")


def test_a_control_token_is_one_token_that_begins_the_text(base):
    _, tokenizer = base
    fronts = [control.beginning(tokenizer, label) for label in (None, 0, 1)]
    assert [len(front) for front in fronts] == [1, 2, 2] and fronts[1] != fronts[2]
    with pytest.raises(ValueError, match="one of the labels"):
        control.beginning(tokenizer, 2)


def test_the_control_token_is_given_and_all_else_predicted(base):
    _, tokenizer = base
    batch = next(control.training_batches(tokenizer, rows=40, n_reviews=40))
    codes = {control.beginning(tokenizer, label)[1] for label in (0, 1)}
    coded = torch.tensor([int(row[1]) in codes for row in batch["input_ids"]])
    assert batch["input_ids"].shape[1] <= control.LENGTH and 0.5 < coded.float().mean() < 1
    assert (batch["targets"][coded, 0] == IGNORE).all() and (batch["targets"][~coded, 0] != IGNORE).all()
    shown = batch["targets"][:, 1:] != IGNORE
    assert torch.equal(batch["targets"][:, 1:-1][shown[:, :-1]], batch["input_ids"][:, 2:][shown[:, :-1]])
    again = next(control.training_batches(tokenizer, rows=40, n_reviews=40))
    assert torch.equal(again["input_ids"], batch["input_ids"])


def test_guidance_of_weight_one_is_plain_and_of_zero_ignores_the_condition(base):
    model, tokenizer = base
    told = torch.tensor([control.prompts(tokenizer, 1, 1)[0]] * 2)
    plain = torch.tensor([control.prompts(tokenizer, None, 1)[0]] * 2)
    a, b = torch.randn(2, 3, 11, dtype=torch.float64)
    torch.testing.assert_close(guided_logits(a, b, 1.0).softmax(-1), a.softmax(-1))
    torch.testing.assert_close(guided_logits(a, b, 0.0).softmax(-1), b.softmax(-1))
    exaggerated = (b.softmax(-1) * (a.softmax(-1) / b.softmax(-1)) ** 3)
    torch.testing.assert_close(guided_logits(a, b, 3.0).softmax(-1), exaggerated / exaggerated.sum(-1, True))
    for weight, prompt in ((1.0, told), (0.0, plain)):
        ours = generate_guided(model, told, plain, 9, weight, temperature=0)
        assert torch.equal(ours, generate(model, prompt, 9, temperature=0)[:, prompt.shape[1] :])
    with pytest.raises(ValueError, match="prompts without the condition"):
        generate_guided(model, told, plain[:1], 9)
    with pytest.raises(ValueError, match="max_new_tokens=600"):
        generate_guided(model, told, plain, 600)


def test_nats_are_those_of_the_text_alone(base):
    model, tokenizer = base
    front, text = control.beginning(tokenizer, 1), tokenizer.encode("A quiet film about rain.").ids
    with torch.inference_mode():
        logits = model(torch.tensor([front + text]))[0, len(front) - 1 : -1].log_softmax(-1)
    expected = -float(logits.gather(1, torch.tensor(text)[:, None]).sum())
    assert control.nats(model, [front], [text])[0] == pytest.approx(expected, rel=1e-5)


def test_written_texts_follow_from_the_seed_and_keep_their_openings(base):
    model, tokenizer = base
    texts = control.write_reviews(model, tokenizer, None, 14, new_tokens=5, seed=3)
    openings = [control.OPENINGS[i % len(control.OPENINGS)] for i in range(14)]
    assert all(text.startswith(opening) for text, opening in zip(texts, openings, strict=True))
    assert texts == control.write_reviews(model, tokenizer, None, 14, new_tokens=5, seed=3)
    assert texts != control.write_reviews(model, tokenizer, None, 14, new_tokens=5, seed=4)


def test_passages_begin_with_a_sentence():
    random = np.random.default_rng(0)
    text = "Short one. " + "It is a long sentence with many words in it and it goes on and on for a while now. " * 4
    found = {judges.passage(text, random, 12) for _ in range(40)}
    assert all(part.startswith(("Short one.", "It is a long")) and len(part.split(" ")) <= 12 for part in found)
    passages, labels = judges.labelled_passages("test", 30)
    assert len(passages) == len(labels) == 30 and set(labels) <= {0, 1}
    assert all(len(passage.split(" ")) <= judges.PASSAGE_WORDS for passage in passages)


def test_the_command_in_small(tmp_path, monkeypatch, base):
    small = {"STEPS": 2, "N_READ": 12, "N_WRITTEN": 6, "NEW_TOKENS": 6, "GUIDANCE": (2.0,)}
    for name, value in small.items():
        monkeypatch.setattr(control, name, value)
    monkeypatch.setattr(control.judges, "word_judge", lambda: lambda texts: np.array([0.7] * len(texts)))
    monkeypatch.setattr(control.judges, "encoder_judge", lambda: lambda texts: np.array([0.2] * len(texts)))
    path = control.control_tokens(tmp_path)
    assert path == control.RESULT.path(tmp_path)
    result = control.load_results(tmp_path)
    told = ["reviews-gpt", "no control token", *["negative", "positive"] * 2]
    assert [row["told"] for row in result["written"]] == told
    low, high = result["bits_per_byte"]["reviews-gpt"][1:]
    assert 0.5 < low < high < 4 and result["more_than_no_control_token"]["no control token"] == [0, 0, 0]
    assert all(row["positive"]["words"].all() and not row["positive"]["encoder"].any() for row in result["written"])
    model, _ = control.load_control(tmp_path / control.ADAPTER.name)
    assert not model.training


def test_the_shipped_adapter_and_result_agree_with_the_code():
    model, tokenizer = control.load_control()
    card = json.loads((control.ADAPTER / "card.json").read_text())
    assert card["control_tokens"] == list(control.CODES.values()) and card["command"].endswith("control-tokens")
    assert sum(path.stat().st_size for path in control.ADAPTER.iterdir()) < 1_000_000
    result = control.load_results()
    assert len(result["written"]) == 2 + 2 * (1 + len(control.GUIDANCE))
    for row in result["written"]:
        assert all(verdicts.shape == (result["n_written"],) for verdicts in row["positive"].values())
    right, wrong = (result["bits_per_byte"][f"{name} control token"][0] for name in ("right", "wrong"))
    assert right < wrong and not model.training and tokenizer.get_vocab_size() == 8192


def test_a_damaged_result_says_how_to_make_it_anew(tmp_path):
    for content in ("", "{}", '{"written": 3}'):
        control.RESULT.path(tmp_path).write_text(content)
        with pytest.raises(ValueError, match="control-tokens"):
            control.load_results(tmp_path)
