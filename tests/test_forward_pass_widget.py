"""The forward-pass explorer: every tensor arrives, its arithmetic equals torch's, and what it refuses."""

import re

import numpy as np
import pytest
import torch

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, forward_pass

L, H, D, F_, V = 3, 2, 10, 14, 37
VOCABULARY = [f" w{i}" if i % 2 else f"<{i}>" for i in range(V)]


def fake_pass(text):
    """Random tensors of the right shapes, the same for the same text."""
    tokens = text.split()
    if "boom" in tokens:
        raise ValueError("Expected no boom: take it out.")
    T, generator = len(tokens), torch.Generator().manual_seed(len(text))

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    steps = {name: random(T, D) for name in forward_pass.ENDS}
    steps |= {name: random(L, T, D) for name in forward_pass.LAYERS}
    scores = random(L, H, T, T)
    steps |= {"scores": scores, "weights": scores.tril().softmax(-1), "hidden": random(L, T, F_)}
    return tokens, steps | {"stream": 3 * random(L + 1, T, D), "lens": 4 * random(L + 1, T, V)}


def explorer(text="one two <b> four five"):
    return forward_pass.explore_forward_pass(fake_pass, text, VOCABULARY)


def sent(widget, name):
    """A tensor as the page gets it."""
    start, *shape = widget.places[name]
    values = np.frombuffer(widget.values, "<f2")
    return values[start : start + int(np.prod(shape))].reshape(shape)


def test_every_tensor_is_sent_whole():
    widget = explorer()
    _, steps = fake_pass("one two <b> four five")
    for name, expected in steps.items():
        if name != "lens":
            np.testing.assert_allclose(sent(widget, name), expected.numpy(), rtol=1e-3, atol=1e-6)
    assert len(widget.values) == 2 * sum(t.numel() for name, t in steps.items() if name != "lens")
    logits = np.frombuffer(widget.logits, "<f4").reshape(5, V)
    np.testing.assert_array_equal(logits, steps["lens"][-1].numpy())


def test_guesses_are_torchs_best_at_every_depth():
    widget, (_, steps) = explorer(), fake_pass("one two <b> four five")
    probs, best = steps["lens"].softmax(-1).topk(forward_pass.GUESSES, dim=-1)
    found = np.array(widget.guesses)
    assert found.shape == (L + 1, 5, forward_pass.GUESSES, 2)
    np.testing.assert_array_equal(found[..., 0], best.numpy())
    np.testing.assert_allclose(found[..., 1], probs.numpy(), rtol=1e-5)


def test_another_text_is_computed_anew_and_a_wrong_one_is_explained():
    widget = explorer()
    before = widget.values
    widget.text = "one two three"
    assert widget.tokens == ["one", "two", "three"] and widget.values != before and widget.answers == 2
    for text, message in [("boom", "Expected no boom"), ("a " * 21, "at most 20 tokens, got 21")]:
        before = widget.values
        widget.text = text
        assert message in widget.error and widget.values == before
    widget.text = "fine"
    assert widget.error == "" and widget.tokens == ["fine"]


def change(**changes):
    """A computation that gives other tensors than it should."""

    def compute(text):
        tokens, steps = fake_pass(text)
        return tokens, {name: t for name, t in {**steps, **changes}.items() if t is not None}

    return compute


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"query": None}, "Expected tensors named token"),
        ({"more": torch.ones(1)}, "lens, more|stream, lens, more"),
        ({"query": torch.ones(L, 4, D)}, r"query of shape \(3, 4, 10\) instead of \(3, 5, 10\)"),
        ({"weights": torch.ones(L, H, 5, 4)}, "weights of shape"),
        ({"lens": torch.ones(L + 1, 5, V - 1)}, f"lens over {V - 1} tokens instead of {V}"),
    ],
)
def test_tensors_that_do_not_fit_are_one_clear_error(changes, message):
    widget = forward_pass.explore_forward_pass(change(**changes), "one two three four five", VOCABULARY)
    assert re.search(message, widget.error), widget.error
    assert "<script" not in widget._repr_mimebundle_()[0]["text/html"]


def test_a_saved_notebook_keeps_a_table_of_guesses():
    data, _ = explorer()._repr_mimebundle_()
    assert data["text/html"].count("<tr>") == L + 2 and "likeliest next tokens" in data["text/plain"]
    assert "<b>" not in data["text/html"] and "<0>" not in data["text/html"]


def test_the_module_is_self_contained():
    script, css = explorer()._esm, explorer()._css
    assert script == base.source("forward_pass") and script.rstrip().endswith("export default { render };")
    for forbidden in ("https:", "import(", "window.", "globalThis", "innerHTML", "document.querySelector"):
        assert forbidden not in script, forbidden
    assert "@import" not in css and "url(" not in css


@needs_node
def test_the_page_reads_sixteen_bit_floats_as_numpy_does(tmp_path):
    bits = np.concatenate([np.arange(0, 0x7C01, 7), np.arange(0x8000, 0xFC01, 13)]).astype("<u2")
    expected = bits.view("<f2").astype(float)
    found = run_js(
        "forward_pass",
        """const bytes = Uint8Array.from([0, ...data]);
        const view = new DataView(bytes.buffer, 1);  // an odd offset, as a message may have
        return [...halves(view)].map((value) => (Number.isFinite(value) ? value : String(value)));""",
        bits.view("u1").tolist(),
        tmp_path,
    )
    np.testing.assert_array_equal(np.array(found, dtype=float), expected)


@needs_node
def test_the_page_cuts_out_layers_heads_and_means_as_torch_does(tmp_path):
    widget = explorer()
    data = {
        "values": np.frombuffer(widget.values, "<f2").astype(float).tolist(),
        "places": widget.places,
        "logits": np.frombuffer(widget.logits, "<f4").reshape(5, V)[2].tolist(),
    }
    found = run_js(
        "forward_pass",
        """const values = Float32Array.from(data.values);
        const list = ({ data, rows, columns }) => ({ data: [...data], rows, columns });
        const heads = [0, 1].map((h) => part(values, data.places.weights, 2, h));
        const { shares, best } = softmaxBest(Float32Array.from(data.logits), 6);
        return { token: list(part(values, data.places.token)), hidden: list(part(values, data.places.hidden, 1)),
          head: list(columnsOf(part(values, data.places.query, 2), 5, 5)),
          weights: list(heads[1]), mean: list(meanOf(heads)), shares: [...shares], best,
          size: meanSize(Float32Array.from([1, -2, 3])) };""",
        data,
        tmp_path,
    )
    expected = {
        "token": sent(widget, "token"),
        "hidden": sent(widget, "hidden")[1],
        "head": sent(widget, "query")[2][:, 5:],
        "weights": sent(widget, "weights")[2, 1],
        "mean": sent(widget, "weights")[2].astype(float).mean(0),
    }
    for name, table in expected.items():
        assert (found[name]["rows"], found[name]["columns"]) == table.shape, name
        np.testing.assert_allclose(np.reshape(found[name]["data"], table.shape), table, rtol=0, atol=1e-6)
    probs, best = torch.tensor(data["logits"]).softmax(-1).sort(descending=True)
    assert found["best"] == best[:6].tolist() and found["size"] == 2
    np.testing.assert_allclose(np.array(found["shares"])[found["best"]], probs[:6].numpy(), rtol=1e-5)
