"""How long the course's attention takes beside PyTorch's. `make bench` prints the table; speed is never asserted."""

import pytest
import torch
import torch.nn.functional as F

from utils.models.attention import attend, causal_mask


def torch_attend(q, k, v, mask):
    """PyTorch's fused attention, with the same mask."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.mark.parametrize("n_queries", [64, 256])
@pytest.mark.parametrize("function", [attend, torch_attend])
def test_attention(benchmark, function, n_queries):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 8, 8, n_queries, 32)  # each (B, H, T, Dh)
    benchmark(function, q, k, v, causal_mask(n_queries))
