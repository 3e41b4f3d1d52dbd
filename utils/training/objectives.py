"""Objectives: `objective(model, batch) -> (loss_sum, count)`, in nats, summed over the batch's targets.

A sum and a count, not a mean, because means of unequal batches do not average to the mean of all.
"""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.data.batches import IGNORE, Batch

Objective = Callable[[nn.Module, Batch], tuple[Tensor, int]]


def count_targets(batch: Batch) -> int:
    """Number of positions in a batch that are predicted (not -100)."""
    return int((batch["targets"] != IGNORE).sum())


def count_inputs(batch: Batch) -> int:
    """Number of tokens that a batch reads, padding among them; of sound, the number of frames."""
    return batch["frame_mask" if "frame_mask" in batch else "input_ids"].numel()


def next_token(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Causal language modeling: -log p(x_t | x_<t), summed; a mask and positions are used where the batch has them."""
    given = {name: batch[name] for name in ("attention_mask", "first_position") if name in batch}
    return model(batch["input_ids"], targets=batch["targets"], **given), count_targets(batch)


def masked_words(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Masked language modeling alone: -log p of each chosen word given the others, summed."""
    loss, _ = model(batch["input_ids"], batch.get("attention_mask"), batch.get("segment_ids"), targets=batch["targets"])
    return loss, count_targets(batch)


def masked_words_and_next_sentence(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """BERT's pre-training loss: masked words plus next sentence.

    The published loss adds two means. As a sum over words, each pair weighs as many words as a row has masked on
    average (15 % of its length); with a fixed weight the gradients of micro-batches add up exactly.
    Source: Devlin et al. 2019, appendix A.2.
    """
    words, pairs = model(
        batch["input_ids"],
        batch.get("attention_mask"),
        batch["segment_ids"],
        targets=batch["targets"],
        first_position=batch.get("first_position"),
    )
    weight = 0.15 * batch["input_ids"].shape[1]
    return words + weight * F.cross_entropy(pairs.float(), batch["next_sentence"], reduction="sum"), count_targets(
        batch
    )


def classification(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Cross-entropy of one label a row, summed. Shapes: logits (B, C), targets (B,)."""
    logits = model(batch["input_ids"], batch["attention_mask"])
    return F.cross_entropy(logits.float(), batch["targets"], ignore_index=IGNORE, reduction="sum"), count_targets(batch)


def ctc(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Minus the log-probability of each label sequence, over all its paths, summed; the blank is the last class.

    A sequence that does not fit into its frames counts 0, not infinity.
    Source: Graves et al. 2006, "Connectionist Temporal Classification", section 4.
    """
    log_probs, lengths = model(batch["features"], batch["frame_mask"])  # (B, P, C), (B,)
    n_labels = (batch["targets"] != IGNORE).sum(dim=1)
    loss = F.ctc_loss(
        log_probs.transpose(0, 1),
        batch["targets"].clamp(min=0),
        lengths,
        n_labels,
        blank=log_probs.shape[-1] - 1,
        reduction="sum",
        zero_infinity=True,
    )
    return loss, count_targets(batch)


def labelling(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Cross-entropy of a label a position, summed. Shapes: features (B, T, K), logits (B, T, L), targets (B, T)."""
    logits = model(batch["features"], batch["attention_mask"]).float()
    loss = F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORE, reduction="sum")
    return loss, count_targets(batch)


def target_tokens(label_smoothing: float = 0.0) -> Objective:
    """Sequence to sequence: -log p(y_t | y_<t, source), summed; the batch is that of `seq2seq_batch`.

    Smoothed, the target is (1 - a) of the right token and a of all tokens alike: a = 0.1 keeps a small model humble.
    Source: Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4.
    """

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        logits = model(batch["input_ids"], batch["decoder_ids"], batch["attention_mask"]).flatten(0, 1)
        loss = F.cross_entropy(
            logits.float(), batch["targets"].flatten(), ignore_index=IGNORE, reduction="sum",
            label_smoothing=label_smoothing,
        )  # fmt: skip
        return loss, count_targets(batch)

    return objective


@torch.no_grad()
def evaluate(model: nn.Module, objective: Objective, batches: Iterable[Batch]) -> float:
    """Mean loss in nats a target over all batches, in evaluation mode; the model's mode is restored.

    Raises: ValueError if the batches hold no target.
    """
    was_training, total, count = model.training, 0.0, 0
    device = next(model.parameters()).device
    model.eval()
    try:
        for batch in batches:
            loss, n = objective(model, {name: tensor.to(device) for name, tensor in batch.items()})
            total, count = total + float(loss), count + n
    finally:
        model.train(was_training)
    if count == 0:
        raise ValueError("evaluate: expected at least one target, got none; every target is -100 or there is no batch")
    return total / count
