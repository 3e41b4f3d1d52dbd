"""Properties for lab 11: gradients unscaled and clipped, and a whole step of mixed precision."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_named, are_results, is_equal

# Exercise 5: unscale, look, clip


def _scaled(draw, norm: float, scale: float) -> dict[str, Tensor]:
    """Gradients in fp16, times `scale`; unscaled, they have about this norm all together."""
    rows, columns, size = draw.sizes(3)
    found = {"matrix": draw.normal(rows, columns), "bias": draw.normal(size), "gain": draw.normal(1)}
    whole = torch.cat([one.flatten() for one in found.values()]).norm()
    return {name: (scale * norm / whole * one).half() for name, one in found.items()}


def _by_pytorch(gradients: dict[str, Tensor], scale: float, max_norm: float) -> tuple[dict[str, Tensor], bool]:
    """What GradScaler.unscale_ and clip_grad_norm_ make of them, and whether the scaler would take the step."""
    parameters = {name: nn.Parameter(torch.zeros(one.shape)) for name, one in gradients.items()}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].float()
    optimizer = torch.optim.SGD(parameters.values(), lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(torch.ones(1))
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(parameters.values(), max_norm)
    found = {name: parameter.grad.clone() for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.grad = torch.where(parameter.grad.isnan(), parameter.grad, torch.ones(()))
    scaler.step(optimizer)
    return found, bool((next(iter(parameters.values())) != 0).all())


def _named(results, what: str, like: dict[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """A student's two results: tensors by name, and whether all gradients were finite."""
    got, finite = are_results(results, 2, f"{what}, finite")
    if isinstance(finite, Tensor) and finite.numel() == 1:
        finite = finite.item()
    if not isinstance(finite, bool):
        raise NotYet(
            "`finite` is not true or false.",
            {"expected": "a boolean", "got": describe(finite)},
            "The second result says whether every gradient is finite.",
        )
    shapes = {name: one.shape for name, one in like.items()}
    return are_named(
        got,
        shapes,
        problem=f"The result does not have the names of the {what}.",
        hint=f"Return a dictionary: for each name, the new one of the {what}.",
        shape_hint="A step keeps the shape.",
    ), finite


def _in_fp32(got: dict[str, Tensor], hint: str) -> None:
    for name, one in got.items():
        if one.dtype != torch.float32:
            raise NotYet(f"`{name}` is not in fp32.", {"expected": "float32", "got": describe(one)}, hint)


def _unscaled(answer, gradients: dict[str, Tensor], scale: float, max_norm: float) -> tuple[dict[str, Tensor], bool]:
    return _named(answer(gradients, scale, max_norm), "gradients", gradients)


def _flat(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[name].double().flatten() for name in sorted(gradients)])


def unscale_types(answer, draw):
    """Gradients in fp32, and a boolean."""
    got, _ = _unscaled(answer, _scaled(draw, 1.0, 64.0), 64.0, 1.0)
    _in_fp32(got, "The scaled gradients need 16 bits. Divided by the scale, they need the range of fp32.")


def unscale_short(answer, draw):
    """Short gradients are divided by the scale, in fp32."""
    scale, norm = 2.0 ** draw.number(16, 20), 1e-3 / draw.number(2, 9)
    gradients = _scaled(draw, norm, scale)
    expected, _ = _by_pytorch(gradients, scale, 2 * norm)
    got, finite = _unscaled(answer, gradients, scale, 2 * norm)
    unit = norm / 10  # so that tiny numbers can be read, and compared
    is_equal(
        _flat(got) / unit,
        _flat(expected) / unit,
        tolerance=1e-5,
        problem=f"These are not the gradients divided by the scale (shown in multiples of {unit:.2g}).",
        hint="Short gradients are divided by the scale, and nothing else. Convert them to fp32 first.",
        slips={
            "They were divided in fp16, where such small numbers are coarse or 0. Convert them to fp32 first.": _flat(
                {name: (one / scale).float() for name, one in gradients.items()}
            )
            / unit,
            "They are still scaled.": _flat(gradients) / unit,
            "They were clipped before they were unscaled: the norm that counts is that of the unscaled ones.": _flat(
                _by_pytorch(gradients, 1.0, 2 * norm)[0]
            )
            / scale
            / unit,
        },
    )
    _says(finite, True, "All gradients are finite.", "Ask `isfinite()` for each tensor, and all of them.")


def _says(finite: bool, expected: bool, what: str, hint: str) -> None:
    if finite != expected:
        raise NotYet(f"{what} The second result is wrong.", {"expected": str(expected), "got": str(finite)}, hint)


def unscale_long(answer, draw):
    """Long gradients are shortened to the length allowed, all by one factor."""
    scale, max_norm = 2.0 ** draw.number(4, 12), 0.5 * draw.number(1, 4)
    gradients = _scaled(draw, max_norm * draw.number(3, 7), scale)
    got, finite = _unscaled(answer, gradients, scale, max_norm)
    expected = _flat(_by_pytorch(gradients, scale, max_norm)[0])
    alone = _flat({
        name: _by_pytorch({name: one}, scale, max_norm)[0][name] for name, one in gradients.items()
    })
    worst = is_equal(
        _flat(got),
        expected,
        problem="Long gradients are not clipped as PyTorch clips them.",
        hint="Unscale all tensors first. Then one norm over all entries of all tensors, and one factor.",
        slips={
            "They are not clipped.": _flat(gradients) / scale,
            "They were clipped first, and divided by the scale afterwards.": expected / scale,
            "Each tensor was clipped by a norm of its own.": alone,
        },
    )
    _says(finite, True, "All gradients are finite.", "Long is not infinite.")
    return f"Largest difference to GradScaler.unscale_ and clip_grad_norm_: {worst:.1e}."


def unscale_overflow(answer, draw):
    """One infinite or NaN entry is enough to say no."""
    for name in ("matrix", "bias", "gain"):
        for value in (math.inf, -math.inf, math.nan):
            gradients = _scaled(draw, 1.0, 64.0)
            gradients[name].view(-1)[draw.number(0, gradients[name].numel() - 1)] = value
            _says(
                _unscaled(answer, gradients, 64.0, 1.0)[1],
                _by_pytorch(gradients, 64.0, 1.0)[1],
                f"`{name}` holds {value}.",
                "One entry that is infinite or NaN, in any tensor, is enough: this step must be skipped.",
            )


# Exercise 6: a whole step


def _problem(draw) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Two layers with their weights, inputs (N, D) and targets (N,)."""
    d_in, d_hidden, n_classes = draw.sizes(3, of=(5, 7, 9, 11))
    n = draw.number(6, 9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.number(0, 2**31))
        model = nn.Sequential(nn.Linear(d_in, d_hidden), nn.GELU(), nn.Linear(d_hidden, n_classes))
    targets = torch.randint(n_classes, (n,), generator=draw.generator)
    return model, draw.normal(n, d_in), targets


def _weights(model: nn.Sequential) -> dict[str, Tensor]:
    names = {"0": "inner", "2": "outer"}
    return {
        f"{names[name[0]]}{name[1:].replace('.', '_')}": one.detach().clone() for name, one in model.named_parameters()
    }


def _pytorchs_step(model, x, targets, count: int, scale: float, rate: float, precision=torch.float16) -> bool:
    """One step of the model by torch.autocast, torch.amp.GradScaler and SGD; whether it was taken."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    before = [one.detach().clone() for one in model.parameters()]
    with torch.autocast("cpu", dtype=precision, enabled=precision != torch.float32):
        logits = model(x)
    loss = F.cross_entropy(logits.float(), targets, reduction="sum") / count
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    return not all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def _stepped(answer, model, x, targets, count, scale, rate) -> tuple[dict[str, Tensor], bool]:
    weights = _weights(model)
    got, finite = _named(answer(weights, x, targets, count, scale, rate), "weights", weights)
    _in_fp32(got, "The master weights stay in fp32. What the products read is a copy, made anew in each step.")
    return got, finite


def step_types(answer, draw):
    """Weights in fp32, and a boolean."""
    model, x, targets = _problem(draw)
    _stepped(answer, model, x, targets, len(x), 64.0, 0.1)


def step_equal(answer, draw):
    """The update equals that of autocast, GradScaler and SGD, for a step of many tokens."""
    model, x, targets = _problem(draw)
    count, scale = 2 ** draw.number(17, 19), 2.0 ** draw.number(12, 15)
    rate = float(count)  # the loss is divided by it, so that an update is about as large as a weight
    others = {}
    for why, options in {
        "Nothing was computed in fp16: this is the step of fp32.": {"precision": torch.float32},
        "The loss was not scaled: most gradients fall below what fp16 can hold.": {"scale": 1.0},
        "The gradients are still scaled: divide them by the scale.": {"rate": rate * scale},
    }.items():
        other = copy.deepcopy(model)
        _pytorchs_step(other, x, targets, count, **{"scale": scale, "rate": rate, **options})
        others[why] = _flat(_weights(other))
    old = _flat(_weights(model))
    got, finite = _stepped(answer, model, x, targets, count, scale, rate)
    _pytorchs_step(model, x, targets, count, scale, rate)
    expected = _flat(_weights(model))
    worst = is_equal(
        _flat(got),
        expected,
        tolerance=1e-4,
        problem="The new weights are not those of autocast, GradScaler and SGD.",
        hint="Products in fp16, the loss in fp32 and divided by count, then times the scale; the gradients in fp32, "
        "divided by the scale; weights minus rate times gradient.",
        slips={"The weights have not changed.": old, "The step goes uphill.": 2 * old - expected, **others},
    )
    _says(finite, True, "All gradients are finite.", "Return True for a step that was taken.")
    return f"Largest difference to PyTorch's: {worst:.1e}."


def step_overflow(answer, draw):
    """A scale that is too large leaves the weights as they were."""
    model, x, targets = _problem(draw)
    before, scale = _flat(_weights(model)), 2.0 ** draw.number(30, 40)
    taken = _pytorchs_step(copy.deepcopy(model), x, targets, len(x), scale, 0.1)
    got, finite = _stepped(answer, model, x, targets, len(x), scale, 0.1)
    is_equal(
        _flat(got),
        before,
        tolerance=0,
        problem="The gradients have overflowed, and yet the weights have changed.",
        hint="If any gradient is infinite or NaN, return the weights as they were.",
    )
    _says(finite, taken, "The gradients have overflowed.", "The second result says whether the step was taken.")
