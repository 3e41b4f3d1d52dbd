"""The gates explorer: its arithmetic equals an LSTM of PyTorch's, and it refuses what is amiss."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, gates

D_HIDDEN, D_EMBED = 7, 5


def make_lstm() -> nn.LSTM:
    torch.manual_seed(4)
    return nn.LSTM(D_EMBED, D_HIDDEN, batch_first=True).double()


def trace_of(lstm: nn.LSTM, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """All parts over time (T, D): the gates from the weights, cell and hidden state from PyTorch's own steps."""
    state, found = (torch.zeros(1, 1, D_HIDDEN).double(),) * 2, {name: [] for name in gates.PARTS}
    for t in range(len(x)):
        z = lstm.weight_ih_l0 @ x[t] + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ state[0][0, 0] + lstm.bias_hh_l0
        i, f, g, o = z.chunk(4)
        state = lstm(x[None, t : t + 1], state)[1]
        parts = (i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid(), state[1][0, 0], state[0][0, 0])
        for name, value in zip(gates.PARTS, parts, strict=True):
            found[name].append(value.detach())
    return {name: torch.stack(values) for name, values in found.items()}


def read(text: str):
    words = text.split()
    if "boom" in words:
        raise ValueError("Expected no boom.")
    vectors = torch.randn(len(words), D_EMBED, generator=torch.Generator().manual_seed(1)).double()
    trace = trace_of(make_lstm(), vectors)
    return words, [word != "xyzzy" for word in words], trace, trace["hidden"].mean(-1).sigmoid()


@needs_node
def test_steps_and_contributions_equal_pytorchs_cell(tmp_path):
    explorer = gates.explore_gates(read, "a film that is not xyzzy good at all")
    count = len(explorer.words)
    values = np.frombuffer(explorer.values, "<f4").astype(float)
    code = """return Array.from({ length: data.width }, (_, u) => {
        const unit = unitOf(data.values, data.count, data.width, u);
        return unit.cell.map((_, t) => ({ ...stepOf(unit, t), adds: contributions(unit, t) }));
    });"""
    found = run_js("gates", code, {"values": values.tolist(), "count": count, "width": D_HIDDEN}, tmp_path)
    trace = read(explorer.text)[2]
    for u, steps in enumerate(found):
        for t, step in enumerate(steps):
            assert step["cell"] == pytest.approx(trace["cell"][t, u].item(), abs=1e-5)
            assert step["hidden"] == pytest.approx(trace["hidden"][t, u].item(), abs=1e-5)
            assert len(step["adds"]) == t + 1
            assert math.fsum(step["adds"]) == pytest.approx(trace["cell"][t, u].item(), abs=1e-5)
        # The first word's share, in closed form: written, times every forget gate after it.
        first = trace["input"][0, u] * trace["candidate"][0, u] * trace["forget"][1:, u].prod()
        assert steps[-1]["adds"][0] == pytest.approx(first.item(), abs=1e-5)


def test_sends_every_part_and_keeps_the_parts_in_order():
    explorer = gates.explore_gates(read, "one two three")
    sent = np.frombuffer(explorer.values, "<f4").reshape(len(gates.PARTS), 3, D_HIDDEN)
    trace = read(explorer.text)[2]
    for part, values in zip(gates.PARTS, sent, strict=True):
        np.testing.assert_array_equal(values, trace[part].float().numpy())
    assert explorer.d_hidden == D_HIDDEN and explorer.error == "" and len(explorer.says_so_far) == 3
    names = explorer._esm.split("const PARTS = [")[1].split("]")[0]
    assert names == ", ".join(f'"{part}"' for part in gates.PARTS)


def test_a_new_sentence_of_the_longest_kind_is_read():
    explorer = gates.explore_gates(read, "one two three")
    explorer.text = "word " * gates.MOST_WORDS
    assert explorer.error == "" and len(explorer.words) == gates.MOST_WORDS


def test_says_what_is_wrong_and_recovers():
    explorer = gates.explore_gates(read, "one two")
    wrong = [("  ", "empty text"), ("boom", "no boom"), ("word " * 41, "1 to 40 words, got 41")]
    for text, message in wrong:
        before = explorer.values
        explorer.text = text
        assert message in explorer.error and explorer.values == before
    explorer.text = "one xyzzy"
    assert explorer.error == "" and explorer.known == [True, False]


def test_refuses_parts_that_do_not_fit():
    words, known, trace, probs = read("one two three")
    short = {**trace, "cell": trace["cell"][:2]}
    missing = {name: trace[name] for name in gates.PARTS if name != "forget"}
    assert "(3, d_hidden), one row a word" in gates.explore_gates(lambda text: (words, known, short, probs), "x").error
    assert "missing are forget" in gates.explore_gates(lambda text: (words, known, missing, probs), "x").error
    assert "got 3 known and 2 probs" in gates.explore_gates(lambda text: (words, known, trace, probs[:2]), "x").error


def test_leaves_a_still_picture_and_keeps_to_its_own_module():
    explorer = gates.explore_gates(read, "a <b>bold</b> film")
    data, _ = explorer._repr_mimebundle_()
    assert f"LSTM with {D_HIDDEN} units" in data["text/plain"] and "positive" in data["text/plain"]
    assert "<b>" not in data["text/html"] and "svg" in data["text/html"]
    script = explorer._esm
    assert script == base.source("gates") and script.rstrip().endswith("export default { render };")
    for forbidden in ("https:", "import(", "window.", "globalThis", "innerHTML", "document.querySelector"):
        assert forbidden not in script
    assert "url(" not in explorer._css
