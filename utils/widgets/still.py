"""Still pictures as small SVG and HTML, without scripts, for places where a widget cannot run."""

import html
from collections.abc import Mapping, Sequence

import numpy as np

BLUE, GRAY = "#2587C6", "#7f7f7f"
COLORS = (BLUE, "#D55E00", "#009E73", "#C06A98", GRAY)
FONT = f'font-family="system-ui, sans-serif" font-size="12" fill="{GRAY}"'


def _svg(width: int, height: int, says: str, body: str) -> str:
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%;height:auto" role="img" '
            f'aria-label="{html.escape(says, quote=True)}" {FONT}>{body}</svg>')


def word(token: str) -> str:
    """A token as it is drawn: spaces and line ends made visible."""
    return token.replace(" ", "·").replace("\n", "↵") or "∅"


def grid(weights: np.ndarray, labels: Sequence[str], says: str) -> str:
    """A matrix (T, T) of values from 0 up as squares (colour: its square root), with the same labels on both sides."""
    count, cell, left, top = len(labels), 18, 90, 80
    peak = max(float(weights.max()), 1e-9)
    squares = "".join(
        f'<rect x="{left + cell * s}" y="{top + cell * t}" width="{cell - 1}" height="{cell - 1}" fill="{BLUE}" '
        f'fill-opacity="{np.sqrt(weights[t, s] / peak):.2f}"/>'
        for t in range(count) for s in range(count) if weights[t, s] > peak / 200)
    names = "".join(
        f'<text x="{left - 6}" y="{top + cell * i + 13}" text-anchor="end">{label}</text>'
        f'<text transform="translate({left + cell * i + 13} {top - 6}) rotate(-60)">{label}</text>'
        for i, label in enumerate(html.escape(word(label)[:12]) for label in labels))
    return _svg(left + cell * count + 60, top + cell * count + 8, says, squares + names)


def bars(labels: Sequence[str], values: Sequence[float], says: str) -> str:
    """Shares from 0 to 1 by label, as lying bars with their percentages."""
    peak = max(max(values, default=0.0), 1e-9)
    rows = "".join(
        f'<text x="112" y="{20 * i + 15}" text-anchor="end">{html.escape(word(label)[:16])}</text>'
        f'<rect x="120" y="{20 * i + 3}" width="{300 * value / peak:.1f}" height="15" fill="{BLUE}"/>'
        f'<text x="{126 + 300 * value / peak:.1f}" y="{20 * i + 15}">{100 * value:.1f}&#8201;%</text>'
        for i, (label, value) in enumerate(zip(labels, values, strict=True)))
    return _svg(500, 20 * len(labels) + 6, says, rows)


def curves(runs: Mapping[str, tuple[Sequence[float], Sequence[float]]], says: str) -> str:
    """Lines by name over one pair of axes; only the ends of the axes are numbered."""
    points = {name: np.asarray(run, dtype=float) for name, run in runs.items() if len(run[0])}
    finite = [run[:, np.isfinite(run).all(axis=0)] for run in points.values()]
    if not any(run.size for run in finite):
        return f"<p>{html.escape(says)}</p>"
    merged = np.concatenate(finite, axis=1)
    low, high = merged.min(axis=1), merged.max(axis=1)
    span = np.where(high > low, high - low, 1.0)
    body = f'<path d="M50 10V230H580" fill="none" stroke="{GRAY}"/>'
    for index, (name, run) in enumerate(points.items()):
        color = COLORS[index % len(COLORS)]
        run = run[:, np.isfinite(run).all(axis=0)]
        if run.shape[1]:
            x, y = 50 + 530 * (run[0] - low[0]) / span[0], 230 - 220 * (run[1] - low[1]) / span[1]
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
            body += (f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
                     f'<text x="580" y="{20 + 16 * index}" text-anchor="end" fill="{color}">{html.escape(name)}</text>')
    for x, y, anchor, number in ((44, 20, "end", f"{high[1]:.2f}"), (44, 230, "end", f"{low[1]:.2f}"),
                                 (50, 246, "start", f"{low[0]:.0f}"), (580, 246, "end", f"{high[0]:.0f}")):
        body += f'<text x="{x}" y="{y}" text-anchor="{anchor}">{number}</text>'
    return _svg(600, 252, says, body)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table; every cell is escaped."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in header)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
