"""Prompts with answers: the split, the instructions, and which tokens are learned, counted by hand."""

import itertools

import pytest
import torch

from utils.data import conversations, packing, sources
from utils.data.batches import IGNORE
from utils.data.conversations import Exchange, normal
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import objectives


@pytest.fixture(scope="module")
def tokenizer():
    return sources.load_tokenizer("reviews-gpt")


@pytest.fixture(scope="module")
def some():
    return [
        Exchange("a", "Hello there!", "Hi."),
        Exchange("b", "Is it late?", "It is never late in here, my friend."),
        Exchange("c", "And now?", "No.", before=("What time is it?", "Noon.")),
        Exchange("d", "word " * 60, "A long question gets a short answer."),
    ]


def test_no_test_question_is_read_in_training():
    train, test = conversations.exchanges("train"), conversations.exchanges("test")
    assert (len(train), len(test)) == (856, 214)
    asked = {normal(one.question) for one in test}
    read = {normal(turn) for one in train for turn in (one.question, *one.before)}
    assert not asked & read and all(not one.before for one in test)
    keys = [(normal(one.question), normal(one.answer)) for one in train + test]
    assert len(keys) == len(set(keys)) and all(q and a for q, a in keys)
    assert sum(bool(one.before) for one in train) > 50
    with pytest.raises(ValueError, match="'train' or 'test'"):
        conversations.exchanges("validation")


def test_instructions_carry_the_reviewers_verdict_and_hold_one_wording_back():
    train = conversations.instructions("train", 60)
    assert [one.topic for one in train] == ["judge"] * 30 + ["write"] * 30
    assert {one.answer for one in train[:30]} == set(conversations.VERDICTS)
    assert not any(one.question.startswith("Is this review") for one in train)
    assert not any(one.question.startswith("Write a") for one in train)
    test = conversations.instructions("test", 20, wording=0)
    assert all(one.question.startswith("Is this review positive or negative?") for one in test)
    assert conversations.instructions("train", 60) == train != conversations.instructions("train", 60, seed=1)
    for n in (1, 10**6):
        with pytest.raises(ValueError, match="from 2 to"):
            conversations.instructions("test", n)


def test_prompts_name_the_speakers_from_the_last_turn_back(tokenizer):
    assert conversations.prompt_text(["Hi"]) == "You: Hi\nBot:"
    assert conversations.prompt_text(["a", "b", "c\n c"]) == "You: a\nBot: b\nYou: c c\nBot:"
    assert conversations.prompt_text(["b", "c"]) == "Bot: b\nYou: c\nBot:"
    ids = conversations.prompt_ids(tokenizer, ["Hi"]) + conversations.answer_ids(tokenizer, "Hello.")
    assert tokenizer.decode(ids) == "You: Hi\nBot: Hello."


def test_only_answers_and_their_end_are_learned_in_every_order(tokenizer, some):
    texts, given = conversations.tokenized(tokenizer, some, 64)
    stop = tokenizer.token_to_id(conversations.SEPARATOR)
    wanted = sorted([*tokenizer.encode(f" {one.answer}").ids, stop] for one in some)
    assert [text[n:] for text, n in zip(texts, given, strict=True)] != wanted  # not yet sorted
    assert sorted(text[n:] for text, n in zip(texts, given, strict=True)) == wanted
    assert all(len(text) <= 64 for text in texts) and all(
        tokenizer.decode(text[:n]).endswith("\nBot:") for text, n in zip(texts, given, strict=True)
    )
    for order in packing.ORDERS:
        found, batches = [], packing.batches_of(texts, order, 128, 128, stop, given=given)
        while len(found) < len(texts):
            batch = next(batches)
            for row in batch["targets"]:
                runs = itertools.groupby(row.tolist(), key=lambda token: token != IGNORE)
                found += [list(run) for learned, run in runs if learned]
        assert sorted(found) == wanted, order


def test_a_packed_answer_costs_what_it_costs_alone(tokenizer, some):
    torch.manual_seed(0)
    model = GPT(TransformerConfig(tokenizer.get_vocab_size(), 160, 12, n_layers=2, n_heads=3)).double()
    texts, given = conversations.tokenized(tokenizer, some, 64)
    with torch.no_grad():
        alone = 0.0
        for text, n in zip(texts, given, strict=True):
            log_probs = model(torch.tensor([text[:-1]]))[0].log_softmax(-1)
            alone -= float(sum(log_probs[i - 1, text[i]] for i in range(n, len(text))))
        packed = packing.packed_batch([texts[:2], texts[2:]], 160, 0, [given[:2], given[2:]])
        loss, count = objectives.next_token(model, packed)
    assert count == sum(len(text) - n for text, n in zip(texts, given, strict=True))
    assert float(loss) == pytest.approx(alone, rel=1e-9)


def test_long_prompts_lose_their_earlier_turns_and_then_their_middle(tokenizer, some):
    texts, given = conversations.tokenized(tokenizer, some, 24)
    assert max(map(len, texts)) <= 24
    assert tokenizer.decode(texts[2][: given[2]]) == "You: And now?\nBot:"
    assert tokenizer.decode(texts[3][: given[3]]).startswith("You: word") and len(texts[3]) == 24
    with pytest.raises(ValueError, match="at least 16"):
        conversations.tokenized(tokenizer, some, 15)


def test_a_text_without_a_token_to_learn_is_refused():
    with pytest.raises(ValueError, match="at least one token behind"):
        packing.padded_batch([[1, 2]], 0, [2])
    with pytest.raises(ValueError, match="at least one token behind"):
        packing.packed_batch([[[1, 2]]], 8, 0, [[3]])
