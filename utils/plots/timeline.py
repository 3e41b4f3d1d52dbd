"""A timeline: what ran when, as bars on one axis of time."""

import html
from collections.abc import Mapping, Sequence

from utils.plots.figure import Figure, blank, some, style


def timeline(
    lanes: Mapping[str, Sequence[tuple[str, float, float]]],
    *,
    alt: str,
    title: str = "",
    x_title: str = "time (milliseconds)",
    height: int | None = None,
    colors: Mapping[str, int] | None = None,
) -> Figure:
    """Bars from start to end, in one lane a key; each bar is (name, start, end) and tells its name when pointed at.

    `colors` gives a name its place in the palette, and a legend; names without one take their lane's.
    Raises ValueError when there is no lane, no bar at all, or a bar that ends before it starts.
    """
    names = list(some("lanes", lanes))
    if not any(lanes.values()):
        raise ValueError("lanes: expected at least one bar, got none")
    figure = blank(alt, title, x_title, "", height or 90 + 46 * len(names))
    groups: dict[tuple[int, str], list[tuple[str, str, float, float]]] = {}
    for index, lane in enumerate(names):
        for name, start, end in lanes[lane]:
            if end < start:
                raise ValueError(f"lanes: expected bars that end after they start, got {name!r} from {start} to {end}")
            known = colors is not None and name in colors
            group = (colors[name], name) if known else (index, "")
            groups.setdefault(group, []).append((lane, name, start, end))
    for (place, label), bars in groups.items():
        figure.add_bar(
            y=[html.escape(lane) for lane, *_ in bars], x=[end - start for *_, start, end in bars],
            base=[start for _, _, start, _ in bars], orientation="h", name=label, showlegend=bool(label),
            marker={"color": style(place)[0], "line": {"width": 0}},
            text=[html.escape(name) for _, name, _, _ in bars], textposition="none",
            hovertemplate="%{text}<br>%{x:.3g} ms from %{base:.3f}<extra></extra>")
    figure.update_layout(barmode="overlay", bargap=0.35)
    figure.update_yaxes(autorange="reversed", type="category", categoryorder="array",
                        categoryarray=[html.escape(name) for name in names], showgrid=False)
    return figure
