"""The playground: its forward pass, gradients and steps equal torch's, its points, what it refuses."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, playground

BY_TORCH = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "ReLU": torch.relu,
    "GELU": lambda z: F.gelu(z, approximate="tanh"),
    "none": lambda z: z,
}
RATE, STEPS = 0.37, 60
wide = partial(torch.tensor, dtype=torch.float64)


def as_layers(weights, widths):
    """The module's layers, as JSON, from torch's tensors."""
    return [
        {"from": widths[k], "to": widths[k + 1], "W": W.flatten().tolist(), "b": b.tolist()}
        for k, (W, b) in enumerate(weights)
    ]


def logits_of(weights, activation, x):
    """The same network in torch."""
    for W, b in weights[:-1]:
        x = BY_TORCH[activation](F.linear(x, W, b))
    return F.linear(x, *weights[-1])[:, 0]


def problem(seed):
    """Points, labels and weights of odd sizes, all in fp64."""
    torch.manual_seed(seed)
    widths = [2, 5, 3, 7, 1] if seed % 2 else [2, 3, 1]
    draw = partial(torch.randn, dtype=torch.float64, requires_grad=True)
    weights = [(draw(b, a), draw(b)) for a, b in itertools.pairwise(widths)]
    x, y = torch.randn(11, 2, dtype=torch.float64), torch.randint(2, (11,)).double()
    return widths, weights, x, y


@needs_node
def test_activations_and_their_slopes_equal_torch(tmp_path):
    torch.manual_seed(0)
    z = torch.cat([3 * torch.randn(50, dtype=torch.float64), torch.tensor([-40.0, -7.0, 0.0, 7.0, 40.0]).double()])
    code = """return Object.fromEntries(Object.entries(ACTIVATIONS).map(
        ([name, { value, slope }]) => [name, [data.map((z) => value(z)), data.map((z) => slope(z))]]));"""
    found = run_js("playground", code, z.tolist(), tmp_path)
    assert set(found) == set(BY_TORCH)
    for name, (value, slope) in found.items():
        point = z.clone().requires_grad_()
        expected = BY_TORCH[name](point)
        (gradient,) = torch.autograd.grad(expected.sum(), point)
        torch.testing.assert_close(wide(value), expected.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(wide(slope), gradient, rtol=0, atol=1e-12)


@needs_node
@pytest.mark.parametrize("activation", BY_TORCH)
@pytest.mark.parametrize("seed", [1, 2])
def test_forward_and_gradients_equal_autograd(activation, seed, tmp_path):
    widths, weights, x, y = problem(seed)
    data = {"layers": as_layers(weights, widths), "x": x.flatten().tolist(), "y": y.tolist(), "name": activation}
    code = """const phi = ACTIVATIONS[data.name];
        const { loss, gradients } = backward(data.layers.map((l) => ({ ...l, W: Float64Array.from(l.W) })), phi,
            Float64Array.from(data.x), data.y);
        return { loss, gradients: gradients.map(({ W, b }) => [[...W], [...b]]),
            logits: [...forward(data.layers, phi, Float64Array.from(data.x)).logits] };"""
    found = run_js("playground", code, data, tmp_path)
    logits = logits_of(weights, activation, x)
    loss = F.binary_cross_entropy_with_logits(logits, y)
    expected = torch.autograd.grad(loss, [one for pair in weights for one in pair])
    mine = [wide(one) for pair in found["gradients"] for one in pair]
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-10)
    torch.testing.assert_close(wide(found["logits"]), logits.detach(), rtol=0, atol=1e-10)
    for got, wanted in zip(mine, expected, strict=True):
        torch.testing.assert_close(got, wanted.flatten(), rtol=0, atol=1e-10)


@needs_node
@pytest.mark.parametrize("activation", BY_TORCH)
def test_training_equals_torchs_gradient_descent(activation, tmp_path):
    explorer = playground.explore_playground("ring")
    chosen = explorer.sets["ring"]
    data = {"x": np.ravel(chosen["x"][:101]).tolist(), "y": chosen["y"][:101], "name": activation, "steps": STEPS,
            "rate": RATE}
    code = """let layers = initial([2, 5, 3, 1], 1.3, 4);
        const plain = () => layers.map(({ from, to, W, b }) => ({ from, to, W: [...W], b: [...b] }));
        const first = plain();
        const losses = [];
        for (let k = 0; k < data.steps; k += 1) {
          const next = step(layers, ACTIVATIONS[data.name], Float64Array.from(data.x), data.y, data.rate);
          losses.push(next.loss);
          layers = next.layers;
        }
        return { first, last: plain(), losses };"""
    found = run_js("playground", code, data, tmp_path)
    weights = [
        (wide(one["W"]).view(one["to"], one["from"]), wide(one["b"]))
        for one in found["first"]
    ]
    flat = [nn.Parameter(one) for pair in weights for one in pair]
    weights = list(zip(flat[::2], flat[1::2], strict=True))
    x, y = wide(chosen["x"][:101]), wide(chosen["y"][:101])
    optimizer = torch.optim.SGD(flat, lr=RATE)
    for mine in found["losses"]:
        loss = F.binary_cross_entropy_with_logits(logits_of(weights, activation, x), y)
        assert mine == pytest.approx(loss.item(), abs=1e-10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for one, (W, b) in zip(found["last"], weights, strict=True):
        torch.testing.assert_close(wide(one["W"]), W.detach().flatten(), rtol=0, atol=1e-10)
        torch.testing.assert_close(wide(one["b"]), b.detach(), rtol=0, atol=1e-10)


@needs_node
def test_first_weights_have_the_deviation_asked_for_and_follow_the_seed(tmp_path):
    code = """const W = (seed) => [...initial([400, 300], 2, seed)[0].W];
        return { W: W(1), same: W(1), other: W(2), zero: [...initial([3, 2], 0, 1)[0].W] };"""
    found = run_js("playground", code, None, tmp_path)
    W = np.array(found["W"])
    assert abs(W.std() - 2 / 20) < 0.001 and abs(W.mean()) < 0.001
    assert found["same"] == found["W"] != found["other"]
    assert not np.any(found["zero"])


@needs_node
def test_the_boundary_lies_where_the_values_change_their_sign(tmp_path):
    size = 21
    centers = np.arange(size) + 0.5
    values = np.hypot(centers[None] - 10.5, centers[:, None] - 10.5) - 6.2
    code = "return zeroLine(data.values, data.size);"
    path = run_js("playground", code, {"values": values.ravel().tolist(), "size": size}, tmp_path)
    points = np.array([[float(part) for part in point.split()] for point in path.replace("M", "L").split("L")[1:]])
    assert len(points) > 40
    assert np.abs(np.hypot(*(points - 10.5).T) - 6.2).max() < 0.05


def test_sets_have_both_classes_in_both_halves_and_fit_the_picture():
    explorer = playground.explore_playground("spirals")
    assert tuple(explorer.sets) == tuple(playground.SETS)
    for name, chosen in explorer.sets.items():
        x, y = np.array(chosen["x"]), np.array(chosen["y"])
        assert x.shape == np.array(chosen["noise"]).shape == (playground.N_POINTS, 2)
        assert y[::2].mean() == y[1::2].mean() == 0.5, name
        assert np.abs(x).max() < playground.VIEW, name


def test_own_points_are_shown_and_checked():
    x, y = np.arange(10.0).reshape(5, 2) / 5, [0, 1, 1, 0, 1]
    explorer = playground.explore_playground("mine", {"mine": (x, y)})
    assert explorer.sets["mine"]["y"] == y and explorer.sets["mine"]["x"] == x.tolist()
    assert "“mine”" in explorer.says() and explorer.still().count("<circle") == 5
    assert explorer._esm == base.source("playground") and "https:" not in explorer._esm
    for points, labels, words in [
        (x[:, :1], y, r"points \(N, 2\)"),
        (x, y[:4], r"points \(N, 2\)"),
        (x[:3], y[:3], "at least 4"),
        (np.zeros((601, 2)), np.zeros(601), "at most 600"),
        (x * np.nan, y, "finite"),
        (x, [0, 1, 2, 0, 1], "labels 0 or 1"),
    ]:
        with pytest.raises(ValueError, match=words):
            playground.explore_playground("mine", {"mine": (points, labels)})
    with pytest.raises(ValueError, match="shown: expected one of"):
        playground.explore_playground("stars")
