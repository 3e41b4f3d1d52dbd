"""Quantization: codes equal PyTorch's operators', error bounds, packing, layers, gradients, torchao, refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchao import quantization as ao

from utils.models import adapters, quantization
from utils.models.config import TransformerConfig
from utils.models.heads import SequenceClassifier
from utils.models.quantization import QuantizationConfig, QuantizedEmbedding, QuantizedLinear, quantize, quantize_model
from utils.models.transformer import BERT

CONFIG = TransformerConfig(vocab_size=23, context_length=12, d_model=16, n_layers=2, n_heads=2, d_ff=24, n_segments=2)
EVERY = [(bits, scales, symmetric) for bits in (4, 8) for scales in ("tensor", "row", 5) for symmetric in (True, False)]


def classifier():
    torch.manual_seed(0)
    return SequenceClassifier(BERT(CONFIG)).eval()


def matrix(rows=7, columns=15, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("bits", "scales", "symmetric"), EVERY)
def test_no_number_moves_by_more_than_half_a_scale(bits, scales, symmetric):
    for x in (matrix(), 3 + matrix(seed=1).abs(), -matrix(seed=2).abs(), 1e-6 * matrix(), torch.zeros(3, 5)):
        found = quantize(x, bits, scales, symmetric)
        groups = quantization.grouped(x - quantization.dequantize(found), scales)
        assert (groups.abs() <= found.scale[..., None] / 2 * (1 + 1e-4) + 1e-12).all()
        assert int(found.codes.amin()) >= -(2 ** (bits - 1)) and int(found.codes.amax()) < 2 ** (bits - 1)


@pytest.mark.parametrize("bits", [4, 8])
def test_equals_pytorchs_own_operators(bits):
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    x = matrix(9, 31)
    found = quantize(x, bits)
    theirs = torch.fake_quantize_per_channel_affine(
        x, found.scale[:, 0], torch.zeros(9, dtype=torch.int32), 0, lowest, highest
    )
    torch.testing.assert_close(quantization.dequantize(found), theirs, rtol=0, atol=1e-6)
    x = F.relu(x) + 0.1
    found = quantize(x, bits, "tensor", symmetric=False)
    theirs = torch.fake_quantize_per_tensor_affine(x, found.scale.item(), int(found.zero_point), lowest, highest)
    torch.testing.assert_close(quantization.dequantize(found), theirs, rtol=0, atol=1e-6)


def test_zero_survives_zero_points_and_ends_are_used():
    x = F.relu(matrix(1, 4000))
    found = quantize(x, symmetric=False)
    assert (quantization.dequantize(found)[x == 0] == 0).all()
    assert found.codes.min() == -128 and found.codes.max() == 127
    assert quantize(x).codes.min() == 0


def test_simulated_rounding_equals_stored_rounding():
    x = matrix(4, 20)
    for bits, scales in ((8, "row"), (4, 10), (4, "tensor")):
        stored = quantization.dequantize(quantize(x, bits, scales))
        torch.testing.assert_close(quantization.round_to_levels(x, bits, scales), stored, rtol=0, atol=1e-7)
    assert len(quantization.round_to_levels(x, 2).unique()) <= 3 * 4
    for wrong in (1, 9, 3.5, True):
        with pytest.raises(ValueError, match="bits: expected a whole number from 2 to 8"):
            quantization.round_to_levels(x, wrong)


def test_four_bit_codes_lie_two_to_a_byte():
    codes = torch.randint(-8, 8, (5, 14), generator=torch.Generator().manual_seed(0), dtype=torch.int8)
    packed = quantization.pack(codes)
    assert packed.nbytes == 35 and packed.dtype == torch.uint8
    assert torch.equal(quantization.unpack(packed), codes)
    assert int(packed[0, 0]) == int(codes[0, 0]) + 8 + 16 * (int(codes[0, 1]) + 8)
    with pytest.raises(ValueError, match="even number of columns and codes from -8 to 7"):
        quantization.pack(codes[:, :3])
    with pytest.raises(ValueError, match="codes from -8 to 7"):
        quantization.pack(codes + 8)


@pytest.mark.parametrize(("bits", "scales", "symmetric"), [(8, "row", True), (8, "tensor", False), (4, 4, True)])
def test_a_quantized_layer_equals_a_layer_of_its_weights(bits, scales, symmetric):
    layer = nn.Linear(12, 7)
    mine = QuantizedLinear(layer, QuantizationConfig(bits, scales, symmetric))
    weight = quantization.dequantize(quantize(layer.weight, bits, scales, symmetric))
    x, same = matrix(5, 12).requires_grad_(), matrix(5, 12).requires_grad_()
    expected = F.linear(same, weight, layer.bias)
    torch.testing.assert_close(mine(x), expected, rtol=0, atol=1e-6)
    (mine(x) ** 2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(x.grad, same.grad, rtol=1e-5, atol=1e-5)
    table = nn.Embedding(9, 12)
    rows = QuantizedEmbedding(table, QuantizationConfig(bits, scales, symmetric))
    weight = quantization.dequantize(quantize(table.weight, bits, scales, symmetric))
    ids = torch.tensor([[3, 3, 0], [8, 1, 2]])
    torch.testing.assert_close(rows(ids), weight[ids], rtol=0, atol=1e-7)


def test_backward_keeps_no_dequantized_weights():
    layer = QuantizedLinear(nn.Linear(64, 64), QuantizationConfig(bits=4, scales=16))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(matrix(2, 64).requires_grad_()).sum()
    assert not [n for n in kept if n >= 64 * 64]


def test_whole_number_products_equal_sums_of_codes():
    layer = nn.Linear(33, 10)
    mine, x = QuantizedLinear(layer, QuantizationConfig(activations=8)), matrix(6, 33).view(2, 3, 33)
    c_x, s, _ = quantize(x.flatten(0, 1))
    c_w, t, _ = quantize(layer.weight)
    expected = (c_x.double() @ c_w.double().T) * s * t.T + layer.bias
    torch.testing.assert_close(mine(x).flatten(0, 1).double(), expected.detach(), rtol=0, atol=1e-5)


def test_a_quantized_model_answers_nearly_alike_and_is_smaller():
    model = classifier()
    ids = torch.randint(23, (3, 9), generator=torch.Generator().manual_seed(0))
    expected = model(ids)
    for config, atol in (
        (QuantizationConfig(), 1e-2),
        (QuantizationConfig(activations=8), 2e-2),
        (QuantizationConfig(bits=4, scales=8), 1e-1),
    ):
        small = copy.deepcopy(model)
        names = quantize_model(small, config)
        assert "transformer.token_embedding" in names and "head" not in names and len(names) == 13
        torch.testing.assert_close(small(ids), expected, rtol=0, atol=atol)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            torch.testing.assert_close(small(ids).float(), expected, rtol=0, atol=2 * atol)
        with pytest.raises(ValueError, match="is it quantized already"):
            quantize_model(small, QuantizationConfig(embeddings=False, skip=("head",)))
    kept = copy.deepcopy(model)
    assert "transformer.token_embedding" not in quantize_model(kept, QuantizationConfig(embeddings=False))


def test_adapters_train_beside_quantized_weights_and_come_back(tmp_path):
    model = classifier()
    quantize_model(model, QuantizationConfig(bits=4, scales=8))
    base = copy.deepcopy(model)
    config = adapters.LoRAConfig(rank=2)
    adapters.add_lora(model, config)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert {name.rpartition(".")[2] for name in trained} == {"A", "B", "weight", "bias"}
    assert all(name.endswith((".A", ".B")) or name.startswith("head.") for name in trained)
    for layer in adapters.lora_layers(model).values():
        nn.init.normal_(layer.B)
    ids = torch.arange(8)[None]
    model(ids).sum().backward()
    assert all(layer.A.grad.abs().sum() > 0 for layer in adapters.lora_layers(model).values())
    adapters.save_adapter(tmp_path, model, config, "tiny", {})
    again = copy.deepcopy(base)
    adapters.load_adapter(tmp_path, again)
    assert torch.equal(again(ids), model(ids))
    other = copy.deepcopy(base)
    other.transformer.blocks[0].attention.query.codes[0, 0] ^= 1
    with pytest.raises(adapters.AdapterError, match="the base's weights are others"):
        adapters.load_adapter(tmp_path, other)
    with pytest.raises(ValueError, match="merge: expected base weights in floating point"):
        adapters.merge(model)


def test_folding_leaves_plain_layers_with_the_change_in_them():
    model = classifier()
    adapters.add_lora(model, adapters.LoRAConfig(rank=2))
    for layer in adapters.lora_layers(model).values():
        nn.init.normal_(layer.B)
    ids = torch.arange(8)[None]
    before = model(ids)
    adapters.fold(model)
    torch.testing.assert_close(model(ids), before, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == set(classifier().state_dict())
    with pytest.raises(ValueError, match="call add_lora or load_adapter first"):
        adapters.fold(model)


def test_mistakes_are_named_and_harm_nothing():
    with pytest.raises(ValueError, match=r"bits: expected one of \(4, 8\).*got 3"):
        quantize(matrix(), bits=3)
    with pytest.raises(ValueError, match="a group size that divides the row's 15 numbers, got 4"):
        quantize(matrix(), bits=4, scales=4)
    with pytest.raises(ValueError, match="scales: expected 'tensor', 'row' or a group size"):
        quantize(matrix(), scales="column")
    with pytest.raises(ValueError, match="expected a matrix, got shape"):
        quantize(torch.zeros(3))
    with pytest.raises(ValueError) as error:
        QuantizationConfig(bits=3, scales=0, activations=4)
    assert all(part in str(error.value) for part in ("bits=3", "scales=0", "activations=4"))
    with pytest.raises(ValueError, match="only with bits=8, scales='row'"):
        QuantizationConfig(bits=4, activations=8)
    model = classifier()
    with pytest.raises(ValueError, match="divides the row's 16 numbers, got 12"):
        quantize_model(model, QuantizationConfig(bits=4, scales=12))
    assert not any(isinstance(module, quantization.QuantizedMatrix) for module in model.modules())


def test_torchao_gives_the_same_codes_from_its_scales():
    weight = matrix(24, 64)
    for config, lowest, highest, groups in (
        (ao.Int8WeightOnlyConfig(), -128, 127, 1),
        (ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(16)), -8, 7, 4),
    ):
        layer = nn.Sequential(nn.Linear(64, 24))
        layer[0].weight.data = weight.clone()
        ao.quantize_(layer, config)
        theirs = layer[0].weight
        scale = theirs.scale.view(24, groups).repeat_interleave(64 // groups, dim=1)
        codes = quantization.to_codes(weight, scale, 0, lowest, highest)
        assert torch.equal(codes.to(torch.int8), theirs.qdata)
