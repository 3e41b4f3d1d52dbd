"""How long the course's spelled-out attention takes beside PyTorch's fused kernel."""

import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.ratios import Contest, Row
from utils.models.attention import attend, causal_mask


@pytest.mark.parametrize("n_queries", [64, 256])
def test_attention(race, rows, n_queries):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 8, 8, n_queries, 32)  # each (B, H, T, Dh)
    mask = causal_mask(n_queries)
    contest = Contest(
        {
            "ours": lambda: attend(q, k, v, mask),
            "fused": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        }
    )
    race(contest, rounds=100)
    rows.append(Row(f"attend, {n_queries} queries", "PyTorch's fused kernel", contest.ratios("ours", "fused")))
