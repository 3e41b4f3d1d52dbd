"""Mixed precision, measured: one training run in fp32, bf16 and fp16, its speed, and the bytes it keeps."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import batches, corpora
from utils.experiments.pretraining import train_byte_bpe
from utils.experiments.results import ResultFile
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.training import objectives, profiling
from utils.training.loop import Record, TrainConfig, Trainer

PRECISIONS = ("fp32", "bf16", "fp16")
RESULT = ResultFile("mixed_precision", "mixed-precision")
SEPARATOR = 0  # id of the first special token of `train_byte_bpe`, which stands between documents
SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Size:
    """How large a measurement is: the model's shape and the tokens of a step."""

    d_model: int
    n_layers: int
    n_heads: int
    context_length: int
    tokens_per_step: int

    def model(self, vocab_size: int) -> TransformerConfig:
        """The configuration of a GPT of this size."""
        return TransformerConfig(
            vocab_size=vocab_size,
            context_length=self.context_length,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
        )


@dataclass(frozen=True)
class Reviews:
    """Tokenized reviews: some to train on, some held out, and the size of their vocabulary."""

    train: batches.TokenCorpus
    held_out: batches.TokenCorpus
    vocab_size: int


# fp16 without hardware for it is slow, so the CPU's runs are small; a GPU's are large enough to keep it busy.
AGREEMENT = {"cpu": Size(64, 1, 4, 32, 512), "cuda": Size(256, 4, 4, 256, 8192)}
AGREEMENT_STEPS = {"cpu": 250, "cuda": 400}
AGREEMENT_LEARNING_RATE = {"cpu": 1e-2, "cuda": 3e-3}
SPEED = {"cpu": Size(256, 4, 4, 128, 512), "cuda": Size(768, 12, 12, 512, 16384)}
SPEED_ROUNDS = {"cpu": 6, "cuda": 20}
MATRIX_SIZES = {"cpu": (128, 256, 512), "cuda": (1024, 4096, 8192)}


@functools.cache
def tokenized_reviews(n_reviews: int = 1000, vocab_size: int = 1024, n_held_out: int = 60) -> Reviews:
    """IMDB reviews of the course's split, tokenized by a byte-level BPE trained on the training ones."""
    texts = corpora.reviews("imdb", "train").select(range(n_reviews))["text"][:]
    held_out = corpora.reviews("imdb", "validation").select(range(n_held_out))["text"][:]
    tokenizer = train_byte_bpe(texts, vocab_size)
    return Reviews(batches.tokenize(texts, tokenizer), batches.tokenize(held_out, tokenizer), vocab_size)


def trainer(size: Size, vocab_size: int, config: TrainConfig, seed: int, device: torch.device) -> Trainer:
    """A trainer on a fresh GPT: the same seed gives the same weights in every precision."""
    environment.seed_everything(seed)
    return Trainer(GPT(size.model(vocab_size)), objectives.next_token, config, device)


def training_batches(reviews: Reviews, size: Size, seed: int, n: int | None = None) -> Iterable[batches.Batch]:
    """The batches of a run: they follow from the seed, not from the precision."""
    return batches.next_token_batches(
        reviews.train, SEPARATOR, lengths=size.context_length, tokens_per_batch=size.tokens_per_step, seed=seed, n=n
    )


@torch.no_grad()
def review_losses(model: GPT, corpus: batches.TokenCorpus, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Summed loss in nats, in fp32, and number of targets of the first `length` tokens of every document.

    Shapes: both (n_documents,).
    """
    device = next(model.parameters()).device
    losses, counts = [], []
    model.eval()
    for i in range(len(corpus)):
        ids = torch.as_tensor(corpus.document(i)[: length + 1].astype(np.int64), device=device)[None]
        losses.append(float(model(ids[:, :-1], targets=ids[:, 1:])))
        counts.append(ids.shape[1] - 1)
    return np.array(losses), np.array(counts)


def interleaved_speed(
    reviews: Reviews, size: Size, rounds: int, device: torch.device, progress: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Tokens a second of training steps in each precision, `rounds` each, as `profiling.interleaved_seconds` has it."""
    config = TrainConfig(max_steps=rounds + 1, learning_rate=1e-3)
    turns = list(training_batches(reviews, size, seed=0, n=rounds + 1))

    def steps(precision: str) -> Callable[[int], None]:
        changed = dataclasses.replace(config, precision=precision)
        training = trainer(size, reviews.vocab_size, changed, 0, device)

        def step(turn: int) -> None:
            training.attempt([turns[turn]])
            progress()

        return step

    possible = [precision for precision in PRECISIONS if environment.supports(precision, device)]
    seconds = profiling.interleaved_seconds({precision: steps(precision) for precision in possible}, rounds)
    counts = [objectives.count_targets(batch) for batch in turns[1:]]
    return {name: [count / one for count, one in zip(counts, found, strict=True)] for name, found in seconds.items()}


def matrix_speed(sizes: Iterable[int], device: torch.device, repeats: int = 5) -> dict[int, dict[str, float]]:
    """Median GFLOP a second of one (n, n) by (n, n) product in each precision, by n."""
    found: dict[int, dict[str, float]] = {}
    for n in sizes:
        pairs = {p: torch.randn(2, n, n, device=device).to(environment.PRECISIONS[p]) for p in PRECISIONS}
        seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for repeat in range(repeats + 1):
            for precision, (a, b) in pairs.items():
                started = time.perf_counter()
                (a @ b)[0, 0].item()  # waits for a GPU
                if repeat > 0:
                    seconds[precision].append(time.perf_counter() - started)
        found[n] = {precision: 2 * n**3 / float(np.median(s)) / 1e9 for precision, s in seconds.items()}
    return found


def saved_bytes(
    model: nn.Module, batch: batches.Batch, precision: str, objective: objectives.Objective = objectives.next_token
) -> int:
    """Bytes that autograd keeps between forward and backward, parameters themselves not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # itself, it would hold the graph that holds it, and neither would ever be freed

    dtype = environment.PRECISIONS[precision]
    device = next(model.parameters()).device
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss, _ = objective(model, batch)
    total = sum(kept.values())
    del loss  # until here it held the tensors, so that no address was given out twice
    return total


def peak_bytes(reviews: Reviews, size: Size, device: torch.device) -> dict[str, int]:
    """Peak bytes of a GPU over two training steps in each precision; empty on a CPU, which keeps no such record."""
    if device.type != "cuda":
        return {}
    found = {}
    for precision in PRECISIONS:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        run = trainer(size, reviews.vocab_size, TrainConfig(max_steps=2, precision=precision), 0, device)
        list(run.fit(training_batches(reviews, size, seed=0, n=2)))
        found[precision] = torch.cuda.max_memory_allocated(device)
        del run
    return found


def train_once(reviews: Reviews, size: Size, precision: str, seed: int, steps: int, device: torch.device) -> dict:
    """One run: its losses step by step, the attempts skipped, and the held-out loss in nats a token."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    rate = AGREEMENT_LEARNING_RATE[kind]
    config = TrainConfig(max_steps=steps, learning_rate=rate, warmup_steps=10, precision=precision)
    run = trainer(size, reviews.vocab_size, config, seed, device)
    records: list[Record] = list(run.fit(training_batches(reviews, size, seed)))
    losses, counts = review_losses(run.model, reviews.held_out, size.context_length)
    return {
        "losses": [record.loss for record in records if not record.skipped],
        "skipped": sum(record.skipped for record in records),
        "held_out": float(losses.sum() / counts.sum()),
    }


def measure(device: torch.device | None = None) -> dict:
    """The whole measurement: agreement of the precisions over seeds, speed of steps and products, peak memory."""
    device = device or environment.device()
    kind = "cuda" if device.type == "cuda" else "cpu"
    agreement, steps, speed, rounds = AGREEMENT[kind], AGREEMENT_STEPS[kind], SPEED[kind], SPEED_ROUNDS[kind]
    reviews, started = tokenized_reviews(), time.monotonic()
    large = tokenized_reviews(n_reviews=2000, vocab_size=4096)
    total = len(PRECISIONS) * (len(SEEDS) + rounds + 1)
    with tqdm(total=total, desc="mixed-precision") as bar:
        tokens_per_second = interleaved_speed(large, speed, rounds, device, bar.update)
        runs: dict[str, list[dict]] = {precision: [] for precision in PRECISIONS}
        for seed in SEEDS:
            for precision in PRECISIONS:
                runs[precision].append(train_once(reviews, agreement, precision, seed, steps, device))
                bar.update()
    return {
        **RESULT.heading(),
        "seeds": list(SEEDS),
        "threads": torch.get_num_threads(),
        "agreement": {
            "size": dataclasses.asdict(agreement),
            "steps": steps,
            "held_out_nats": {p: [round(run["held_out"], 5) for run in found] for p, found in runs.items()},
            "skipped": {p: [run["skipped"] for run in found] for p, found in runs.items()},
            "loss_nats": {
                p: np.mean([run["losses"] for run in found], axis=0).round(4).tolist() for p, found in runs.items()
            },
        },
        "speed": {
            "size": dataclasses.asdict(speed),
            "vocab_size": large.vocab_size,
            "tokens_per_second": {p: [round(x, 1) for x in found] for p, found in tokens_per_second.items()},
        },
        "matrix_gflops": {
            str(n): {p: round(x, 2) for p, x in found.items()}
            for n, found in matrix_speed(MATRIX_SIZES[kind], device).items()
        },
        "peak_bytes": peak_bytes(large, speed, device),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def measure_precisions(folder: Path | None = None) -> Path:
    """Measure, and write the result file; it replaces an earlier one only when all was measured."""
    return RESULT.write(measure(), folder)
