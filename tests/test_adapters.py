"""LoRA: the closed form, what is trained, merging, and adapters that come back or are refused."""

import json

import pytest
import torch
from torch import nn

from utils.models import adapters
from utils.models.adapters import AdapterError, LoRAConfig, LoRALinear
from utils.models.config import TransformerConfig
from utils.models.heads import SequenceClassifier
from utils.models.pretrained import WeightsError
from utils.models.transformer import BERT
from utils.training import objectives
from utils.training.loop import TrainConfig, Trainer

CONFIG = TransformerConfig(vocab_size=23, context_length=12, d_model=14, n_layers=2, n_heads=2, d_ff=18, n_segments=2)
LORA = LoRAConfig(rank=3, alpha=5)


def classifier(seed=0, n_classes=3):
    torch.manual_seed(seed)
    return SequenceClassifier(BERT(CONFIG), n_classes).eval()


def adapted(seed=0):
    """A classifier with an adapter that is no longer zero."""
    model = classifier(seed)
    adapters.add_lora(model, LORA)
    for layer in adapters.lora_layers(model).values():
        nn.init.normal_(layer.B)
    return model


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(7)
    mask = torch.ones(5, 9, dtype=torch.bool)
    mask[1, 4:] = False
    return {
        "input_ids": torch.randint(0, 23, (5, 9), generator=generator),
        "attention_mask": mask,
        "targets": torch.tensor([0, 1, 2, 1, 0]),
    }


def test_closed_form():
    torch.manual_seed(1)
    base = nn.Linear(7, 11).double()
    layer = LoRALinear(base, LORA).double()
    nn.init.normal_(layer.B)
    x = torch.randn(2, 5, 7, dtype=torch.float64)
    expected = x @ (base.weight + layer.B @ layer.A * 5 / 3).T + base.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-12, rtol=0)


def test_starts_as_the_base_exactly(batch):
    model = classifier()
    before = model(batch["input_ids"], batch["attention_mask"])
    names = adapters.add_lora(model, LORA)
    assert names == [f"transformer.blocks.{i}.attention.{part}" for i in (0, 1) for part in ("query", "value")]
    assert torch.equal(model(batch["input_ids"], batch["attention_mask"]), before)


def test_merged_equals_unmerged_and_comes_back_to_the_bit(batch):
    model = adapted()
    inputs = batch["input_ids"], batch["attention_mask"]
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = model(*inputs)
    adapters.merge(model)
    adapters.merge(model)
    torch.testing.assert_close(model(*inputs), before, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    adapters.unmerge(model)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(*inputs), before)


def test_only_adapters_and_head_get_gradients_and_move(batch):
    model = classifier()
    adapters.add_lora(model, LORA)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, objectives.classification, TrainConfig(max_steps=3, learning_rate=1e-2))
    assert len(list(trainer.fit([batch] * 3))) == 3
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    expected = {name for name in before if name.endswith((".A", ".B")) or name.startswith("head.")}
    assert moved == expected == set(adapters.adapter_weights(model))
    objectives.classification(model, batch)[0].backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == expected


def test_gradients_of_a_and_b_equal_the_closed_form():
    torch.manual_seed(2)
    layer = LoRALinear(nn.Linear(7, 11), LORA).double()
    nn.init.normal_(layer.B)
    x, direction = torch.randn(6, 7, dtype=torch.float64), torch.randn(6, 11, dtype=torch.float64)
    (layer(x) * direction).sum().backward()
    full = direction.T @ x * (5 / 3)  # the gradient of the change as a full matrix
    torch.testing.assert_close(layer.A.grad, layer.B.T @ full, atol=1e-12, rtol=0)
    torch.testing.assert_close(layer.B.grad, full @ layer.A.T, atol=1e-12, rtol=0)


def test_counts_parameters():
    model = classifier()
    adapters.add_lora(model, LORA)
    trained, total = adapters.count_parameters(model)
    assert trained == 2 * 2 * 3 * (14 + 14) + 3 * 14 + 3
    assert total == trained + sum(p.numel() for p in BERT(CONFIG).transformer.parameters())


def test_save_and_load(tmp_path, batch):
    model = adapted()
    nn.init.normal_(model.head.weight)
    adapters.save_adapter(tmp_path / "a", model, LORA, "tiny", {"note": "a test"})
    assert json.loads((tmp_path / "a" / "card.json").read_text()) == {"note": "a test"}
    fresh = classifier()
    assert adapters.load_adapter(tmp_path / "a", fresh) == LORA
    inputs = batch["input_ids"], batch["attention_mask"]
    assert torch.equal(fresh.eval()(*inputs), model(*inputs))
    assert adapters.count_parameters(fresh) == adapters.count_parameters(model)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: classifier(seed=1), "the base's weights are others"),
        (lambda: classifier(n_classes=2), r"head.weight: \(3, 14\) instead of \(2, 14\)"),
        (
            lambda: SequenceClassifier(
                BERT(TransformerConfig(vocab_size=23, d_model=16, n_layers=2, n_heads=2)), n_classes=3
            ),
            r"instead of",
        ),
        (
            lambda: SequenceClassifier(
                BERT(TransformerConfig(vocab_size=23, d_model=14, n_layers=1, n_heads=2)), n_classes=3
            ),
            "no such layer",
        ),
    ],
)
def test_refuses_another_base_and_leaves_it_alone(tmp_path, other, message):
    adapters.save_adapter(tmp_path, adapted(), LORA, "tiny", {})
    model = other()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(AdapterError, match=message):
        adapters.load_adapter(tmp_path, model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_refuses_damaged_files(tmp_path):
    adapters.save_adapter(tmp_path, adapted(), LORA, "tiny", {})
    (tmp_path / "adapter.json").write_text('{"rank": 3')
    with pytest.raises(AdapterError, match="save it again"):
        adapters.load_adapter(tmp_path, classifier())
    data = (tmp_path / "adapter.safetensors").read_bytes()
    (tmp_path / "adapter.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="adapter.safetensors"):
        adapters.load_adapter(tmp_path, classifier())
    with pytest.raises(WeightsError):
        adapters.load_adapter(tmp_path / "nowhere", classifier())


def test_refuses_to_save_merged_or_missing_adapters(tmp_path):
    model = adapted()
    adapters.merge(model)
    with pytest.raises(ValueError, match="unmerge first"):
        adapters.save_adapter(tmp_path / "a", model, LORA, "tiny", {})
    with pytest.raises(ValueError, match="add_lora"):
        adapters.save_adapter(tmp_path / "a", classifier(), LORA, "tiny", {})
    assert not (tmp_path / "a").exists()


def test_refuses_patterns_that_match_nothing_and_a_second_adapter():
    model = classifier()
    with pytest.raises(ValueError, match="end in .*'query'"):
        adapters.add_lora(model, LoRAConfig(targets=("*.q_proj",)))
    assert all(p.requires_grad for p in model.parameters())
    adapters.add_lora(model, LORA)
    with pytest.raises(ValueError, match="without adapters"):
        adapters.add_lora(model, LORA)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"rank": 0}, "rank=0"),
        ({"alpha": -1.0, "dropout": 1.0}, "alpha=-1.0.*dropout=1.0"),
        ({"targets": ()}, "targets"),
    ],
)
def test_config_names_every_problem(fields, named):
    with pytest.raises(ValueError, match=named):
        LoRAConfig(**fields)
