"""Pruning: masks equal PyTorch's, zeros that stay, heads scored by finite differences and really removed, refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from tests import tiny
from utils.models import pruning
from utils.models.heads import SequenceClassifier
from utils.training import objectives


def classifier():
    return SequenceClassifier(tiny.bert(), n_classes=3).eval()


def labelled(rows=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(tiny.VOCAB_SIZE, (rows, 7), generator=generator),
        "attention_mask": torch.ones(rows, 7, dtype=torch.bool),
        "targets": torch.randint(3, (rows,), generator=generator),
    }


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5, 0.9])
def test_masks_equal_pytorchs(sparsity):
    net = nn.Sequential(nn.Linear(11, 7), nn.Linear(7, 5))
    weights = {name: p.detach().clone() for name, p in net.named_parameters() if p.dim() == 2}
    whole = pruning.magnitude_masks(weights, sparsity)
    each = pruning.magnitude_masks(weights, sparsity, scope="layer")
    pairs = [(net[0], "weight"), (net[1], "weight")]
    prune.global_unstructured(pairs, prune.L1Unstructured, amount=round(sparsity * 112))
    for i in range(2):
        assert torch.equal(net[i].weight_mask.bool(), whole[f"{i}.weight"])
        alone = nn.Linear(net[i].in_features, net[i].out_features)
        alone.weight.data = weights[f"{i}.weight"]
        prune.l1_unstructured(alone, "weight", amount=round(sparsity * alone.weight.numel()))
        assert torch.equal(alone.weight_mask.bool(), each[f"{i}.weight"])


def test_exactly_so_many_go_even_with_ties_and_earlier_ones_stay_gone():
    weights = {"a": torch.ones(4, 5), "b": 2 * torch.ones(3, 5)}
    masks = pruning.magnitude_masks(weights, 0.4)
    assert int((~masks["a"]).sum()) == 14 and masks["b"].all()
    kept = {"a": torch.ones(4, 5, dtype=torch.bool), "b": torch.zeros(3, 5, dtype=torch.bool)}
    masks = pruning.magnitude_masks(weights, 0.6, kept=kept)
    assert not masks["b"].any() and int((~masks["a"]).sum()) == 6


def test_two_of_four_keeps_the_largest_of_each_four():
    weight = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    mask = pruning.n_of_m_mask(weight)
    for row, chosen in zip(weight.abs().tolist(), mask.tolist(), strict=True):
        for i in range(0, 12, 4):
            best = sorted(range(i, i + 4), key=lambda j, row=row: -row[j])[:2]
            assert [j for j in range(i, i + 4) if chosen[j]] == sorted(best)
    for n, m in ((4, 4), (0, 4), (2, 5)):
        with pytest.raises(ValueError, match="expected 1 <= n < m and an m that divides"):
            pruning.n_of_m_mask(weight, n, m)


def test_zeros_stay_zero_in_training():
    model = classifier()
    masks = pruning.magnitude_masks(pruning.prunable(model), 0.5)
    pruning.apply_masks(model, masks)
    hooks = pruning.hold_zeros(model, masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        objectives.classification(model, labelled())[0].backward()
        optimizer.step()
    weights = pruning.prunable(model)
    assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
    assert all(not torch.equal(weights[name], before[name]) for name in masks)
    assert abs(pruning.sparsity_of(weights.values()) - 0.5) < 1e-3
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("shape", [(3, 7), (1, 1), (4, 4, 3)])
def test_sparse_storage_comes_back_to_the_bit(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    bits, values = pruning.pack_sparse(weight)
    assert len(bits) == -(-weight.numel() // 8) and len(values) == int((weight != 0).sum())
    assert torch.equal(pruning.unpack_sparse(bits, values, shape), weight)


def scaled_loss(model, batch, layer, head, factor):
    twin = copy.deepcopy(model).double()
    attention = twin.transformer.blocks[layer].attention
    width = attention.head_dim
    with torch.no_grad():
        attention.output.weight[:, head * width : (head + 1) * width] *= factor
        return float(F.cross_entropy(twin(batch["input_ids"], batch["attention_mask"]), batch["targets"]))


def test_importance_is_the_slope_of_the_loss_and_leaves_the_model_alone():
    model, batch = classifier(), labelled()
    state = copy.deepcopy(model.state_dict())
    scores = pruning.head_importance(model, [batch], objectives.classification)
    assert scores.shape == (2, 3)
    for layer in range(2):
        for head in range(3):
            ends = [scaled_loss(model, batch, layer, head, 1 + h) for h in (-1e-3, 1e-3)]
            assert scores[layer, head] == pytest.approx(abs(ends[1] - ends[0]) / 2e-3, rel=1e-3, abs=1e-7)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert not any(block.attention.output._forward_pre_hooks for block in model.transformer.blocks)
    parts = [pruning.head_importance(model, [labelled(seed=s)], objectives.classification) for s in (1, 2)]
    both = pruning.head_importance(model, [labelled(seed=1), labelled(seed=2)], objectives.classification)
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2)
    with pytest.raises(ValueError, match="at least one batch"):
        pruning.head_importance(model, [], objectives.classification)


def test_removed_heads_answer_as_silenced_ones_and_take_less():
    model, batch = classifier(), labelled()
    silenced = copy.deepcopy(model)
    with torch.no_grad():
        silenced.transformer.blocks[0].attention.output.weight[:, 4:8] = 0
        silenced.transformer.blocks[1].attention.output.weight[:, :8] = 0
    size = sum(p.numel() for p in model.parameters())
    pruning.remove_heads(model, {0: [1], 1: [0, 1]})
    inputs = batch["input_ids"], batch["attention_mask"]
    torch.testing.assert_close(model(*inputs), silenced(*inputs), rtol=0, atol=1e-6)
    assert sum(p.numel() for p in model.parameters()) == size - 3 * (4 * 4 * 12 + 3 * 4)
    assert [block.attention.n_heads for block in model.transformer.blocks] == [2, 1]
    model(*inputs).sum().backward()


def test_the_least_important_heads_leave_one_a_layer():
    importance = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.01, 0.02]])
    assert pruning.least_important(importance, 0) == {}
    assert pruning.least_important(importance, 2) == {1: [1, 2]}
    assert pruning.least_important(importance, 4) == {0: [0, 1], 1: [1, 2]}
    for n in (-1, 5):
        with pytest.raises(ValueError, match="heads to remove: expected from 0 to 4"):
            pruning.least_important(importance, n)


def test_mistakes_are_named_and_harm_nothing():
    weights = {"a": torch.ones(2, 3)}
    for wrong in (1.0, 1.5, -0.1, "half", True):
        with pytest.raises(ValueError, match="sparsity: expected a share from 0 to below 1"):
            pruning.magnitude_masks(weights, wrong)
    with pytest.raises(ValueError, match="scope: expected one of"):
        pruning.magnitude_masks(weights, 0.5, scope="row")
    model = classifier()
    with pytest.raises(ValueError, match="prunable: expected a matrix"):
        pruning.prunable(model, ("*.kernel",))
    state = copy.deepcopy(model.state_dict())
    for heads in ({0: [0], 1: [0, 1, 2]}, {2: [0]}, {0: [3]}):
        with pytest.raises(ValueError, match="remove_heads: expected layers from 0 to 1"):
            pruning.remove_heads(model, heads)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(ValueError, match="heads: expected a model with attention layers"):
        pruning.remove_heads(nn.Linear(3, 3), {0: [0]})


@pytest.mark.parametrize("n", [1, 2, 17, 40, 41])
def test_the_kth_smallest_is_that_of_a_sorted_vector(n):
    scores = torch.randint(0, 9, (41,)).double()  # ties
    before = scores.clone()
    assert pruning.kth_smallest(scores, n) == scores.sort().values[n - 1] and torch.equal(scores, before)
