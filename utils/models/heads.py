"""What a task adds to an encoder: a pooled vector, a classifier over it, or the two ends of an answer.

Letters in shape comments: B batch, T time, D d_model, C classes.
"""

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from utils.data.batches import IGNORE, Batch, classification_batches
from utils.models.transformer import BERT

POOLINGS = ("mean", "cls")


def encode_texts(tokenizer: Tokenizer, texts: list[str], max_length: int) -> list[list[int]]:
    """Token ids of texts with their special tokens; a long text is cut, its closing [SEP] kept.

    Raises: ValueError for a max_length below 3 (nothing would be left between [CLS] and [SEP]).
    """
    if max_length < 3:
        raise ValueError(f"encode_texts: expected max_length of at least 3, got {max_length}")
    all_ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    return [ids if len(ids) <= max_length else ids[: max_length - 1] + ids[-1:] for ids in all_ids]


def mean_pool(hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Mean of the hidden states over the real tokens. Shapes: (B, T, D), (B, T) -> (B, D).

    Raises: ValueError for a row without a real token.
    """
    if attention_mask is None:
        return hidden.mean(dim=1)
    mask = attention_mask.to(hidden.dtype)[:, :, None]  # (B, T, 1)
    counts = mask.sum(dim=1)
    if (counts == 0).any():
        raise ValueError("mean_pool: expected at least one real token in every row, got a row of padding only")
    return (hidden * mask).sum(dim=1) / counts


class SequenceClassifier(nn.Module):
    """An encoder, one vector for the whole text, and a linear layer over it.

    pooling "mean": the mean over the tokens. "cls": the first position, through BERT's pooler (linear and tanh).
    The layer's name in the module is `head`, the encoder's `transformer`: freezing and adapters go by these names.
    Shapes: input_ids, attention_mask, segment_ids (B, T) -> logits (B, C).
    Raises: ValueError for an unknown pooling or fewer than two classes.
    Source: Devlin et al. 2019, section 4.1 for "cls"; Reimers and Gurevych 2019, section 3 for "mean".
    """

    def __init__(self, encoder: BERT, n_classes: int = 2, pooling: str = "mean", dropout: float = 0.1) -> None:
        super().__init__()
        if pooling not in POOLINGS or n_classes < 2:
            raise ValueError(
                f"classifier: expected pooling one of {POOLINGS} and n_classes of at least 2, "
                f"got {pooling!r} and {n_classes}"
            )
        self.config = encoder.config
        self.transformer = encoder.transformer
        self.pooler = encoder.pooler if pooling == "cls" else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.d_model, n_classes)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def features(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """The vector that the head reads. Shapes: (B, T) -> (B, D)."""
        hidden, _ = self.transformer(input_ids, attention_mask, segment_ids)
        return mean_pool(hidden, attention_mask) if self.pooler is None else self.pooler(hidden[:, 0]).tanh()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """Logits (B, C)."""
        return self.head(self.dropout(self.features(input_ids, attention_mask, segment_ids)))


@torch.inference_mode()
def predict_probs(
    model: nn.Module, tokenizer: Tokenizer, texts: list[str], max_length: int = 128, batch_size: int = 32
) -> Tensor:
    """Class probabilities of texts, in evaluation mode; the model's mode is restored.

    Texts go through the model in order of length, so that little of a batch is padding. Shapes: (N, C), on the CPU.
    """
    was_training = model.training
    model.eval()
    try:
        logits = run_by_length(model, model, encode_texts(tokenizer, texts, max_length), _pad_id(tokenizer), batch_size)
    finally:
        model.train(was_training)
    return logits.softmax(dim=-1)


@torch.inference_mode()
def sentence_embeddings(
    encoder: BERT, tokenizer: Tokenizer, texts: list[str], max_length: int = 256, batch_size: int = 32
) -> Tensor:
    """One vector of length 1 a text: the mean of its hidden states, normalized. Their dot product is the cosine.

    Shapes: (N, D), on the CPU. Source: Reimers and Gurevych 2019, section 3; pooling and normalization as the packaged
    encoder was trained with.
    """

    def embed(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return F.normalize(mean_pool(encoder.encode(input_ids, attention_mask), attention_mask), dim=-1)

    was_training = encoder.training
    encoder.eval()
    try:
        return run_by_length(embed, encoder, encode_texts(tokenizer, texts, max_length), _pad_id(tokenizer), batch_size)
    finally:
        encoder.train(was_training)


def _pad_id(tokenizer: Tokenizer) -> int:
    """The id of [PAD]. Raises: ValueError for a tokenizer without one."""
    pad_id = tokenizer.token_to_id("[PAD]")
    if pad_id is None:
        raise ValueError("expected a tokenizer with a [PAD] token, as BERT's have, got one without")
    return pad_id


def run_by_length(run, model: nn.Module, sequences: list[list[int]], pad_id: int, batch_size: int) -> Tensor:
    """`run(input_ids, attention_mask)` over all sequences, shortest first; the rows come back in the given order."""
    device = next(model.parameters()).device
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    multiple = 8 if model.config.context_length % 8 == 0 else 1
    batches = classification_batches([sequences[i] for i in order], None, pad_id, batch_size, multiple=multiple)
    rows = [run(batch["input_ids"].to(device), batch["attention_mask"].to(device)).float().cpu() for batch in batches]
    return torch.cat(rows)[torch.tensor(order).argsort()]


class SpanExtractor(nn.Module):
    """Extractive question answering: two logits a token, how well the answer starts there, and ends there.

    Shapes: input_ids, attention_mask, segment_ids (B, T) -> logits (B, T, 2); [..., 0] start, [..., 1] end.
    Source: Devlin et al. 2019, section 4.2.
    """

    def __init__(self, encoder: BERT) -> None:
        super().__init__()
        self.config = encoder.config
        self.transformer = encoder.transformer
        self.head = nn.Linear(encoder.config.d_model, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, segment_ids: Tensor | None = None
    ) -> Tensor:
        """Start and end logits (B, T, 2)."""
        return self.head(self.transformer(input_ids, attention_mask, segment_ids)[0])


def span_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean of two cross-entropies over the positions: that of the true start and that of the true end.

    Shapes: logits (B, T, 2), targets (B, 2) with the positions of the first and last answer token, or -100.
    Source: Devlin et al. 2019, section 4.2.
    """
    return F.cross_entropy(logits.float(), targets, ignore_index=IGNORE)


def span_extraction(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """The same as an objective for the training loop: the sum over starts and ends, and how many there are."""
    logits = model(batch["input_ids"], batch["attention_mask"], batch["segment_ids"])
    loss = F.cross_entropy(logits.float(), batch["targets"], ignore_index=IGNORE, reduction="sum")
    return loss, int((batch["targets"] != IGNORE).sum())


def best_span(logits: Tensor, allowed: Tensor, max_tokens: int = 30) -> tuple[int, int, float]:
    """First and last token of the best answer, and its score: the largest start + end logit with end not before start.

    Shapes: logits (T, 2), allowed (T,) bool, True where an answer may lie (the passage, not the question).
    Raises: ValueError if no token is allowed or max_tokens is below 1.
    Source: Devlin et al. 2019, section 4.2.
    """
    if not allowed.any() or max_tokens < 1:
        raise ValueError(
            f"best_span: expected an allowed token and max_tokens of at least 1, got {int(allowed.sum())} allowed and "
            f"max_tokens={max_tokens}"
        )
    T = len(logits)
    scores = logits[:, None, 0] + logits[None, :, 1]  # (start, end)
    distance = torch.arange(T)[None, :] - torch.arange(T)[:, None]
    fits = (distance >= 0) & (distance < max_tokens) & allowed[:, None] & allowed[None, :]
    start, end = divmod(int(scores.masked_fill(~fits, -torch.inf).argmax()), T)
    return start, end, float(scores[start, end])
