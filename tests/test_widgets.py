"""Explorers: what they ask of a model, how they answer, their arithmetic (by node), and what a saved notebook keeps."""

import itertools
import json
import math
import shutil
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from utils.models.generation import penalize_repetition
from utils.widgets import attention, base, fill_in, live_curve, number_formats, sampling, still

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed, so JavaScript cannot be run")
NAMES = ("attention", "sampling", "fill_in", "number_formats", "live_curve")


def run_js(name: str, code: str, data: object, tmp_path) -> object:
    """What `code` returns, run after the explorer's own module with `data` in reach."""
    module = tmp_path / "module.mjs"
    module.write_text(
        base.source(name) + "\nimport { readFileSync } from 'node:fs';\n"
        f"const data = JSON.parse(readFileSync({json.dumps(str(tmp_path / 'data.json'))}, 'utf8'));\n"
        f"console.log(JSON.stringify((() => {{ {code} }})()));\n",
        encoding="utf-8",
    )
    (tmp_path / "data.json").write_text(json.dumps(data), encoding="utf-8")
    done = subprocess.run([NODE, str(module)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# What every explorer keeps to.


def explorers() -> list[base.Explorer]:
    curve = live_curve.live_curve(references={"unigram": 6.0}, background={"shipped": ([1, 2], [8.0, 7.0])})
    curve.add(SimpleNamespace(step=1, loss=9.0))
    curve.close()
    return [
        attention.explore_attention(fake_attention, "a <b> c"),
        sampling.explore_sampling(lambda text: torch.tensor([1.0, 2.0, -math.inf]), "so", [" <a>", " b", " c"]),
        fill_in.explore_fill_in(lambda text: [[("<good>", 0.75), ("bad", 0.25)]], "a [MASK] film"),
        number_formats.explore_number_formats(0.1),
        curve._view,
    ]


def test_a_saved_notebook_keeps_a_still_picture_beside_the_view():
    for explorer in explorers():
        data, _ = explorer._repr_mimebundle_()
        assert data[base.WIDGET_VIEW]["model_id"] == explorer.model_id
        assert data["text/plain"] == explorer.says() and len(explorer.says()) > 20
        assert data["text/html"].startswith("<figure") and "<script" not in data["text/html"]
        assert not {"<b>", "<a>", "<good>"} & set(data["text/html"].replace("&lt;", "").split())
        assert "<b> c" not in data["text/html"] and "<good>" not in data["text/html"]


def test_modules_are_self_contained():
    for explorer, name in zip(explorers(), NAMES, strict=True):
        script = explorer._esm
        assert script == base.source(name) and script.rstrip().endswith("export default { render };")
        assert "lmSuppressShortcuts" in script
        for forbidden in ("https:", "import(", "window.", "globalThis", "innerHTML", "document.querySelector"):
            assert forbidden not in script, (name, forbidden)
        assert "@import" not in explorer._css and "url(" not in explorer._css


@needs_node
@pytest.mark.parametrize("name", NAMES)
def test_modules_parse_and_export_a_render(name, tmp_path):
    assert run_js(name, "return typeof render;", None, tmp_path) == "function"


# Attention.


def fake_attention(text: str) -> tuple[list[str], torch.Tensor]:
    tokens = text.split()
    if "boom" in tokens:
        raise ValueError("Expected no boom: take it out.")
    count = len(tokens)
    return tokens, torch.randn(3, 5, count, count, requires_grad=True).softmax(-1)


def test_attention_sends_every_weight():
    kept = {}

    def compute(text):
        kept["tokens"], kept["weights"] = fake_attention(text)
        return kept["tokens"], kept["weights"]

    explorer = attention.explore_attention(compute, "one two three")
    explorer.text = "one two three four seven"
    shape = (explorer.n_layers, explorer.n_heads, 5, 5)
    sent = np.frombuffer(explorer.weights, "<f4").reshape(shape)
    np.testing.assert_array_equal(sent, kept["weights"].detach().numpy())
    assert explorer.tokens == kept["tokens"] and explorer.error == "" and explorer.answers == 2


def test_attention_says_what_is_wrong_and_recovers():
    explorer = attention.explore_attention(fake_attention, "one two")
    for text, message in [("boom", "Expected no boom"), ("  ", "Expected a sentence"), ("a " * 49, "tokens, got 49")]:
        before = explorer.weights
        explorer.text = text
        assert message in explorer.error and explorer.weights == before
    explorer.text = "one two three"
    assert explorer.error == "" and len(explorer.tokens) == 3


def test_attention_refuses_weights_of_another_shape():
    explorer = attention.explore_attention(lambda text: (["a", "b"], np.ones((2, 2))), "a b")
    assert "Expected weights of shape (n_layers, n_heads, 2, 2)" in explorer.error


def test_a_bug_in_compute_is_named_not_hidden():
    explorer = attention.explore_attention(lambda text: 1 / 0, "a b")
    assert explorer.error.startswith("ZeroDivisionError")


# Sampling.


def reference_filter(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, min_p: float = 0.0
) -> torch.Tensor:
    """Temperature, top-k, top-p, then min-p, as probabilities in the order of the vocabulary, in plain torch."""
    probs = (logits.double() / temperature).softmax(-1)
    order = probs.argsort(descending=True, stable=True)
    ranked = probs[order]
    if top_k:
        ranked[top_k:] = 0
    ranked = ranked / ranked.sum()
    before = ranked.cumsum(-1) - ranked
    ranked[(before >= top_p) & (torch.arange(len(ranked)) > 0)] = 0
    ranked[ranked < min_p * ranked[0]] = 0
    return torch.zeros_like(ranked).scatter(0, order, ranked / ranked.sum())


@needs_node
def test_sampling_equals_a_plain_torch_filter(tmp_path):
    torch.manual_seed(3)
    logits = torch.randn(307) * 3
    settings = list(itertools.product([0.1, 0.7, 1.0, 2.0], [0, 1, 7, 400], [0.05, 0.5, 0.91, 1.0], [0, 0.01, 0.3, 1]))
    order = logits.argsort(descending=True, stable=True)
    code = """return data.settings.map(([t, k, p, least]) => {
        const now = truncated(Float32Array.from(data.sorted), t, k, p, least);
        const probs = Array.from(now.tempered.subarray(0, now.kept), (share) => share * now.factor);
        return { kept: now.kept, entropy: now.entropy, probs };
    });"""
    found = run_js("sampling", code, {"sorted": logits[order].tolist(), "settings": settings}, tmp_path)
    for setting, result in zip(settings, found, strict=True):
        expected = reference_filter(logits, *setting)
        assert result["kept"] == int((expected > 0).sum()), setting
        np.testing.assert_allclose(result["probs"], expected[order][: result["kept"]], atol=1e-12)
        entropy = float(torch.special.entr(expected).sum())
        assert result["entropy"] == pytest.approx(entropy, abs=1e-9)


@needs_node
def test_sampling_penalizes_repetition_as_generation_does(tmp_path):
    torch.manual_seed(4)
    logits, ids = 3 * torch.randn(97), torch.randint(97, (30,))
    for penalty in (1.0, 1.3, 3.0):
        data = {"logits": logits.tolist(), "seen": ids.tolist(), "penalty": penalty}
        code = "return Array.from(penalized(Float32Array.from(data.logits), data.seen, data.penalty));"
        found = torch.tensor(run_js("sampling", code, data, tmp_path))
        seen = torch.zeros(97, dtype=torch.bool).scatter(0, ids, True)
        torch.testing.assert_close(found, penalize_repetition(logits, seen, penalty), rtol=1e-6, atol=0)


def test_sampling_takes_the_ids_of_the_text_where_it_gets_them():
    plain = sampling.explore_sampling(lambda text: torch.zeros(3), "so", ["a", "b", "c"])
    assert plain.seen is None
    explorer = sampling.explore_sampling(lambda text: (torch.zeros(3), torch.tensor([2, 0, 2])), "so", ["a", "b", "c"])
    assert explorer.seen == [2, 0, 2] and explorer.error == ""


@needs_node
def test_sampling_draws_in_proportion(tmp_path):
    code = """const now = truncated(Float32Array.from([2, 1, 0, -1]), 1, 3, 1);
        const counts = [0, 0, 0, 0];
        for (let i = 0; i < 100000; i += 1) counts[pick(now, (i + 0.5) / 100000)] += 1;
        return counts;"""
    counts = np.array(run_js("sampling", code, None, tmp_path)) / 1e5
    expected = torch.tensor([2.0, 1.0, 0.0]).double().softmax(-1).numpy()
    np.testing.assert_allclose(counts, [*expected, 0], atol=2e-5)


def test_sampling_appends_the_drawn_token_and_asks_again():
    asked = []

    def compute(text):
        asked.append(text)
        return torch.arange(3.0, dtype=torch.bfloat16)

    explorer = sampling.explore_sampling(compute, "so", [" a", " b", " c"])
    explorer.drawn = [2, 1]
    explorer.drawn = [2, 2]
    assert asked == ["so", "so c", "so c c"]
    np.testing.assert_array_equal(np.frombuffer(explorer.logits, "<f4"), [0, 1, 2])


@pytest.mark.parametrize(("logits", "message"), [([1.0], "one logit for each of 2 tokens, got 1"),
                                                 ([math.nan, 0.0], "NaN"), ([-math.inf, -math.inf], "nothing finite")])
def test_sampling_refuses_bad_logits(logits, message):
    explorer = sampling.explore_sampling(lambda text: np.array(logits), "so", ["a", "b"])
    assert message in explorer.error


# Fill in.


def test_fill_in_answers_each_mask():
    explorer = fill_in.explore_fill_in(lambda text: [[("x", 0.5)] * 12] * text.count("[MASK]"), "no mask yet")
    assert explorer.candidates == [] and explorer.error == ""
    explorer.text = "a [MASK] and a [MASK]"
    assert [len(some) for some in explorer.candidates] == [10, 10]


def test_fill_in_refuses_a_wrong_number_of_lists():
    explorer = fill_in.explore_fill_in(lambda text: [[("x", 0.5)]], "[MASK] [MASK]")
    assert "each of 2 masks, got 1" in explorer.error


@needs_node
def test_fill_in_pieces_join_to_the_text_again(tmp_path):
    texts = ["The film wasn't [MASK], was it?", "[MASK][MASK] well-made — 10/10!", "  spaces\tand  多字节 words ", ""]
    found = run_js("fill_in", "return data.map((text) => pieces(text, '[MASK]'));", texts, tmp_path)
    assert ["".join(some) for some in found] == texts
    assert "wasn't" in found[0] and found[0].count("[MASK]") == 1 and found[1][:2] == ["[MASK]"] * 2


# Number formats.


def hard_numbers() -> list[float]:
    """Random doubles of all sizes, every boundary of each format with its neighbours, ties, and double roundings."""
    generator = np.random.default_rng(11)
    spread = generator.choice([-1.0, 1.0], 4000) * 10.0 ** generator.uniform(-48, 40, 4000)
    near = generator.standard_normal(2000)
    edges = [0.0, -0.0, 1 + 2**-11 + 2**-40, 2049.0, 65504.0, 65519.99, 65520.0, 448.0, 464.0, 465.0, 61439.0, 61440.0,
             3.4028235e38, 3.4028236e38, 1.7e308, 5e-324, 2.0**-149, 2.0**-150, 1.5 * 2.0**-150, 16777217.0]
    for exponent in (-149, -133, -126, -25, -24, -17, -16, -14, -10, -9, -6, 0, 8, 15, 16, 127):
        power = 2.0**exponent
        edges += [power, power * 1.5, np.nextafter(power, 0), np.nextafter(power, np.inf), -power * (1 + 2**-8)]
    halves = torch.arange(0, 31744, 7, dtype=torch.int16).view(torch.float16).double()
    ties = ((halves[:-1] + halves[1:]) / 2).tolist()
    return [*spread.tolist(), *near.tolist(), *map(float, edges), *ties]


@needs_node
def test_number_formats_round_exactly_as_torch_casts(tmp_path):
    numbers = hard_numbers()
    saturates = number_formats.explore_number_formats().saturates
    code = """return FORMATS.map((format) => data.numbers.map((text) => {
        const code = encode(Number(text), format, data.saturates);
        const { value } = decode(code, format);
        return [code, Number.isNaN(value)];
    }));"""
    data = {"numbers": [repr(number) for number in numbers], "saturates": saturates}
    found = run_js("number_formats", code, data, tmp_path)
    whole = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
    for codes, (name, dtype) in zip(found, number_formats.FORMATS.items(), strict=True):
        stored = torch.tensor(numbers, dtype=torch.float64).to(dtype)
        bits = 8 * stored.element_size()
        expected = stored.view(whole.get(dtype, torch.uint8)).to(torch.int64) % 2**bits
        nans = stored.float().isnan()
        mine = torch.tensor([code for code, _ in codes])
        assert torch.equal(torch.tensor([is_nan for _, is_nan in codes]), nans), name
        wrong = (mine != expected) & ~nans
        assert not wrong.any(), (name, [(numbers[i], hex(mine[i]), hex(expected[i])) for i in wrong.nonzero()[:3, 0]])


@needs_node
def test_every_code_of_the_short_formats_decodes_as_torch_does(tmp_path):
    code = """return FORMATS.slice(1).map((format) => Array.from({ length: 2 ** format.width }, (_, code) => {
        const { value } = decode(code, format);
        return [shown(value), Number.isNaN(value) || encode(value, format) === code];
    }));"""
    found = run_js("number_formats", code, None, tmp_path)
    for codes, (name, dtype) in zip(found, list(number_formats.FORMATS.items())[1:], strict=True):
        raw = torch.arange(len(codes)).to(torch.int32)
        stored = (raw.to(torch.uint8) if len(codes) == 256 else raw.to(torch.int16)).view(dtype).double()
        mine = torch.tensor([float(shown) for shown, _ in codes], dtype=torch.float64)
        assert torch.allclose(mine, stored, rtol=0, atol=0, equal_nan=True), name
        assert all(same for _, same in codes), name


@needs_node
def test_number_formats_read_what_is_typed(tmp_path):
    typed = ["0.1", " 1e-8 ", "1/3", "2^-24", "2 ^ 10", "-3", "−3", "", "abc", "1,5"]
    found = run_js("number_formats", "return data.map(parsed);", typed, tmp_path)
    assert found == [0.1, 1e-8, 1 / 3, 2**-24, 1024, -3, -3, None, None, None]
    code = "return ['inf', '-inf', 'nan'].map((word) => shown(parsed(word)));"
    found = run_js("number_formats", code, None, tmp_path)
    assert found == ["inf", "-inf", "NaN"]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_number_formats_start_from_a_finite_number(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        number_formats.explore_number_formats(value)


# The live curve.


def record(step: int, loss: float, **more: float) -> SimpleNamespace:
    return SimpleNamespace(step=step, loss=loss, **more)


def points(curve: live_curve.LiveCurve) -> np.ndarray:
    return np.frombuffer(curve._view.points, "<f4").reshape(2, -1)


def test_live_curve_ends_with_the_whole_run():
    curve = live_curve.live_curve(total_steps=5000)
    for step in range(1, 5001):
        curve.add(record(step, 1000.0 / step, learning_rate=1e-3, grad_norm=None, tokens_per_second=math.inf))
    curve.mark(5000, 0.5)
    curve.close()
    steps, losses = points(curve)
    assert (steps[0], steps[-1]) == (1, 5000) and len(steps) == live_curve.MOST_POINTS
    np.testing.assert_allclose(losses, 1000.0 / steps, rtol=1e-6)
    assert curve._view.marks == [[5000.0, 0.5, "held out"]] and curve._view.done
    assert curve._view.facts == {"skipped": 0, "step": 5000.0, "loss": 0.2, "learning_rate": 1e-3}


def test_live_curve_tells_at_most_five_times_a_second():
    curve = live_curve.live_curve()
    start = time.perf_counter()
    for step in range(1, 2001):
        curve.add(record(step, 1.0))
    seconds = time.perf_counter() - start
    assert curve._view.answers <= 2 + seconds / live_curve.SECONDS_BETWEEN_UPDATES


def test_live_curve_counts_skipped_steps_and_survives_an_infinite_loss():
    curve = live_curve.live_curve()
    curve.add(record(1, 8.0, skipped=False))
    curve.add(record(1, math.nan, skipped=True))
    curve.add(record(2, math.inf))
    curve.close()
    assert curve._view.facts["skipped"] == 1 and points(curve).shape == (2, 2)
    assert "nan" not in curve._view.still()


def test_live_curve_as_a_context_manager_closes_when_interrupted():
    with pytest.raises(KeyboardInterrupt), live_curve.live_curve() as curve:
        curve.add(record(1, 8.0))
        curve.add(record(2, torch.tensor(7.5)))
        raise KeyboardInterrupt
    assert curve._view.done and points(curve)[1].tolist() == [8.0, 7.5]


def test_live_curve_refuses_an_uneven_background():
    with pytest.raises(ValueError, match="got 2 and 1"):
        live_curve.live_curve(background={"shipped": ([1, 2], [3.0])})


@needs_node
@pytest.mark.parametrize(("low", "high"), [(0, 1), (3.1, 9.7), (0, 20000), (-2e-3, 5e-3)])
def test_ticks_are_round_and_inside(low, high, tmp_path):
    found = run_js("live_curve", "return ticks(data[0], data[1], 5);", [low, high], tmp_path)
    assert 2 <= len(found) <= 8 and all(low - 1e-12 <= tick <= high + 1e-12 for tick in found)


def test_stills_hold_on_empty_data():
    assert "<p>" in still.curves({}, "Nothing yet.") and still.word("") == "∅"
