"""What training a translator and a summarizer share: a recipe, noisy batches, averaged weights."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data.batches import Batch
from utils.data.seq2seq_batches import seq2seq_batch, seq2seq_batches, with_unknowns
from utils.experiments.results import loss_curve
from utils.models.config import TransformerConfig
from utils.models.pointer import PointerGenerator
from utils.text.interface_text import BEGIN, END, PAD, SPECIAL, UNKNOWN
from utils.training.loop import Record, TrainConfig, Trainer
from utils.training.objectives import target_tokens

PAD_ID, BEGIN_ID, END_ID, UNKNOWN_ID = (SPECIAL.index(token) for token in (PAD, BEGIN, END, UNKNOWN))


@dataclass(frozen=True)
class Recipe:
    """Sizes of a model and of its training. `noise`: the share of tokens hidden; `decay`: of the weights' average."""

    d_model: int = 128
    n_layers: int = 2
    n_heads: int = 4
    d_ff: int = 256
    dropout: float = 0.15
    context_length: int = 128
    vocab_size: int = 2600
    label_smoothing: float = 0.1
    noise: float = 0.05
    batch_size: int = 64
    epochs: int = 15
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    decay: float = 0.99
    seed: int = 17

    def model_config(self, vocab_size: int) -> TransformerConfig:
        """The model's configuration."""
        names = ("d_model", "n_layers", "n_heads", "d_ff", "dropout", "context_length")
        return TransformerConfig(vocab_size, **{name: getattr(self, name) for name in names})

    def steps(self, n_rows: int) -> int:
        """Optimizer steps of all epochs."""
        return self.epochs * (n_rows // self.batch_size)

    def train_config(self, steps: int) -> TrainConfig:
        """The loop's configuration for so many steps."""
        return TrainConfig(
            max_steps=steps, learning_rate=self.learning_rate, warmup_steps=min(200, steps // 5), floor=0.02,
            betas=(0.9, 0.98), weight_decay=self.weight_decay,
        )  # fmt: skip


class Averaged:
    """A running average of a model's weights, which does better than the last ones.

    Source: Polyak and Juditsky 1992; in the exponential form of Kingma and Ba 2015, section 7.2.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average toward the model's weights, at first quickly."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 20))
        for name, tensor in model.state_dict().items():
            self.weights[name].lerp_(tensor, 1 - decay)


def ids_of(tokenizer: Tokenizer, texts: Sequence[str], most: int) -> list[list[int]]:
    """Token ids of texts, at most so many each, an end behind each; an empty text is the end alone."""
    return [[*encoding.ids[: most - 1], END_ID] for encoding in tokenizer.encode_batch(list(texts))]


def batch_of(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> Batch:
    """A batch without noise."""
    return seq2seq_batch(sources, targets, PAD_ID, BEGIN_ID, END_ID)


def noisy_batches(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], recipe: Recipe, start: int = 0
) -> Iterator[Batch]:
    """Training batches without end, with a share of what the encoder and the decoder read hidden."""

    def make(rows: list[int], random: np.random.Generator) -> Batch:
        batch = batch_of([sources[row] for row in rows], [targets[row] for row in rows])
        for name in ("input_ids", "decoder_ids"):
            batch[name] = with_unknowns(batch[name], recipe.noise, UNKNOWN_ID, range(len(SPECIAL)), random)
        return batch

    return seq2seq_batches(sources, targets, recipe.batch_size, recipe.seed, make, start)


def new_model(tokenizer: Tokenizer, recipe: Recipe) -> PointerGenerator:
    """A model with random weights."""
    environment.seed_everything(recipe.seed)
    return PointerGenerator(recipe.model_config(tokenizer.get_vocab_size()))


def train(
    model: nn.Module,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    recipe: Recipe,
    max_steps: int | None = None,
    average: Averaged | None = None,
) -> Iterator[Record]:
    """Train by a recipe; yields the loop's records. The average of the weights is kept in `average`."""
    steps = max_steps or recipe.steps(len(sources))
    trainer = Trainer(model, target_tokens(recipe.label_smoothing), recipe.train_config(steps))
    for record in trainer.fit(noisy_batches(sources, targets, recipe)):
        if average is not None:
            average.update(model)
        yield record


def fit(
    model: nn.Module, records: Iterator[Record], average: Averaged, steps: int, judge: Callable[[nn.Module], str]
) -> list[Record]:
    """Train to the end, now and then printing what `judge` says of the average weights, which the model then gets.

    Returns the records of all steps.
    """
    found: list[Record] = []
    for record in tqdm(records, total=steps, mininterval=20):
        found.append(record)
        if len(found) % max(1, steps // 8) == 0:
            judged = copy.deepcopy(model)
            judged.load_state_dict(average.weights)
            loss = np.mean([one.loss for one in found[-100:]])
            print(f"step {len(found)}: loss {loss:.3f}, {judge(judged)}", flush=True)
    model.load_state_dict(average.weights)
    return found


def card_of(model: nn.Module, recipe: Recipe, records: Sequence[Record], minutes: float) -> dict:
    """What the card of a trained model says of its training."""
    return {
        "recipe": dataclasses.asdict(recipe),
        "steps": len(records),
        "parameters": sum(p.numel() for p in model.parameters()),
        "minutes": round(minutes, 1),
        "hardware": environment.hardware(),
        "versions": {"torch": torch.__version__},
        **loss_curve(records, 20),
    }
