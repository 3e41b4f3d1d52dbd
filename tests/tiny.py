"""Tiny models and uneven batches that the tests of training share."""

import torch

from utils.models.config import TransformerConfig
from utils.models.transformer import BERT, GPT

VOCAB_SIZE = 31


def gpt(dropout=0.0, seed=0, d_model=12):
    """A GPT of two layers, the same for the same seed."""
    torch.manual_seed(seed)
    return GPT(TransformerConfig(VOCAB_SIZE, 9, d_model, n_layers=2, n_heads=3, dropout=dropout))


def bert(dropout=0.0, seed=0):
    """A BERT of two layers, the same for the same seed."""
    torch.manual_seed(seed)
    return BERT(TransformerConfig(VOCAB_SIZE, 9, 12, n_layers=2, n_heads=3, n_segments=2, dropout=dropout))


def batch(m, rows=4, T=7):
    """Micro-batch number m: random ids, and targets of which about m % 5 fifths are left out."""
    generator = torch.Generator().manual_seed(1000 + m)
    ids = torch.randint(VOCAB_SIZE, (rows, T + 1), generator=generator)
    targets = ids[:, 1:].clone()
    targets[torch.rand(rows, T, generator=generator) < (m % 5) / 5] = -100
    return {"input_ids": ids[:, :-1], "targets": targets}


def batches(start=0, n=1000, step=1, **sizes):
    """Micro-batches start, start + step, …"""
    return (batch(m, **sizes) for m in range(start, start + n * step, step))


def joined(parts):
    """Several batches as one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def parameters(model):
    """A copy of all parameters, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_close(found, expected, tolerance=1e-6):
    """Two sets of parameters are equal to the tolerance; returns the largest difference."""
    assert found.keys() == expected.keys()
    largest = max(float((found[name] - expected[name]).abs().max()) for name in expected)
    assert largest <= tolerance, largest
    return largest
