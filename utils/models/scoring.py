"""Scoring: the log-probability that a causal model gives to each token of a document of any length."""

import numpy as np
import torch
from torch import nn


@torch.inference_mode()
def token_log_probs(model: nn.Module, tokens: np.ndarray, separator: int, stride: int | None = None) -> np.ndarray:
    """Natural log-probability of each token given those before it; the document begins behind `separator`.

    A document longer than the context is read through windows that overlap by context_length - stride tokens; each
    token is
    scored once, in the first window that reaches it. Shapes: tokens (T,) -> (T,) float64.
    Raises: ValueError for an empty document or a stride that is not from 1 to context_length.
    """
    context = model.config.context_length
    stride = context // 2 if stride is None else stride
    if len(tokens) == 0 or not 1 <= stride <= context:
        raise ValueError(
            f"token_log_probs: expected a token and a stride from 1 to {context}, got {len(tokens)} tokens and "
            f"stride {stride}"
        )
    device = next(model.parameters()).device
    ids = torch.cat([torch.tensor([separator]), torch.as_tensor(np.asarray(tokens, dtype=np.int64))]).to(device)
    scores, done, start = [], 0, 0
    while done < len(tokens):
        window = ids[start : start + context + 1]
        log_probs = model(window[None, :-1]).float().log_softmax(dim=-1)[0]  # (window - 1, V)
        found = log_probs.gather(1, window[1:, None])[:, 0]
        scores.append(found[done - start :])
        done = start + len(window) - 1
        start += stride
    return torch.cat(scores).double().cpu().numpy()
