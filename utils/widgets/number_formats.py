"""One number in five floating-point formats, bit by bit."""

import math

import torch
import traitlets

from utils.widgets import still
from utils.widgets.base import Explorer, source

FORMATS = {
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16,
    "fp8 e4m3": torch.float8_e4m3fn, "fp8 e5m2": torch.float8_e5m2,
}


class NumberFormatsExplorer(Explorer):
    """The widget; `explore_number_formats` makes it. All arithmetic is in the browser, and equal to torch's casts."""

    _esm = source("number_formats")
    value = traitlets.Float().tag(sync=True)
    saturates = traitlets.Bool().tag(sync=True)

    def says(self) -> str:
        return f"How {self.value!r} is stored in {len(FORMATS)} floating-point formats, and by how much it is rounded."

    def still(self) -> str:
        rows = []
        for name, dtype in FORMATS.items():
            stored = torch.tensor(self.value, dtype=torch.float64).to(dtype).double().item()
            rows.append((name, repr(stored), f"{stored - self.value:.3g}"))
        return still.table(("format", "stored value", "rounding error"), rows)


def explore_number_formats(value: float = 0.1) -> NumberFormatsExplorer:
    """Explore how a number is stored in fp32, bf16, fp16 and two fp8 formats: bits, rounding, spacing and limits.

    The rounding is torch's: to nearest, ties to even, the narrow formats by way of fp32. Raises ValueError when `value`
    is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"value: expected a finite number to start from, got {value!r}; type infinities in the widget")
    # Until torch 2.11 a cast beyond 448 gave NaN, since then it gives 448: the page follows the installed one.
    beyond = torch.tensor(1e4).to(torch.float8_e4m3fn).float()
    return NumberFormatsExplorer(value=float(value), saturates=bool(beyond.isfinite()))
