"""How long Python's part of the widest explorer takes from a new text to new numbers, at the shipped model's size."""

import itertools

import torch

from tests.benchmarks.ratios import Contest, Row
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.widgets import forward_pass

N_WORDS, VOCAB_SIZE = 20, 8192


def test_forward_pass_explorer(race, rows):
    config = TransformerConfig(vocab_size=VOCAB_SIZE, context_length=32)
    model = GPT(config).eval()
    H, L, D, F = config.n_heads, config.n_layers, config.d_model, config.width_ff

    def compute(text):
        T = len(text.split())
        with torch.inference_mode():
            model(torch.arange(T)[None])
        sizes = dict.fromkeys(forward_pass.ENDS, (T, D)) | dict.fromkeys(("scores", "weights"), (L, H, T, T))
        sizes |= dict(stream=(L + 1, T, D), lens=(L + 1, T, VOCAB_SIZE), hidden=(L, T, F))
        return text.split(), {name: torch.randn(sizes.get(name, (L, T, D))) for name in forward_pass.NAMES}

    widget = forward_pass.explore_forward_pass(compute, "a b", [str(i) for i in range(VOCAB_SIZE)])
    words = itertools.cycle(("word", "other"))

    def new_text():
        widget.text = " ".join([next(words)] * N_WORDS)

    contest = race(Contest({"ours": new_text}), rounds=12)
    assert widget.error == ""
    rows.append(Row("forward-pass explorer, new text", "", tuple(contest.seconds["ours"]), aim=0.4, unit="s"))
