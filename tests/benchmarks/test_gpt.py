"""A training step of our GPT, and its cached generation, beside Hugging Face's GPT-2 with the same weights."""

import functools
import logging

import pytest
import torch

from tests.benchmarks.ratios import Contest, Row
from utils.data import corpora
from utils.models.config import TransformerConfig
from utils.models.generation import generate
from utils.models.hugging_face import gpt2_settings, to_gpt2_weights
from utils.models.pretrained import load_model
from utils.models.transformer import GPT

STEP_ROWS, STEP_LENGTH = 8, 256
PROMPT_TOKENS, NEW_TOKENS = 32, 128


def as_gpt2(ours: GPT):
    """Hugging Face's GPT-2 of the same size, with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    theirs = GPT2LMHeadModel(GPT2Config(**gpt2_settings(ours.config)))
    theirs.load_state_dict(to_gpt2_weights(ours.state_dict()))
    return theirs


@functools.cache
def shipped():
    """The course's GPT, its tokenizer, and the ids of its first held-out reviews that are long enough."""
    model, tokenizer = load_model("reviews-gpt")
    texts = corpora.reviews("imdb", "test").select(range(64))["text"]
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    long = [row[: STEP_LENGTH + 1] for row in ids if len(row) > STEP_LENGTH]
    return model, torch.tensor(long)


@functools.cache
def chapter_sized() -> GPT:
    """A GPT as large as a chapter trains one."""
    torch.manual_seed(0)
    return GPT(TransformerConfig(vocab_size=2048, context_length=256, d_model=128, n_layers=4, n_heads=4)).eval()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_training_step(race, rows, precision):
    model, ids = shipped()
    ours, inputs, targets = GPT(model.config), ids[:STEP_ROWS, :-1].contiguous(), ids[:STEP_ROWS, 1:].contiguous()
    ours.load_state_dict(model.state_dict())
    theirs = as_gpt2(ours).train()
    models = {"ours": ours.train(), "theirs": theirs}
    optimizers = {name: torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True) for name, m in models.items()}
    losses = {name: [] for name in models}

    def step(name):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            if name == "ours":
                loss = ours(inputs, targets=targets) / targets.numel()
            else:
                loss = theirs(input_ids=inputs, labels=inputs, shift_labels=targets).loss
        loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad()
        losses[name].append(loss.item())

    contest = Contest({name: functools.partial(step, name) for name in models})
    race(contest, rounds=12)
    assert losses["ours"] == pytest.approx(losses["theirs"], rel=1e-3 if precision == torch.float32 else 2e-2)
    name = f"GPT training step, {str(precision).removeprefix('torch.')}, {STEP_ROWS} × {STEP_LENGTH}"
    rows.append(Row(name, "Hugging Face GPT-2", contest.ratios("ours", "theirs"), aim=1.15))


@pytest.mark.parametrize(
    "which, batch_size, rounds", [("chapter-sized", 1, 16), ("shipped", 1, 16), ("shipped", 8, 12)]
)
def test_cached_generation(race, rows, which, batch_size, rounds):
    ours = chapter_sized() if which == "chapter-sized" else shipped()[0]
    theirs = as_gpt2(ours).eval()
    prompt = shipped()[1][:batch_size, :PROMPT_TOKENS] % ours.config.vocab_size
    mask = torch.ones_like(prompt)
    found = {}

    def our_tokens():
        found["ours"] = generate(ours, prompt, NEW_TOKENS, temperature=0)

    def their_tokens():
        found["theirs"] = theirs.generate(
            prompt, attention_mask=mask, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=0
        )

    contest = Contest({"ours": our_tokens, "theirs": their_tokens})
    race(contest, rounds)
    assert torch.equal(found["ours"], found["theirs"])
    name = f"cached generation, {which} GPT, batch {batch_size}"
    rows.append(Row(name, "Hugging Face generate()", contest.ratios("ours", "theirs"), aim=1.5))
