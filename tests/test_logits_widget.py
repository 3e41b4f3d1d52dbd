"""The logits explorer: its arithmetic in the browser equals torch's, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F

from tests.test_widgets import needs_node, run_js
from utils.widgets import base, logits


@needs_node
@pytest.mark.parametrize("count, smoothing", [(2, 0.0), (3, 0.1), (5, 0.5)])
def test_losses_and_gradients_equal_torch(count, smoothing, tmp_path):
    torch.manual_seed(count)
    drawn = (4 * torch.randn(20, count, dtype=torch.float64)).requires_grad_()
    correct = torch.randint(count, (20,))
    code = """return data.logits.map((logits, n) => Object.fromEntries(Object.entries(LOSSES).map(
        ([name, loss]) => [name, loss(logits, targets(logits.length, data.correct[n], data.smoothing))])));"""
    data = {"logits": drawn.tolist(), "correct": correct.tolist(), "smoothing": smoothing}
    found = run_js("logits", code, data, tmp_path)
    target = (1 - smoothing) * F.one_hot(correct, count).double() + smoothing / count
    losses = {
        "cross-entropy": F.cross_entropy(drawn, correct, label_smoothing=smoothing, reduction="none"),
        "squared error": (drawn.softmax(-1) - target).square().sum(-1),
    }
    for name, expected in losses.items():
        (gradient,) = torch.autograd.grad(expected.sum(), drawn)
        mine = [one[name] for one in found]
        torch.testing.assert_close(torch.tensor([one["loss"] for one in mine]).double(), expected.detach(),
                                   rtol=0, atol=1e-6)
        torch.testing.assert_close(torch.tensor([one["gradient"] for one in mine], dtype=torch.float64), gradient,
                                   rtol=0, atol=1e-12)


@needs_node
def test_extreme_logits_do_not_overflow(tmp_path):
    code = "return Object.values(LOSSES).map((loss) => loss([1000, -1000, 0], [0, 1, 0]));"
    cross, squared = run_js("logits", code, None, tmp_path)
    assert cross["loss"] == 2000 and cross["gradient"] == [1, -1, 0]
    assert squared["loss"] == 2 and squared["gradient"] == [0, 0, 0]


def test_says_what_it_shows_and_keeps_a_still_picture():
    explorer = logits.explore_logits(["<cat>", "dog"], [0.0, 0.0], target=1)
    assert "0.693 nats" in explorer.says()
    assert "&lt;cat&gt;" in explorer.still() and "<cat>" not in explorer.still()
    assert explorer._esm == base.source("logits") and "https:" not in explorer._esm


@pytest.mark.parametrize(
    "classes, values, target, message",
    [
        (["a"], [0.0], 0, "expected 2 to 6 classes"),
        (["a", "b"], [0.0], 0, "2 classes and 1 logits"),
        (["a", "b"], [0.0, 9.0], 0, "expected values from -8 to 8"),
        (["a", "b"], [0.0, float("nan")], 0, "expected values from -8 to 8"),
        (["a", "b"], [0.0, 1.0], 2, "expected the number of a class, 0 to 1"),
    ],
)
def test_refuses_what_it_cannot_show(classes, values, target, message):
    with pytest.raises(ValueError, match=message):
        logits.explore_logits(classes, values, target)
