"""Memory of the key-value cache against the length of the context, for any model's sizes."""

import traitlets

from utils.models.attention import cache_bytes
from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

# Layers, heads, key-value heads, head width, context in training; from the released configurations and, for GPT-3,
# Brown et al. 2020, table 2.1.
MODELS = {
    "reviews-gpt": (6, 4, 4, 64, 512),
    "GPT-2 small": (12, 12, 12, 64, 1024),
    "Llama 3 8B": (32, 32, 8, 128, 8192),
    "Llama 2 70B": (80, 64, 8, 128, 4096),
    "GPT-3 175B": (96, 96, 96, 128, 2048),
}
PRECISIONS = {"fp32": 4, "bf16": 2, "int8": 1}


class CacheMemoryExplorer(Explorer):
    """The widget; `explore_cache_memory` makes it. All arithmetic is in the browser, and equal to `cache_bytes`."""

    _esm = source("cache_memory")
    _css = Explorer._css + (FOLDER / "cache_memory.css").read_text(encoding="utf-8")
    models = traitlets.Dict().tag(sync=True)
    precisions = traitlets.Dict().tag(sync=True)
    start = traitlets.Unicode().tag(sync=True)

    def says(self) -> str:
        layers, heads, kv_heads, head_dim, context = MODELS[self.start]
        size = cache_bytes(layers, kv_heads, head_dim, context, bytes_per_number=2)
        return (
            f"The cache of {self.start} ({layers} layers, {heads} heads, {kv_heads} key-value heads of width "
            f"{head_dim}) holds {size / 2**20:,.1f} MiB for one text of {context:,} tokens in bf16."
        )

    def still(self) -> str:
        rows = [
            (name, *map(str, (layers, heads, kv, n)),
             f"{cache_bytes(layers, kv, dim, n, bytes_per_number=2) / 2**20:,.1f}")
            for name, (layers, heads, kv, dim, n) in MODELS.items()
        ]
        header = ("model", "layers", "heads", "key-value heads", "context", "MiB a text at that context, bf16")
        return still.table(header, rows)


def explore_cache_memory(start: str = "reviews-gpt") -> CacheMemoryExplorer:
    """Explore the cache's memory: layers, heads, key-value heads, head width, precision, context and batch.

    Raises: ValueError for a model that is not known.
    """
    if start not in MODELS:
        raise ValueError(f"start: expected one of {tuple(MODELS)}, got {start!r}")
    return CacheMemoryExplorer(models=MODELS, precisions=PRECISIONS, start=start)
