"""Texts of any length for an encoder that reads short ones: windows of tokens, and one vector over all of them.

Letters in shape comments: B texts, W windows of all texts, T tokens in a window, D d_model, C classes.
"""

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from utils.data.batches import Batch, pad
from utils.models.heads import SequenceClassifier

WINDOW = 128  # what the packaged encoder was trained on


def text_windows(tokenizer: Tokenizer, texts: list[str], window: int = WINDOW, most: int | None = None) -> list:
    """Each text as one or more windows of token ids, each with its own [CLS] and [SEP].

    most: how many windows a text may have; of a longer one the first and the last ones are kept.
    Raises: ValueError for a window below 3 tokens, or `most` below 1.
    """
    if window < 3 or (most is not None and most < 1):
        raise ValueError(f"text_windows: expected window of at least 3 and most of at least 1, got {window} and {most}")
    found = []
    for encoding in tokenizer.encode_batch_fast(list(texts)):
        (first, *body, last), size = encoding.ids, window - 2
        if most is not None and len(body) > most * size:
            ahead = (most + 1) // 2 * size
            body = body[:ahead] + body[len(body) - (most * size - ahead) :]
        parts = [body[i : i + size] for i in range(0, len(body), size)] or [[]]
        found.append([[first, *part, last] for part in parts])
    return found


def window_batch(windows: list[list[list[int]]], pad_id: int, targets: list[int] | None = None) -> Batch:
    """The windows of some texts as one rectangle. Shapes: input_ids, attention_mask (W, T); text (W,), targets (B,).

    `text` says of which text each window is.
    """
    input_ids, attention_mask = pad([ids for parts in windows for ids in parts], pad_id, multiple=16)
    text = torch.repeat_interleave(torch.arange(len(windows)), torch.tensor([len(parts) for parts in windows]))
    labels = {} if targets is None else {"targets": torch.tensor(targets)}
    return {"input_ids": input_ids, "attention_mask": attention_mask, "text": text, **labels}


def window_logits(model: SequenceClassifier, input_ids: Tensor, attention_mask: Tensor, text: Tensor) -> Tensor:
    """Logits of whole texts: the head over the mean of all real tokens of all windows. Shapes: (W, T) -> (B, C).

    A text of one window has the logits that the model gives it alone (mean pooling).
    """
    hidden, mask = model.transformer(input_ids, attention_mask)[0].float(), attention_mask.float()  # bf16 cannot count
    n_texts = int(text.max()) + 1
    sums = hidden.new_zeros(n_texts, hidden.shape[-1]).index_add(0, text, (hidden * mask[:, :, None]).sum(dim=1))
    counts = mask.new_zeros(n_texts).index_add(0, text, mask.sum(dim=1))
    return model.head(model.dropout(sums / counts[:, None]))


@torch.inference_mode()
def predict_window_logits(
    model: SequenceClassifier,
    tokenizer: Tokenizer,
    texts: list[str],
    window: int = WINDOW,
    most: int | None = None,
    batch_size: int = 8,
) -> Tensor:
    """Class logits of texts of any length, in evaluation mode; the model's mode is restored. Shapes: (N, C), CPU, fp32.

    Raises: ValueError for no texts.
    """
    if not texts:
        raise ValueError("predict_window_logits: expected at least one text, got none")
    windows = text_windows(tokenizer, texts, window, most)
    order = np.argsort([sum(map(len, parts)) for parts in windows], kind="stable")
    pad_id, device = tokenizer.token_to_id("[PAD]"), next(model.parameters()).device
    was_training, rows = model.training, []
    model.eval()
    try:
        for i in range(0, len(order), batch_size):
            batch = window_batch([windows[j] for j in order[i : i + batch_size]], pad_id)
            rows.append(window_logits(model, *(t.to(device) for t in batch.values())).float().cpu())
    finally:
        model.train(was_training)
    return torch.cat(rows)[torch.from_numpy(np.argsort(order))]
