"""Compressed models on disk and in memory, the methods side by side, students, tickets, and the result file."""

import copy
import json

import pytest
import torch

from tests import tiny
from utils import launch
from utils.data import sources
from utils.experiments import compression, compression_runs, lottery, students
from utils.experiments.compression_live import BINS, LiveCompression
from utils.experiments.fine_tuning import Reviews
from utils.models import adapters, pruning
from utils.models.compression import held_bytes, load_compressed, save_compressed
from utils.models.config import TransformerConfig
from utils.models.heads import SequenceClassifier, encode_texts
from utils.models.pretrained import WeightsError
from utils.models.quantization import QuantizationConfig, quantize_model
from utils.models.transformer import BERT
from utils.training.distillation import n_parameters

TEXTS = ["a fine film", "dull", "it moved me to tears", "far too long and loud", "good", "bad, bad, bad"]


def classifier(seed=0):
    torch.manual_seed(seed)
    config = TransformerConfig(8192, context_length=16, d_model=64, n_layers=2, n_heads=4, n_segments=2)
    return SequenceClassifier(BERT(config)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return sources.load_tokenizer("reviews-bert")


@pytest.fixture(scope="module")
def reviews(tokenizer):
    return Reviews(TEXTS, encode_texts(tokenizer, TEXTS, 16), [1, 0, 1, 0, 1, 0])


def changed(kind):
    model = classifier()
    if kind == "pruned":
        compression.prune(model, 0.7)
    elif kind == "heads":
        pruning.remove_heads(model, {0: [1, 2]})
    elif kind != "plain":
        config = {"int8": QuantizationConfig(), "int4": QuantizationConfig(bits=4, scales=32)}[kind]
        quantize_model(model, config)
    return model.eval()


@pytest.mark.parametrize("kind", ["plain", "pruned", "heads", "int8", "int4"])
def test_a_file_holds_all_that_a_model_needs(kind, tmp_path):
    model = changed(kind)
    path = tmp_path / "new" / "model.safetensors"
    size = save_compressed(path, model)
    assert size == path.stat().st_size
    again = copy.deepcopy(model)
    for tensor in again.state_dict().values():
        tensor.zero_()
    load_compressed(path, again)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    if kind in ("plain", "heads", "int8", "int4"):
        assert abs(size - held_bytes(model)) < 0.03 * size + 8192
    else:
        assert size < held_bytes(model)
    assert save_compressed(path, changed("plain")) >= size


def test_another_build_or_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_compressed(path, changed("int8"))
    for other in (changed("plain"), changed("int4")):
        state = copy.deepcopy(other.state_dict())
        with pytest.raises(WeightsError, match="expected the tensors of this model"):
            load_compressed(path, other)
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in state.items())
    path.write_bytes(path.read_bytes()[:100])
    for missing in (path, tmp_path / "nothing.safetensors"):
        with pytest.raises(WeightsError, match="expected a safetensors file"):
            load_compressed(missing, changed("int8"))


def test_bytes_in_memory_are_those_of_the_tensors():
    model = classifier()
    assert held_bytes(model) == 4 * n_parameters(model)


def test_methods_are_measured_side_by_side(tokenizer, reviews):
    model = classifier()
    importance = torch.rand(2, 4, generator=torch.Generator().manual_seed(0))
    names = ["int8, one scale a row", "int8, activations too", "int4, groups of 64", "pruned 50%", "bf16"]
    with pytest.raises(ValueError, match="heads to remove"):
        compression.methods(importance)
    methods = compression.methods(torch.rand(6, 12))
    entries = [("original", model, tokenizer)]
    entries += [(name, compression.compressed(model, methods[name]), tokenizer) for name in names]
    found = compression.compare(entries, reviews, rounds=2)
    assert list(found) == ["original", *names]
    sizes = {name: row["bytes"] for name, row in found.items()}
    order = ["int4, groups of 64", "int8, one scale a row", "bf16", "pruned 50%", "original"]
    assert sorted(order, key=sizes.get) == order
    for row in found.values():
        assert row["correct"].shape == (6,) and len(row["seconds_one"]) == len(row["seconds_batch"]) == 2
        assert row["working_bytes"] > 0
    assert not [p for p in model.parameters() if p.dtype != torch.float32], "the original stays as it was"


def test_the_front_holds_what_nothing_beats():
    sizes = {"a": 1, "b": 2, "c": 2, "d": 3, "e": 4}
    scores = {"a": 0.5, "b": 0.6, "c": 0.7, "d": 0.7, "e": 0.9}
    assert compression.pareto(sizes, scores) == ["a", "c", "e"]
    with pytest.raises(ValueError, match="a size and a score for each"):
        compression.pareto(sizes, {"a": 1})


def test_squeezing_prunes_and_rounds_and_counts_its_bytes():
    model = classifier()
    squeezed = copy.deepcopy(model)
    compression.squeeze(squeezed, 0.5, 4)
    weights = pruning.prunable(squeezed)
    assert pruning.sparsity_of(weights.values()) >= 0.5
    group = next(iter(weights.values())).view(-1, 64)[0]
    assert len(group.unique()) <= 15
    assert torch.equal(squeezed.head.weight, model.head.weight)
    four_bits = compression.compressed(model, compression.methods(torch.rand(6, 12))["int4, groups of 64"])
    assert compression.squeezed_bytes(model, 0.0, 32) == held_bytes(model)
    assert compression.squeezed_bytes(model, 0.0, 4) == held_bytes(four_bits)
    assert compression.squeezed_bytes(model, 0.9, 8) < compression.squeezed_bytes(model, 0.0, 8)


def test_the_explorers_model_is_pruned_anew_each_time(tokenizer, reviews):
    model = classifier()
    live = LiveCompression(model, tokenizer, reviews)
    plain = live("a good film", 0.0, 32, live.matrices[0])
    assert plain["before"] == plain["after"] and sum(plain["pruned"]) == 0
    assert sum(plain["kept"]) == model.get_parameter(live.matrices[0]).numel() and len(plain["kept"]) == BINS
    hard = live("a good film", 0.9, 2, live.matrices[0])
    assert hard["before"] == plain["before"] != hard["after"] and hard["megabytes"] < plain["megabytes"]
    assert sum(hard["kept"]) + sum(hard["pruned"]) == sum(plain["kept"])
    total = sum(sum(live.histogram(name, 0.9)[1]) for name in live.matrices)
    numbers = sum(p.numel() for p in pruning.prunable(model).values())
    assert total == pytest.approx(0.9 * numbers, rel=1e-4)
    assert live("a good film", 0.0, 32, live.matrices[1])["after"] == plain["after"]
    assert len(live.judged) == 2 and plain["n"] == 6
    with pytest.raises(ValueError, match="Type a review"):
        live("  ", 0.0, 32, live.matrices[0])


def test_a_student_is_a_quarter_and_learns_from_labels_or_teacher(tokenizer, reviews):
    student, its = students.new_student(0)
    teacher_numbers = 22_566_146  # of the packaged encoder with its head, as the result file says
    assert 4 * n_parameters(student) <= teacher_numbers
    lessons = students.lessons_from(student, its, its, reviews.texts)
    assert torch.equal(lessons.labels, lessons.teacher_logits.argmax(-1))
    lessons = students.lessons_from(student, its, its, reviews.texts, reviews.labels)
    assert lessons.labels.tolist() == reviews.labels
    before = student.head.weight.detach().clone()
    records = list(students.train_student(student, its, lessons, seed=0, steps=2, soft_share=0.5))
    assert len(records) == 2 and not torch.equal(before, student.head.weight)


def test_unlabeled_sentences_are_as_asked_for():
    sentences = students.unlabeled_sentences(20, seed=1)
    assert len(sentences) == 20 == len(set(sentences))
    assert all(8 <= sentence.count(" ") + 1 <= 40 for sentence in sentences)
    assert sentences == students.unlabeled_sentences(20, seed=1)


def test_tickets_keep_their_share_and_their_start(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(200, 40, generator=generator) < 0.2).float()
    data = lottery.WordBags(x, (x[:, 0] + x[:, 1] > x[:, 2]).long())
    monkeypatch.setattr(lottery, "STEPS", 30)
    found = lottery.draw_tickets(data, data, seed=0, keep=0.5, rounds=2, judged=(1, 2))
    assert list(found) == list(lottery.STARTS)
    assert all(list(row) == [1.0, 0.5, 0.25] and all(0 <= a <= 1 for a in row.values()) for row in found.values())
    assert found == lottery.draw_tickets(data, data, seed=0, keep=0.5, rounds=2, judged=(1, 2))
    model = lottery.network(0, 40)
    masks = pruning.magnitude_masks(lottery.weights(model), 0.8, "layer")
    trained = lottery.train(model, data, 0, masks)
    assert pruning.sparsity_of(lottery.weights(trained).values()) == pytest.approx(0.8, abs=0.01)


def test_the_result_file_is_whole():
    result = compression_runs.load_result()
    assert result["command"] == "python -m utils.launch compress" and result["hardware"] and result["seeds"]
    taught = result["students"]
    assert 4 * taught["student_parameters"] <= taught["teacher_parameters"] == 22_566_146
    assert {run["kind"] for run in taught["runs"]} == set(students.KINDS)
    assert taught["teacher_correct"].shape == (1000,) and taught["teacher_correct"].dtype == bool
    assert "original" in result["methods"] and set(compression.QUANTIZATIONS) <= set(result["methods"])
    sizes = {name: row["bytes"] for name, row in result["methods"].items()}
    assert sizes["int4, groups of 64"] < sizes["int8, one scale a row"] < sizes["bf16"] < sizes["original"]
    grid = result["grid"]
    assert set(grid["n_correct"]) == {f"{s}/{b}" for s in grid["sparsities"] for b in grid["bits"]}
    assert compression_runs.RESULT.path().stat().st_size < 60_000


def test_parts_are_kept_and_a_damaged_file_is_named(tmp_path, monkeypatch):
    ran = []

    def run(name):
        def part():
            ran.append(name)
            yield {name: 1}

        return part

    monkeypatch.setattr(compression_runs, "RUNS", {"lottery": run("lottery"), "grid": run("grid")})
    path = compression_runs.compress(tmp_path)
    assert ran == ["lottery", "grid"] and json.loads(path.read_text())["grid"] == 1
    compression_runs.compress(tmp_path)
    assert len(ran) == 2
    compression_runs.compress(tmp_path, fresh=True)
    assert len(ran) == 4
    with pytest.raises(ValueError, match="nothing about students, methods, adapters in it.* anew: python"):
        compression_runs.load_result(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="expected the results of compress"):
        compression_runs.load_result(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="expected one process"):
        compression_runs.compress(tmp_path)


def test_the_command_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(compression_runs, "RUNS", {})
    launch.main(["compress", "--folder", str(tmp_path)])
    assert (tmp_path / "compression.json").is_file()


def test_adapters_on_four_bits_are_counted():
    model = SequenceClassifier(tiny.bert())
    quantize_model(model, QuantizationConfig(bits=4, scales=4))
    adapters.add_lora(model, adapters.LoRAConfig(rank=2))
    texts = ["a b", "c"]

    class Words:
        @staticmethod
        def encode_batch_fast(texts):
            return [type("Encoding", (), {"ids": list(range(3 + len(text)))}) for text in texts]

        @staticmethod
        def token_to_id(_):
            return 0

    found = compression_runs.adapter_memory(model, Words, texts, [0, 1])
    trained = adapters.count_parameters(model)[0]
    assert found["gradients_and_moments"] == 12 * trained and found["model"] == held_bytes(model)
    assert found["kept_for_backward"] > 0
