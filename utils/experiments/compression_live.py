"""What the compression explorer asks: the sentiment model pruned and rounded anew, and what it makes of reviews."""

import copy

import torch
from tokenizers import Tokenizer
from torch import nn

from utils import environment
from utils.experiments.compression import GROUP, squeeze, squeezed_bytes
from utils.experiments.fine_tuning import MAX_LENGTH, Reviews, correct_predictions
from utils.models import pruning
from utils.models.heads import predict_probs

BINS = 64


class LiveCompression:
    """Prunes and rounds a copy of a model on request, and judges it on held-out reviews; finished ones are remembered.

    Call it with a text, a sparsity, bits (32: no rounding) and the name of a matrix.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, reviews: Reviews) -> None:
        self.model, self.tokenizer, self.reviews = model, tokenizer, reviews
        self.squeezed = copy.deepcopy(model).eval().requires_grad_(False)
        self.state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        self.at: tuple[float, int] | None = None
        self.judged: dict[tuple[float, int], int] = {}
        self.matrices = list(pruning.prunable(model))

    def __call__(self, text: str, sparsity: float, bits: int, matrix: str) -> dict:
        """P(positive) before and after, reviews judged right, megabytes, and the matrix's histogram.

        Shapes: kept, pruned: BINS counts over weights divided by the largest of their group, from -1 to 1.
        Raises: ValueError for a text without words.
        """
        if not text.strip():
            raise ValueError("Type a review: there is nothing to read.")
        self.prepare(sparsity, bits)
        if (sparsity, bits) not in self.judged:
            right = correct_predictions(self.squeezed, self.tokenizer, self.reviews)
            self.judged[sparsity, bits] = int(right.sum())
        before, after = (
            float(predict_probs(model, self.tokenizer, [text], MAX_LENGTH)[0, 1])
            for model in (self.model, self.squeezed)
        )
        kept, pruned = self.histogram(matrix, sparsity)
        return {
            "before": before,
            "after": after,
            "n_correct": self.judged[sparsity, bits],
            "n": len(self.reviews.labels),
            "megabytes": squeezed_bytes(self.model, sparsity, bits) / 1e6,
            "kept": kept,
            "pruned": pruned,
        }

    def prepare(self, sparsity: float, bits: int) -> None:
        """Make the copy anew from the original's weights, pruned and rounded."""
        if (sparsity, bits) != self.at:
            self.squeezed.load_state_dict(self.state)
            squeeze(self.squeezed, sparsity, bits)
            self.at = sparsity, bits
            environment.release_memory()  # pruning all matrices together takes as much as the model itself

    def histogram(self, matrix: str, sparsity: float) -> tuple[list[int], list[int]]:
        """How many weights of a matrix fall into each bin, those that stay and those that pruning drops."""
        weight = self.state[matrix]
        groups = weight.reshape(-1, GROUP)
        shares = groups / groups.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        places = ((shares + 1) / 2 * BINS).long().clamp(max=BINS - 1).flatten()
        # The copy's zeros are those of pruning or of rounding; the threshold tells them apart.
        if sparsity > 0:
            dropped = (weight.abs() <= self.threshold(sparsity)).flatten()
        else:
            dropped = torch.zeros_like(places, dtype=torch.bool)
        return tuple(torch.bincount(places[rows], minlength=BINS).tolist() for rows in (~dropped, dropped))

    def threshold(self, sparsity: float) -> float:
        """The largest |w| that pruning to this sparsity drops, of all prunable matrices together."""
        every = torch.cat([self.state[name].abs().flatten() for name in self.matrices])
        n = round(sparsity * len(every))
        return float(pruning.kth_smallest(every, n)) if n else -1.0
