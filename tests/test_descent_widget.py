"""The descent explorer: its gradients equal autograd's, its paths torch's optimizers', and what it refuses."""

import pytest
import torch

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, descent

RATE, BETA1, BETA2, DECAY, STEPS = 0.013, 0.8, 0.97, 0.3, 100
BY_TORCH = {
    "gradient descent": lambda w: torch.optim.SGD([w], lr=RATE),
    "momentum": lambda w: torch.optim.SGD([w], lr=RATE, momentum=BETA1),
    "Nesterov": lambda w: torch.optim.SGD([w], lr=RATE, momentum=BETA1, nesterov=True),
    "AdaGrad": lambda w: torch.optim.Adagrad([w], lr=RATE),
    "RMSProp": lambda w: torch.optim.RMSprop([w], lr=RATE, alpha=BETA2),
    "Adam": lambda w: torch.optim.Adam([w], lr=RATE, betas=(BETA1, BETA2)),
    "AdamW": lambda w: torch.optim.AdamW([w], lr=RATE, betas=(BETA1, BETA2), weight_decay=DECAY),
}


def banana(w):
    return (1 - w[0]) ** 2 + 10 * (w[1] - w[0] ** 2) ** 2


BY_AUTOGRAD = {
    "ravine": lambda w: 0.5 * (w[0] ** 2 + 25 * w[1] ** 2),
    "banana": banana,
    "saddle": lambda w: 0.5 * w[0] ** 2 - 0.5 * w[1] ** 2 + 0.125 * w[1] ** 4,
    "four valleys": lambda w: (w[0] ** 2 + w[1] - 11) ** 2 + (w[0] + w[1] ** 2 - 7) ** 2,
    "plateau": lambda w: 1 - (-0.5 * (w**2).sum()).exp(),
}


@needs_node
def test_values_and_gradients_equal_autograd(tmp_path):
    torch.manual_seed(0)
    points = 2 * torch.randn(9, 2, dtype=torch.float64)
    code = """return Object.fromEntries(Object.entries(SURFACES).map(([name, { value, gradient, minima }]) =>
        [name, { points: data.map((p) => [value(...p), ...gradient(...p)]),
                 minima: minima.map((p) => gradient(...p)) }]));"""
    found = run_js("descent", code, points.tolist(), tmp_path)
    assert tuple(found) == descent.SURFACES
    for name, function in BY_AUTOGRAD.items():
        for point, mine in zip(points, found[name]["points"], strict=True):
            w = point.clone().requires_grad_()
            value = function(w)
            expected = torch.cat([value.detach()[None], *torch.autograd.grad(value, w)])
            torch.testing.assert_close(torch.tensor(mine, dtype=torch.float64), expected, rtol=1e-12, atol=1e-12)
        assert all(abs(part) < 1e-3 for gradient in found[name]["minima"] for part in gradient), name


@needs_node
def test_paths_equal_torchs_optimizers(tmp_path):
    options = {"rate": RATE, "beta1": BETA1, "beta2": BETA2, "decay": DECAY, "noise": 0}
    code = """return Object.fromEntries(Object.keys(OPTIMIZERS).map(
        (name) => [name, path(name, "banana", [-1.3, 1.1], data.steps, data.options)]));"""
    found = run_js("descent", code, {"steps": STEPS, "options": options}, tmp_path)
    assert tuple(found) == descent.OPTIMIZERS
    for name, points in found.items():
        w = torch.tensor([-1.3, 1.1], dtype=torch.float64, requires_grad=True)
        optimizer = BY_TORCH[name](w)
        for point in points:
            torch.testing.assert_close(torch.tensor(point, dtype=torch.float64), w.detach(), rtol=0, atol=1e-10)
            optimizer.zero_grad()
            banana(w).backward()
            optimizer.step()
        assert len(points) == STEPS + 1


@needs_node
def test_a_diverging_path_ends_and_noise_is_the_same_each_time(tmp_path):
    code = """const options = { rate: 0.2, beta1: 0, beta2: 0.9, decay: 0, noise: 0.5 };
        const draw = () => path("gradient descent", "plateau", [-1, 1], 20, options);
        return [path("gradient descent", "ravine", [1, 1], 400, { ...options, noise: 0 }).length, draw(), draw()];"""
    length, first, second = run_js("descent", code, None, tmp_path)
    assert length < 100
    assert first == second and len(first) == 21


def test_says_what_it_shows_and_refuses_what_it_does_not_know():
    explorer = descent.explore_descent("banana", ("Adam",))
    assert "Adam over the surface “banana”" in explorer.says() and "<table>" in explorer.still()
    assert explorer._esm == base.source("descent") and "https:" not in explorer._esm
    with pytest.raises(ValueError, match="surface: expected one of"):
        descent.explore_descent("volcano")
    with pytest.raises(ValueError, match="expected some of .* got \\['Lion'\\]"):
        descent.explore_descent("ravine", ("Adam", "Lion"))
