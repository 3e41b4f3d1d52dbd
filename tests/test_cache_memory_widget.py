"""The explorer of the cache's memory: its formula equals Python's and the bytes of real caches."""

import itertools

import pytest
import torch

from tests.test_widgets import needs_node, run_js
from utils.models.attention import KVCache, cache_bytes
from utils.models.config import TransformerConfig
from utils.models.transformer import GPT
from utils.widgets import base, cache_memory


@needs_node
def test_the_formula_in_the_browser_equals_pythons(tmp_path):
    sizes = list(itertools.product([1, 6, 96], [1, 8], [16, 128], [1, 513, 2**17], [1, 1024], [1, 2, 4]))
    names = ("layers", "kvHeads", "headDim", "tokens", "batch", "bytes")
    data = [dict(zip(names, size, strict=True)) for size in sizes]
    found = run_js("cache_memory", "return data.map(cacheBytes);", data, tmp_path)
    assert found == [cache_bytes(*size) for size in sizes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_formula_equals_the_bytes_of_a_real_cache(dtype):
    for n_kv_heads in (6, 3, 1):
        config = TransformerConfig(53, 29, 24, n_layers=3, n_heads=6, n_kv_heads=n_kv_heads)
        cache = KVCache()
        GPT(config).to(dtype)(torch.zeros(5, 17, dtype=torch.long), cache=cache)
        assert cache.n_bytes == cache_bytes(3, n_kv_heads, 4, 17, batch_size=5, bytes_per_number=dtype.itemsize)


@needs_node
def test_sizes_and_divisors_are_read_off_right(tmp_path):
    code = "return [data.map(sized), [1, 12, 96].map(divisors), Object.keys(HEADS).map((i) => HEADS[i])];"
    numbers = [0, 1, 1023, 1024, 12.5 * 2**20, 512 * 2**20, 3 * 2**30, 2**43]
    words, divisors, heads = run_js("cache_memory", code, numbers, tmp_path)
    assert words == ["0 B", "1 B", "1023 B", "1.00 KiB", "12.5 MiB", "512 MiB", "3.00 GiB", "8.00 TiB"]
    assert divisors[:2] == [[1], [1, 2, 3, 4, 6, 12]]
    assert {model[1] for model in cache_memory.MODELS.values()} <= set(heads)


@needs_node
def test_sizes_that_are_no_models_have_no_name(tmp_path):
    models = {name: list(sizes) for name, sizes in cache_memory.MODELS.items()}
    sizes = [model[:4] for model in models.values()] + [[5, 7, 7, 64]]
    code = "return data.sizes.map((sizes) => nameOf(data.models, sizes));"
    assert run_js("cache_memory", code, {"models": models, "sizes": sizes}, tmp_path) == [*models, ""]


def test_says_what_it_shows_and_refuses_a_model_it_does_not_know():
    explorer = cache_memory.explore_cache_memory("GPT-2 small")
    assert "36.0 MiB for one text of 1,024 tokens" in explorer.says() and "<table>" in explorer.still()
    assert explorer._esm == base.source("cache_memory") and "https:" not in explorer._esm
    with pytest.raises(ValueError, match="expected one of .* got 'GPT-9'"):
        cache_memory.explore_cache_memory("GPT-9")
