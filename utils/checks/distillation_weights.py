"""Properties for lab 15: pruned weights, and a student made of its teacher's layers, beside PyTorch's."""

import functools

import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_bool, is_equal, is_tensor
from utils.models.transformer import GPT, TransformerConfig

# Exercise 5: pruning


def _kept(answer, weight: Tensor, sparsity: float) -> Tensor:
    hint = "One truth value for each weight."
    return is_bool(is_tensor(answer(weight, sparsity), weight.shape, letters="(R, C)", name="the mask", hint=hint),
                   name="the mask")


def _library(weight: Tensor, sparsity: float) -> Tensor:
    """What torch.nn.utils.prune leaves of a weight, as a mask."""
    from torch.nn.utils import prune

    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight = torch.nn.Parameter(weight.clone())
    prune.l1_unstructured(layer, "weight", amount=round(sparsity * weight.numel()))
    return layer.weight_mask.bool()


def _to_prune(draw) -> tuple[Tensor, float]:
    """A weight (R, C), and a share to cut: the number to cut is never one half from whole."""
    rows, columns = draw.sizes(2, (5, 7, 9, 11))
    count = draw.number(rows * columns // 4, 3 * rows * columns // 4)
    return draw.normal(rows, columns) + 0.4, (count - 0.3) / (rows * columns)


def mask_shape(answer, draw):
    """A boolean mask."""
    _kept(answer, *_to_prune(draw))


def mask_library(answer, draw):
    """Equal to torch.nn.utils.prune."""
    weight, sparsity = _to_prune(draw)
    count, sizes = round(sparsity * weight.numel()), weight.abs().flatten()
    order = sizes.argsort()

    def without(places: Tensor) -> Tensor:
        return torch.ones_like(sizes, dtype=torch.bool).scatter(0, places, False).reshape(weight.shape)

    right = _library(weight, sparsity)
    row_order = weight.abs().argsort(dim=1)[:, : round(sparsity * weight.shape[1])]
    is_equal(_kept(answer, weight, sparsity), right, tolerance=0,
             problem=f"Not exactly the {count} smallest of {weight.numel()} weights are cut.",
             hint="Small means: close to 0, on either side. The mask is True where a weight stays.",
             slips={"The mask is True where a weight stays, not where it goes.": ~right,
                    "The most negative weights are gone. Compare sizes, without the sign.":
                        without(weight.flatten().argsort()[:count]),
                    "The largest ones are gone.": without(order[-count:]),
                    "One weight too few is gone: round, where you cut off.": without(order[: count - 1]),
                    "One weight too many is gone.": without(order[: count + 1]),
                    "The sparsity was taken for the share that stays.": without(order[: len(order) - count]),
                    "The same share of each row is gone: the smallest of the whole matrix should be.":
                        torch.ones_like(right).scatter(1, row_order, False)})


def mask_ties(answer, draw):
    """The exact number goes, also where many weights have the same size."""
    weight, sparsity = _to_prune(draw)
    weight = weight.sign().where(draw.normal(*weight.shape) > -0.5, torch.tensor(3.0))
    count = min(round(sparsity * weight.numel()), int((weight.abs() == 1).sum()) - 2)
    got = _kept(answer, weight, (count - 0.3) / weight.numel())
    gone = int((~got).sum())
    if gone != count:
        raise NotYet("With weights of equal size, the wrong number is cut.",
                     {"expected": f"{count} of {weight.numel()} cut", "got": f"{gone} cut"},
                     "A threshold cuts all weights of its size, or none. Sort, and take as many places as you need.")
    if not got[weight.abs() == 3].all():
        raise NotYet("A large weight was cut while smaller ones stayed.", {}, "Ties are for the smallest ones only.")


# Exercise 6: a student from its teacher's layers


@functools.cache
def _teacher(n_layers: int) -> tuple[GPT, list[torch.nn.Module]]:
    """The smallest GPT with so many layers, and its blocks; its numbers are filled in later."""
    with torch.random.fork_rng(devices=[]):
        model = GPT(TransformerConfig(vocab_size=7, context_length=5, d_model=2, n_layers=n_layers, n_heads=1))
    return model, list(model.transformer.blocks)


def _student(answer, draw, n_layers: int):
    """What the student's function chooses, what PyTorch's ModuleList makes of the even, first and odd layers."""
    teacher, blocks = _teacher(n_layers)
    teacher.transformer.blocks = torch.nn.ModuleList(blocks)
    weights = {name: draw.normal(*one.shape) for name, one in teacher.state_dict().items()}
    teacher.load_state_dict(weights)
    got = answer(weights, n_layers)
    if not isinstance(got, dict):
        raise NotYet("The result is not a dictionary.", {"expected": "tensors by name", "got": describe(got)},
                     "Return the student's tensors under their new names.")
    shallow = []
    for some in (blocks[::2], blocks[: n_layers // 2], blocks[1::2]):
        teacher.transformer.blocks = torch.nn.ModuleList(some)  # numbers them anew
        shallow.append({name: one.clone() for name, one in teacher.state_dict().items()})
    return got, *shallow


def layers_names(answer, draw):
    """Exactly a model's names with half the layers."""
    n_layers = 2 * draw.number(2, 3)
    got, right, _, _ = _student(answer, draw, n_layers)
    number = n_layers // 2
    hint = (f"Layers 0, 2, 4 … become 0, 1, 2 …: names run from `blocks.0` to `blocks.{number - 1}`. "
            "All that is in no block stays as it is.")
    missing, extra = sorted(set(right) - set(got)), sorted(map(str, set(got) - set(right)))
    if any(name.startswith(f"transformer.blocks.{layer}.") for layer in range(number, n_layers) for name in extra):
        hint = f"A student of {number} layers has no block with that number: number the layers anew."
    elif missing and not any(".blocks." in name for name in missing):
        hint = "Embeddings and the last norm belong to the student, too."
    if missing or extra:
        raise NotYet(f"From {n_layers} layers, these are not the names of a model with {number}.",
                     {"missing": ", ".join(missing[:3]) or "none", "too many": ", ".join(extra[:3]) or "none"}, hint)


def layers_library(answer, draw):
    """Every tensor is the right layer's, with more than twenty layers, too."""
    for n_layers in (2 * draw.number(2, 3), 22):
        got, right, first, odd = _student(answer, draw, n_layers)
        if set(got) != set(right):
            missing, extra = (sorted(map(str, one)) for one in (set(right) - set(got), set(got) - set(right)))
            raise NotYet(f"From {n_layers} layers, the names are not those of a model with {n_layers // 2}.",
                         {"missing": ", ".join(missing[:3]) or "none", "too many": ", ".join(extra[:3]) or "none"},
                         "`blocks.2` is the beginning of `blocks.21`, too: compare the number, not the first letters.")
        for name, one in right.items():
            is_equal(is_tensor(got[name], one.shape, name=f"`{name}`"), one, tolerance=0,
                     problem=f"`{name}` is not the tensor of the right layer.",
                     hint="The student's layer i is the teacher's layer 2 i.",
                     slips={} if ".blocks." not in name else {
                         "The first half of the layers was taken: take every other one.": first[name],
                         "Layers 1, 3, 5 … were taken: take 0, 2, 4 …": odd[name]})
