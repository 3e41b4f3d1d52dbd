"""The lottery-ticket experiment on a small network: does the pruned network owe its skill to how it began?"""

import re
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data import corpora
from utils.models.pruning import apply_masks, hold_zeros, magnitude_masks

N_WORDS, WIDTHS = 2000, (64, 32)
STEPS, BATCH_SIZE, LEARNING_RATE = 150, 128, 2e-3
STARTS = ("winning ticket", "new start", "random mask")


@dataclass(frozen=True)
class WordBags:
    """Reviews as which of the frequent words they hold. Shapes: x (N, 2000) of 0 and 1, y (N,)."""

    x: Tensor
    y: Tensor


def words(text: str) -> set[str]:
    """The different words of a text, lower-cased."""
    return set(re.findall(r"[a-z']+", text.lower()))


def word_bags(n_words: int = N_WORDS) -> tuple[WordBags, WordBags]:
    """Rotten Tomatoes, training and test reviews, over the words most frequent in training."""
    train, test = (corpora.reviews("rotten_tomatoes", split) for split in ("train", "test"))
    counts = Counter(word for text in train["text"] for word in words(text))
    place = {word: i for i, (word, _) in enumerate(counts.most_common(n_words))}

    def bags(data) -> WordBags:
        x = torch.zeros(len(data), n_words)
        for row, text in enumerate(data["text"]):
            x[row, [place[word] for word in words(text) if word in place]] = 1
        return WordBags(x, torch.tensor(data["label"][:]))

    return bags(train), bags(test)


def network(seed: int, n_words: int = N_WORDS) -> nn.Sequential:
    """A fresh network of three layers: (N, words) -> (N, 2)."""
    torch.manual_seed(seed)
    first, second = WIDTHS
    return nn.Sequential(
        nn.Linear(n_words, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 2)
    )


def train(model: nn.Module, data: WordBags, seed: int, masks: dict[str, Tensor] | None = None) -> nn.Module:
    """Train in place; weights that are masked out stay zero."""
    generator = torch.Generator().manual_seed(seed)
    apply_masks(model, masks or {})
    hold_zeros(model, masks or {})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(STEPS):
        rows = torch.randint(len(data.y), (BATCH_SIZE,), generator=generator)
        loss = F.cross_entropy(model(data.x[rows]), data.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module, data: WordBags) -> float:
    """The share of reviews that a network gets right."""
    return float((model(data.x).argmax(dim=-1) == data.y).float().mean())


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The matrices of a network, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.dim() == 2}


def draw_tickets(
    data: WordBags, test: WordBags, seed: int, keep: float = 1 / 3, rounds: int = 3, judged: tuple[int, ...] = ()
) -> dict[str, dict[float, float]]:
    """Pruning with rewind: train, keep the largest `keep` of each layer's weights, begin again; `rounds` times.

    Returns accuracy by start and share of weights left, for the rounds in `judged` (the last by default): the winning
    ticket (mask and first weights), the same mask with a new start, and a shuffled mask with the first weights.
    Source: Frankle and Carbin 2019, sections 1 and 2.
    """
    model = network(seed, data.x.shape[1])
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def rewound() -> nn.Module:
        fresh = network(seed, data.x.shape[1])
        fresh.load_state_dict(first)
        return fresh

    found: dict[str, dict[float, float]] = {start: {} for start in STARTS}
    model, masks = train(rewound(), data, seed), None
    dense = accuracy(model, test)
    for number in range(1, rounds + 1):
        masks = magnitude_masks(weights(model), 1 - keep**number, "layer", masks)
        model = train(rewound(), data, seed, masks)
        if number in (judged or (rounds,)):
            generator = torch.Generator().manual_seed(seed)
            shuffled = {
                name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)
                for name, mask in masks.items()
            }
            others = network(seed + 1000, data.x.shape[1])
            left = keep**number
            found[STARTS[0]][left] = accuracy(model, test)
            found[STARTS[1]][left] = accuracy(train(others, data, seed, masks), test)
            found[STARTS[2]][left] = accuracy(train(rewound(), data, seed, shuffled), test)
    for start in STARTS:
        found[start] = {1.0: dense, **found[start]}
    return found
