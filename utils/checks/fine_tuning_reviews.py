"""Properties for lab 08's capstone: the packaged encoder, fine-tuned on real reviews by the student's loop."""

import functools
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm.auto import tqdm

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_finite
from utils.data import corpora
from utils.models.heads import SequenceClassifier, encode_texts, predict_probs
from utils.models.pretrained import load_model
from utils.models.transformer import BERT, TransformerConfig

ENCODER = "all-minilm-l6-v2"
N_BATCHES, BATCH_SIZE, MAX_LENGTH = 100, 16, 48
TARGET, CHANCE = 0.70, 0.58  # accuracies: to reach, and what guessing does not reach on 500 reviews
SECONDS = 600.0

# A training takes long, so its model is kept as long as the student's function lives: for the second property, for the
# hidden test, and for what the notebook does with it.
_TRAINED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Trained:
    """A trained classifier, for which verdict it was trained, and how many of n held-out reviews it gets right."""

    model: nn.Module
    tokenizer: Tokenizer
    answer: weakref.ref
    right: int
    n: int


class Batches:
    """Mini-batches of tokenized reviews, once through, with a progress bar: pairs of `sequences` and `targets` (B,)."""

    def __init__(self, sequences: list[list[int]], targets: Tensor, title: str = ""):
        self.sequences, self.targets, self.title = sequences, targets, title
        self.used = False

    def __len__(self) -> int:
        """Number of mini-batches."""
        return -(-len(self.sequences) // BATCH_SIZE)

    def __repr__(self) -> str:
        return f"<{len(self)} mini-batches of at most {BATCH_SIZE} reviews>"

    def __iter__(self) -> Iterator[tuple[list[list[int]], Tensor]]:
        if self.used:
            raise ValueError("expected one pass over the batches, got a second; use each batch for one step")
        self.used = True
        places = range(0, len(self.sequences), BATCH_SIZE)
        # On stdout: nbgrader gives no points to a cell that writes to stderr.
        for i in tqdm(places, desc=self.title, disable=not self.title, file=sys.stdout, leave=False):
            yield [list(one) for one in self.sequences[i : i + BATCH_SIZE]], self.targets[i : i + BATCH_SIZE].clone()


@functools.cache
def reviews(split: str) -> tuple[list[str], Tensor]:
    """The texts and the labels (N,) of a split of Rotten Tomatoes."""
    data = corpora.reviews("rotten_tomatoes", split)
    return data["text"][:], torch.tensor(data["label"][:])


def classifier(seed: int) -> tuple[SequenceClassifier, Tokenizer]:
    """The packaged encoder with a new head, and its tokenizer."""
    encoder, tokenizer = load_model(ENCODER)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SequenceClassifier(encoder), tokenizer


def labeled(tokenizer: Tokenizer, generator: torch.Generator) -> Batches:
    """Training reviews, drawn at random, as mini-batches."""
    texts, labels = reviews("train")
    rows = torch.randperm(len(texts), generator=generator)[: N_BATCHES * BATCH_SIZE]
    sequences = encode_texts(tokenizer, [texts[row] for row in rows.tolist()], MAX_LENGTH)
    return Batches(sequences, labels[rows], "fine-tuning")


def correct(model: nn.Module, tokenizer: Tokenizer, split: str, n: int = 500) -> tuple[int, int]:
    """How many of (at most) n reviews of a split a classifier gets right, and of how many."""
    texts, labels = reviews(split)
    step = max(1, len(texts) // n)  # reviews lie in the order of their labels
    texts, labels = texts[::step][:n], labels[::step][:n]
    right = predict_probs(model, tokenizer, texts, MAX_LENGTH).argmax(dim=1) == labels
    return int(right.sum()), len(texts)


def trained(function: Callable) -> tuple[nn.Module, Tokenizer]:
    """The classifier that a student's function trained in its latest check, and its tokenizer.

    Raises: ValueError when there is none.
    """
    if function not in _TRAINED:
        raise ValueError("expected a function whose check has trained a model, got another; run the check first")
    return _TRAINED[function].model, _TRAINED[function].tokenizer


def _tiny(draw) -> tuple[SequenceClassifier, Batches]:
    """A classifier of the encoder's form, but narrow and random, and a few mini-batches for it."""
    config = TransformerConfig(vocab_size=50, context_length=16, d_model=8, n_layers=6, n_heads=2, norm_position="post")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        model = SequenceClassifier(BERT(config))
    n = 2 * BATCH_SIZE + draw.number(3, 9)
    sequences = [[draw.number(1, 49) for _ in range(draw.number(3, 9))] for _ in range(n)]
    return model, Batches(sequences, torch.tensor([draw.number(0, 1) for _ in range(n)]))


def _returned(answer, model: nn.Module, batches: Batches) -> nn.Module:
    got = answer(model, batches)
    if not isinstance(got, SequenceClassifier):
        raise NotYet(
            "The result is not the classifier.",
            {"expected": "the model, trained", "got": describe(got)},
            "End with returning the model.",
        )
    for name, parameter in got.named_parameters():
        is_finite(
            parameter.detach(),
            problem=f"After training, `{name}` holds NaN or infinity.",
            hint="The learning rate is far too high for a pre-trained model.",
        )
    return got


def fine_tune_returns(answer, draw):
    """A classifier with finite weights comes back."""
    _returned(answer, *_tiny(draw))


def fine_tune_moves(answer, draw):
    """The head and the encoder have moved."""
    model, batches = _tiny(draw)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    after = dict(_returned(answer, model, batches).named_parameters())
    moved = [name for name, old in before.items() if name in after and not torch.equal(old, after[name].detach())]
    if not moved:
        raise NotYet(
            "No weight has changed.",
            {"expected": "a model that has taken a step for each batch", "got": f"{len(before)} tensors as they were"},
            "`loss.backward()` computes gradients, and nothing more. What uses them?",
        )
    if not any(name.startswith("head.") for name in moved):
        raise NotYet(
            "The head has not changed.",
            {"expected": "a trained head", "got": f"changes in {moved[:3]} …"},
            "The head is new and random: it must be among the trained parameters.",
        )


def _accuracy(answer, draw) -> tuple[int, int]:
    """How many held-out reviews the trained classifier gets right, and of how many.

    What reached the target is not trained again; what did not serves the same verdict only, since a function that the
    student's own calls may have been mended since.
    """
    kept = _TRAINED.get(answer.function)
    if kept and (kept.answer() is answer or kept.right >= TARGET * kept.n):
        return kept.right, kept.n
    model, tokenizer = classifier(draw.seed)
    answer.seconds = SECONDS
    model = _returned(answer, model, labeled(tokenizer, draw.generator)).eval()
    kept = Trained(model, tokenizer, weakref.ref(answer), *correct(model, tokenizer, "validation"))
    _TRAINED[answer.function] = kept
    return kept.right, kept.n


def fine_tune_learns(answer, draw):
    """Held-out accuracy is above chance."""
    right, n = _accuracy(answer, draw)
    if right < CHANCE * n:
        raise NotYet(
            "The classifier is no better than a coin.",
            {"expected": f"more than {CHANCE:.0%} of {n} held-out reviews", "got": f"{right / n:.1%}"},
            "Does the loss fall? Print it. Look at the mask, at the targets' order, and at the sign of the step.",
        )


def fine_tune_target(answer, draw):
    """Held-out accuracy reaches the target."""
    right, n = _accuracy(answer, draw)
    if right < TARGET * n:
        raise NotYet(
            "It learns, but not enough.",
            {"expected": f"at least {TARGET:.0%} of {n} held-out reviews", "got": f"{right / n:.1%}"},
            "Use all batches, and train the encoder's last layers as well as the head, at a rate of 0.0001 to 0.0005, "
            "with a warm-up. For the head alone, that rate is far too small.",
        )
    return f"Accuracy on {n} held-out reviews: {right / n:.1%} (target {TARGET:.0%})."
