"""Tensors in, plotly figures out: lines, training curves, heatmaps, bars and points, each with an alt text.

Nothing here shows a figure: a cell ends with it. Every function takes lists, arrays or tensors of any precision.
"""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.plots.figure import GRAY, PALETTE, Figure, array_of, blank, pair, some, style

LONGEST_DIRECT_LABEL = 24


def lines(
    series: Mapping[str, tuple[Any, Any]],
    *,
    x_title: str,
    y_title: str,
    alt: str,
    title: str = "",
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    references: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    markers: bool = False,
    height: int = 380,
) -> Figure:
    """Lines by name, each labelled at its end in its own colour.

    `series` maps a name to (x, y), each of shape (N,). `bands` maps some of the names to (lower, upper), each (N,): an
    interval, drawn as a tint. `references` maps a label to a y value: a dashed horizontal line. Points that are not
    finite leave a gap. Raises ValueError when there is no series, lengths differ, or a band has no series.
    """
    data = {name: pair(name, *xy) for name, xy in some("series", series).items()}
    limits = {name: pair(f"band {name}", *low_high) for name, low_high in (bands or {}).items()}
    for name, (lower, _) in limits.items():
        if name not in data or len(lower) != len(data[name][0]):
            raise ValueError(f"bands: expected (lower, upper) as long as a series in {list(data)}, got {name!r} with "
                             f"{len(lower)} points; give each band its series' name and length")
    figure = blank(alt, title, x_title, y_title, height)
    for index, (name, (x, y)) in enumerate(data.items()):
        color, dash = style(index)
        if name in limits:
            _add_band(figure, name, x, limits[name], color)
        figure.add_scatter(x=x, y=y, name=name, mode="lines+markers" if markers else "lines",
                           line={"color": color, "dash": dash, "width": 2}, marker={"size": 7})
    for label, value in (references or {}).items():
        figure.add_hline(y=float(value), line={"color": GRAY, "dash": "dot", "width": 1.5},
                         annotation={"text": label, "font": {"color": GRAY, "size": 12}, "xanchor": "right",
                                     "x": 0.99, "yanchor": "bottom"})
    _scale(figure, data, limits, references or {}, log_x, log_y)
    _label_ends(figure, data, log_x, log_y, height)
    return figure


def loss_curve(
    step: Any,
    loss: Any,
    *,
    alt: str,
    title: str = "",
    held_out: tuple[Any, Any] | None = None,
    background: Mapping[str, tuple[Any, Any]] | None = None,
    references: Mapping[str, float] | None = None,
    window: int = 20,
    log_x: bool = False,
    height: int = 380,
) -> Figure:
    """A training run: each step's loss as a faint line, its running mean, held-out points and reference lines.

    `step`, `loss`: (N,), losses in nats. `held_out`: (step, loss), each (M,). `background` maps names to other runs'
    (step, loss). `references` maps a label to a loss. `window`: steps in the running mean.
    Raises ValueError when lengths differ or `window` is below 1.
    """
    if window < 1:
        raise ValueError(f"window: expected at least 1 step, got {window}")
    step, loss = pair("loss", step, loss)
    series = {"training": (step, _running_mean(loss, window)), **(background or {})}
    figure = lines(series, x_title="step", y_title="loss (nats per token)", alt=alt, title=title,
                   references=references, log_x=log_x, height=height)
    figure.update_traces(showlegend=bool(figure.layout.showlegend))
    color = figure.data[0].line.color
    figure.add_scatter(x=step, y=loss, mode="lines", opacity=0.3, showlegend=False, hoverinfo="skip", name="each step",
                       line={"color": color, "width": 1})
    if held_out is not None:
        x, y = pair("held_out", *held_out)
        figure.add_scatter(x=x, y=y, mode="markers", name="held out", showlegend=True,
                           marker={"size": 9, "symbol": "diamond", "color": PALETTE[3]})
        figure.update_layout(showlegend=True)
    drawn = {trace.name: (trace.x, trace.y) for trace in figure.data}
    _scale(figure, drawn, {}, references or {}, log_x, log_y=False)
    return figure


def heatmap(
    matrix: Any,
    *,
    alt: str,
    title: str = "",
    x_labels: Sequence[str] | None = None,
    y_labels: Sequence[str] | None = None,
    x_title: str = "",
    y_title: str = "",
    value_title: str = "",
    diverging: bool = False,
    show_values: bool | None = None,
    height: int | None = None,
) -> Figure:
    """A matrix in colours, the first row on top; small matrices also show their numbers, counts as counts.

    `matrix`: (rows, columns); an entry that is not finite stays blank. `diverging`: colours run both ways from 0.
    `show_values`: None means for at most 12 by 12. Labels may repeat. Raises ValueError when shapes do not fit.
    """
    matrix = array_of("matrix", matrix, dims=2)
    rows, columns = matrix.shape
    for name, labels, count in (("x_labels", x_labels, columns), ("y_labels", y_labels, rows)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{name}: expected {count} labels for a matrix of shape {matrix.shape}, got {len(labels)}")
    figure = blank(alt, title, x_title, y_title, height or int(np.clip(120 + 26 * rows, 260, 560)))
    finite = np.where(np.isfinite(matrix), matrix, np.nan)
    extreme = float(np.nanmax(np.abs(finite))) if np.isfinite(finite).any() else 1.0
    gap = 1 if max(rows, columns) <= 30 else 0
    values = max(rows, columns) <= 12 if show_values is None else show_values
    whole = bool(np.all(np.isnan(finite) | (finite == np.round(finite))))
    figure.add_heatmap(
        z=finite, colorscale="RdBu_r" if diverging else "Cividis", hoverongaps=False,
        xgap=gap, ygap=gap,
        zmin=-extreme if diverging else None, zmax=extreme if diverging else None,
        texttemplate=("%{z:.0f}" if whole else "%{z:.2f}") if values else None, textfont={"size": 12},
        hovertemplate=f"{y_title or 'row'} %{{y}}<br>{x_title or 'column'} %{{x}}<br>%{{z:.4g}}<extra></extra>",
        colorbar={"title": {"text": value_title, "side": "right", "font": {"size": 13}}, "thickness": 12,
                  "outlinewidth": 0, "len": 1.0})
    for axis, labels, count in (("xaxis", x_labels, columns), ("yaxis", y_labels, rows)):
        figure.layout[axis].update(showgrid=False, zeroline=False)
        if labels is not None:
            figure.layout[axis].update(tickmode="array", tickvals=list(range(count)), ticktext=list(map(str, labels)))
    # Repeated tokens would fall on one place on a category axis, so the axes count and the ticks name.
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[-0.5, columns - 0.5])
    return figure


def bars(
    labels: Sequence[str],
    values: Any,
    *,
    alt: str,
    title: str = "",
    y_title: str = "",
    errors: Any = None,
    height: int = 340,
) -> Figure:
    """Bars by label, with intervals where they are known.

    `values`: (N,), or a mapping from a group's name to (N,), drawn side by side. `errors`, in the same form:
    half-widths (N,), or bounds (N, 2) as lower and upper ends.
    Raises ValueError when lengths differ or a bound excludes its value.
    """
    groups = dict(values) if isinstance(values, Mapping) else {"": values}
    spans = dict(errors) if isinstance(errors, Mapping) else {"": errors}
    figure = blank(alt, title, "", y_title, height)
    for index, (name, group) in enumerate(some("values", groups).items()):
        group = array_of("values", group, dims=1)
        if len(group) != len(labels):
            raise ValueError(f"values: expected {len(labels)}, one a label, got {len(group)}")
        color = style(index)[0]
        # A pale fill, so that the lower half of an interval is seen on it.
        figure.add_bar(x=[str(label) for label in labels], y=group, name=name,
                       marker={"color": _tint(color, 0.45), "line": {"color": color, "width": 1.5}},
                       error_y=_error_bars(group, spans.get(name)), showlegend=len(groups) > 1)
    if len(groups) == 1:
        ticks = [f"{html.escape(str(label))}<br><b>{value:.3g}</b>" for label, value in zip(labels, group, strict=True)]
        figure.update_xaxes(tickmode="array", tickvals=list(range(len(ticks))), ticktext=ticks)
    figure.update_layout(barmode="group", bargap=0.5 if len(groups) == 1 else 0.3)
    figure.update_xaxes(type="category", showgrid=False)
    return figure


def scatter(
    series: Mapping[str, tuple[Any, Any]],
    *,
    x_title: str,
    y_title: str,
    alt: str,
    title: str = "",
    text: Mapping[str, Sequence[str]] | None = None,
    height: int = 380,
) -> Figure:
    """Points by name.

    `series` maps a name to (x, y), each (N,); `text` maps some names to N labels, drawn at the points.
    Raises ValueError when there is no series or lengths differ.
    """
    figure = blank(alt, title, x_title, y_title, height)
    symbols = ("circle", "diamond", "square", "triangle-up", "cross", "x")
    for index, (name, xy) in enumerate(some("series", series).items()):
        x, y = pair(name, *xy)
        words = (text or {}).get(name)
        if words is not None and len(words) != len(x):
            raise ValueError(f"text: expected {len(x)} labels for {name!r}, got {len(words)}")
        figure.add_scatter(x=x, y=y, name=name, mode="markers" if words is None else "markers+text",
                           text=words, textposition="top center", textfont={"color": GRAY, "size": 12},
                           marker={"color": style(index)[0], "size": 9, "symbol": symbols[index % len(symbols)]},
                           showlegend=len(series) > 1)
    return figure


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of each value and the up to `window` - 1 before it; values that are not finite are left out."""
    finite = np.isfinite(values)
    totals = np.cumsum(np.where(finite, values, 0.0))
    counts = np.cumsum(finite)
    totals[window:] -= totals[:-window].copy()
    counts[window:] -= counts[:-window].copy()
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _add_band(figure: Figure, name: str, x: np.ndarray, limits: tuple[np.ndarray, np.ndarray], color: str) -> None:
    figure.add_scatter(x=np.concatenate([x, x[::-1]]), y=np.concatenate([limits[1], limits[0][::-1]]), fill="toself",
                       mode="lines", fillcolor=_tint(color, 0.2), line={"width": 0}, hoverinfo="skip",
                       name=f"{name}: interval", showlegend=False)


def _tint(color: str, opacity: float) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _error_bars(group: np.ndarray, errors: Any) -> dict | None:
    if errors is None:
        return None
    spans = array_of("errors", errors, dims=np.ndim(errors))
    if spans.shape == group.shape:
        up = down = spans
    elif spans.shape == (len(group), 2):
        down, up = group - spans[:, 0], spans[:, 1] - group
    else:
        raise ValueError(f"errors: expected shape ({len(group)},) or ({len(group)}, 2), got {spans.shape}")
    if (up < 0).any() or (down < 0).any():
        raise ValueError("errors: expected half-widths of at least 0, or bounds (lower, upper) around each value")
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": GRAY, "thickness": 2.5,
            "width": 6}


def _scale(figure: Figure, data: Mapping, limits: Mapping, references: Mapping, log_x: bool, log_y: bool) -> None:
    """Fix the y range, so that labels can be placed, and leave room for reference lines."""
    values = [y for _, y in data.values()] + [y for pair in limits.values() for y in pair] + [list(references.values())]
    values = np.concatenate([np.asarray(each, dtype=np.float64) for each in values])
    values = values[np.isfinite(values) & ((values > 0) if log_y else True)]
    values = np.log10(values) if log_y else values
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.5
    figure.update_yaxes(type="log" if log_y else "linear", range=[low - pad, high + pad])
    steps = np.concatenate([np.asarray(x, dtype=np.float64) for x, _ in data.values()])
    steps = steps[np.isfinite(steps) & ((steps > 0) if log_x else True)]
    steps = np.log10(steps) if log_x else steps
    left, right = (steps.min(), steps.max()) if len(steps) else (0.0, 1.0)
    pad = 0.01 * (right - left) or 0.5
    # The plot ends where the longest line does, so that its label stands in the margin, off the grid.
    figure.update_xaxes(type="log" if log_x else "linear", range=[left - pad, right + pad])


def _label_ends(figure: Figure, data: Mapping, log_x: bool, log_y: bool, height: int) -> None:
    """Name each line at its last point, pushed apart where ends are close; long names go to a legend instead."""
    if len(data) == 1 or len(data) > len(PALETTE) or max(map(len, data)) > LONGEST_DIRECT_LABEL:
        figure.update_layout(showlegend=len(data) > 1)
        return
    low, high = figure.layout.yaxis.range
    ends = []
    for index, (name, (x, y)) in enumerate(data.items()):
        shown = np.flatnonzero(np.isfinite(y) & ((y > 0) if log_y else True) & ((x > 0) if log_x else True))
        if len(shown):
            last = shown[-1]
            ends.append([np.log10(y[last]) if log_y else y[last], name, x[last], style(index)[0]])
    gap = (high - low) * 18 / max(height - 90, 60)
    ends.sort(key=lambda end: end[0])
    for below, above in itertools.pairwise(ends):
        above[0] = max(above[0], below[0] + gap)
    for place, name, x, color in ends:
        figure.add_annotation(text=html.escape(name), x=np.log10(x) if log_x else x, y=place, showarrow=False,
                              xanchor="left", xshift=6, font={"color": color, "size": 13})
    figure.update_layout(showlegend=False, margin_r=24 + 8 * max(map(len, data)))
