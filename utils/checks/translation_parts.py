"""Properties for lab 17: the parts of a neural translator, beside PyTorch's and plain loops."""

import math

import torch
import torch.nn.functional as F

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_equal, is_tensor

IGNORE = -100

# Exercise 2: teacher forcing


def _targets(draw) -> list[list[int]]:
    lengths = [draw.number(3, 6), draw.number(1, 2), draw.number(0, 4)]
    return [[draw.number(5, 30) for _ in range(length)] for length in lengths]


def _shifted(answer, targets) -> tuple[torch.Tensor, torch.Tensor]:
    begin, end, pad = 1, 2, 0
    inputs, wanted = are_results(answer(targets, begin, end, pad), 2, "decoder_ids, targets")
    shape = len(targets), 1 + max(map(len, targets))
    hint = "The longest target and one more: its beginning in the one, its end in the other."
    found = [is_tensor(one, shape, name=name, letters="(B, T)", hint=hint)
             for one, name in ((inputs, "`decoder_ids`"), (wanted, "`targets`"))]  # fmt: skip
    for one in found:
        if one.is_floating_point() or one.dtype == torch.bool:
            raise NotYet("These are no ids.", {"expected": "whole numbers", "got": describe(one)}, "`torch.tensor`.")
    return found[0], found[1]


def shift_shapes(answer, draw):
    """Two rectangles."""
    _shifted(answer, _targets(draw))


def _rectangle(rows: list[list[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def shift_inputs(answer, draw):
    """What the decoder reads."""
    targets = _targets(draw)
    right = _rectangle([[1, *target] for target in targets], 0)
    is_equal(_shifted(answer, targets)[0], right, tolerance=0,
             problem="`decoder_ids` is not what the decoder reads.",
             hint="The beginning, then the target; padded behind with `pad`.",
             slips={"The two are exchanged: the decoder reads the beginning first, and never the end.":
                        _rectangle([[*target, 2] for target in targets], IGNORE),
                    "Without the shift, the decoder would read the token it is to write.":
                        _rectangle([[*target, 2] for target in targets], 0),
                    "Pad the inputs with `pad`: no embedding has the number -100.":
                        _rectangle([[1, *target] for target in targets], IGNORE)})


def shift_targets(answer, draw):
    """What it is to write."""
    targets = _targets(draw)
    is_equal(_shifted(answer, targets)[1], _rectangle([[*target, 2] for target in targets], IGNORE), tolerance=0,
             problem="`targets` is not what the decoder is to write.",
             hint="The target, then its end; padded behind with -100, which the loss passes over.",
             slips={"Padding would be learned like any token: fill with -100.":
                        _rectangle([[*target, 2] for target in targets], 0),
                    "The end is missing: the model would never learn to stop.":
                        _rectangle([[*target, IGNORE] for target in targets], IGNORE),
                    "These are the inputs: at each position the target is the next token.":
                        _rectangle([[1, *target] for target in targets], IGNORE)})


# Exercise 3: attention over a padded source


def _attention_inputs(draw, padded: bool):
    B, H, T, S, D = draw.sizes(5)
    q, k, v = (draw.normal(B, H, n, D) for n in (T, S, S))
    lengths = torch.tensor([draw.number(1, S) if padded else S for _ in range(B)])
    if padded:
        lengths[0] = S - 1
    return q, k, v, torch.arange(S) < lengths[:, None]


def _attended(answer, given):
    B, H, T, D = given[0].shape
    return is_tensor(answer(*given), (B, H, T, D), letters="(B, H, T, Dh)", hint="A mixture of values for each query.")


def attention_shape(answer, draw):
    """The right shape."""
    _attended(answer, _attention_inputs(draw, False))


def attention_plain(answer, draw):
    """PyTorch's, without padding."""
    q, k, v, mask = given = _attention_inputs(draw, False)
    scores = q @ k.mT
    is_equal(_attended(answer, given), F.scaled_dot_product_attention(q, k, v), tolerance=1e-5,
             problem="This is not scaled dot-product attention.",
             hint="Softmax over the source of q·k / √Dh, times the values.",
             slips={"The square root of Dh is missing.": scores.softmax(-1) @ v,
                    "The softmax runs over the queries; it must run over the source, the last axis.":
                        (scores / math.sqrt(q.shape[-1])).softmax(-2) @ v})


def attention_padded(answer, draw):
    """PyTorch's, with padding."""
    q, k, v, mask = given = _attention_inputs(draw, True)
    wide = mask[:, None, None]
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    is_equal(_attended(answer, given), F.scaled_dot_product_attention(q, k, v, attn_mask=wide), tolerance=1e-5,
             problem="Padding has an influence.",
             hint="Where the mask is False, the score must be -infinity before the softmax.",
             slips={"The mask was not used.": scores.softmax(-1) @ v,
                    "True marks real tokens: hide where it is False.":
                        scores.masked_fill(wide, -math.inf).softmax(-1).nan_to_num() @ v,
                    "Weights were set to zero after the softmax; those that stay no longer sum to 1.":
                        (scores.softmax(-1) * wide) @ v,
                    "A score of 0 is not hidden: e to the power 0 is 1.": (scores * wide).softmax(-1) @ v})


# Exercise 4: label smoothing


def _loss_inputs(draw, ignored: bool):
    N, V = draw.number(5, 9), draw.number(11, 17)
    targets = torch.tensor([draw.number(0, V - 1) for _ in range(N)])
    if ignored:
        targets[draw.number(0, N - 1)] = IGNORE
        targets[draw.number(0, N - 1)] = IGNORE
    return 2 * draw.normal(N, V, dtype=torch.float64), targets, 0.05 * draw.number(1, 6)


def _loss(got):
    return is_tensor(got, (), name="the loss", hint="One number: the mean over the targets that count.")


def loss_shape(answer, draw):
    """One number."""
    _loss(answer(*_loss_inputs(draw, False)))


def loss_plain(answer, draw):
    """Without smoothing."""
    logits, targets, _ = _loss_inputs(draw, False)
    right = F.cross_entropy(logits, targets)
    is_equal(_loss(answer(logits, targets, 0.0)), right, tolerance=1e-9,
             problem="With smoothing 0, this is not the cross-entropy.",
             hint="Minus the log-probability of the right token, averaged.",
             slips={"The losses were added up: take their mean.": right * len(targets), "The sign is wrong.": -right,
                    "These are logits, not log-probabilities: `log_softmax` first.":
                        -logits.gather(1, targets[:, None]).mean()})


def loss_smoothed(answer, draw):
    """With smoothing."""
    logits, targets, a = _loss_inputs(draw, False)
    logs = logits.log_softmax(-1)
    right, others = F.cross_entropy(logits, targets), -logs.mean(-1).mean()
    rest = (-logs.sum(-1) + logs.gather(1, targets[:, None])[:, 0]).mean() / (logits.shape[1] - 1)
    is_equal(_loss(answer(logits, targets, a)), F.cross_entropy(logits, targets, label_smoothing=a), tolerance=1e-9,
             problem="With smoothing, this is not PyTorch's loss.",
             hint="(1 - a) of the right token's loss, and a of the mean loss of all tokens.",
             slips={"a is spread over all V tokens, the right one included (Szegedy et al. 2016).":
                        (1 - a) * right + a * rest,
                    "The shares are exchanged: a belongs to all tokens alike.": a * right + (1 - a) * others,
                    "Divide by V: all tokens together get a.": (1 - a) * right + a * others * logits.shape[1],
                    "The right token keeps 1 - a only.": right + a * others, "Smoothing was not used.": right})


def loss_ignored(answer, draw):
    """Targets of -100."""
    logits, targets, a = _loss_inputs(draw, True)
    right = F.cross_entropy(logits, targets, label_smoothing=a)
    counted = targets != IGNORE
    is_equal(_loss(answer(logits, targets, a)), right, tolerance=1e-9,
             problem="Targets of -100 have an influence.",
             hint="Select rows first: `kept = targets != -100`.",
             slips={"They add nothing, but are counted: divide by the number of targets that are not -100.":
                        right * counted.double().mean(),
                    "-100 was read as a token of the vocabulary: leave these rows out.": F.cross_entropy(
                        logits, targets.clamp(min=0), label_smoothing=a)})  # fmt: skip


# Exercise 5: the pointer


def _mixture_inputs(draw, repeated: bool):
    B, T, S = draw.sizes(3, of=(2, 3, 5))
    V = draw.number(11, 17)
    ids = torch.stack([torch.randperm(V, generator=draw.generator)[:S] for _ in range(B)])
    if repeated:
        ids[:, -1] = ids[:, 0]
    written = draw.normal(B, T, V, dtype=torch.float64).softmax(-1)
    weights = draw.normal(B, T, S, dtype=torch.float64).softmax(-1)
    return written, weights, ids, draw.normal(B, T, 1, dtype=torch.float64).sigmoid()


def _copied(weights, ids, V: int, add: bool = True):
    """The pointer's weights as a distribution over the vocabulary, by loops."""
    found = torch.zeros(*weights.shape[:2], V, dtype=weights.dtype)
    for b in range(len(ids)):
        for s, token in enumerate(ids[b].tolist()):
            found[b, :, token] = weights[b, :, s] + (found[b, :, token] if add else 0)
    return found


def _mixed(answer, given):
    return is_tensor(answer(*given), tuple(given[0].shape), letters="(B, T, V)", hint="As many as the vocabulary has.")


def mixture_shape(answer, draw):
    """The right shape."""
    _mixed(answer, _mixture_inputs(draw, False))


def mixture_plain(answer, draw):
    """All source tokens differ."""
    written, weights, ids, gate = given = _mixture_inputs(draw, False)
    copied = _copied(weights, ids, written.shape[-1])
    is_equal(_mixed(answer, given), (1 - gate) * written + gate * copied, tolerance=1e-9,
             problem="This is not the mixture.",
             hint="(1 - gate) of the vocabulary's probabilities; then add gate times each weight at its token's place.",
             slips={"The shares are exchanged: the gate is the share that is copied.":
                        gate * written + (1 - gate) * copied,
                    "The vocabulary's share is 1 - gate.": written + gate * copied,
                    "The pointer's weights are multiplied by the gate.": (1 - gate) * written + copied,
                    "Copying is missing.": (1 - gate) * written})


def mixture_repeated(answer, draw):
    """A token stands twice."""
    written, weights, ids, gate = given = _mixture_inputs(draw, True)
    V = written.shape[-1]
    got = _mixed(answer, given)
    worst = is_equal(got, (1 - gate) * written + gate * _copied(weights, ids, V), tolerance=1e-9,
                     problem="A token that stands twice in the source is not right.",
                     hint="`scatter_add` adds; an assignment by index keeps one of the two.",
                     slips={"Only the last of its places counted: add the weights up.":
                                (1 - gate) * written + gate * _copied(weights, ids, V, add=False)})
    return f"Largest difference {worst:.0e}; each row sums to 1 within {(got.sum(-1) - 1).abs().max():.0e}."
