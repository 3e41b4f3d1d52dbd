"""The figure with an alt text, the palette, the template, and what every chart checks in its arguments.

Nothing here shows a figure: a cell ends with it. A `Figure` carries its alt text in `figure.alt` and hands it on with
every display, as the plain-text form of the output and as a text for screen readers. Paper and plot are transparent and
axes are mid-gray, so that one figure reads well on JupyterLab's light and dark theme.
"""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

# Okabe and Ito's colours, without black and yellow, which vanish on a dark or a light page; the blue a little lighter.
PALETTE = ("#2587C6", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
GRAY = "#7f7f7f"
GRID = "rgba(127,127,127,0.25)"
# Not `responsive`: JupyterLab resizes figures itself, and plotly's way of doing so leaves them without height.
CONFIG = {"displaylogo": False}
# Out of sight, still read aloud: the usual recipe, inline because a page need not have our style sheet.
HIDDEN = ("position:absolute;width:1px;height:1px;margin:-1px;padding:0;overflow:hidden;"
          "clip-path:inset(50%);white-space:nowrap;border:0")


class Figure(go.Figure):
    """A plotly figure with an alt text, which each display hands on to screen readers and to the saved notebook.

    `alt` is one or two sentences that say what the picture shows. Raises ValueError when it is empty.
    """

    def __init__(self, *args, alt: str = "", **kwargs):
        super().__init__(*args, **kwargs)
        if alt:
            self.layout.meta = {"alt": _checked_alt(alt)}

    @property
    def alt(self) -> str:
        """The alt text, or an empty string when the figure has none."""
        return (self.layout.meta or {}).get("alt", "")

    def _repr_mimebundle_(self, include=None, exclude=None, validate=True, **kwargs) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(include, exclude, validate, **kwargs) or {})
        bundle["text/plain"] = f"Figure: {self.alt}"
        if "application/vnd.plotly.v1+json" in bundle:
            spec = bundle["application/vnd.plotly.v1+json"]
            spec["config"] = {**spec.get("config", {}), **CONFIG}
        return bundle

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        bundle = self._repr_mimebundle_()
        display(bundle, raw=True)
        # plotly.js draws no text alternative, so the figure's is a second, invisible output.
        hidden = f'<p style="{HIDDEN}">Figure: {html.escape(self.alt)}</p>'
        display(HTML(hidden))

    def show(self, *args, **kwargs) -> None:
        """Display the figure here, with its alt text; with arguments, plotly's own `show`."""
        if args or kwargs:
            super().show(*args, **kwargs)
        else:
            self._ipython_display_()


def blank(alt: str, title: str, x_title: str, y_title: str, height: int) -> Figure:
    """An empty figure in the course's template; `alt` must say what it will show."""
    figure = Figure(alt=_checked_alt(alt))
    axis = {"gridcolor": GRID, "linecolor": GRAY, "zerolinecolor": GRID, "automargin": True, "tickcolor": GRAY,
            "title": {"standoff": 8, "font": {"size": 13}}}
    figure.update_layout(
        template="none", height=height, colorway=PALETTE,
        title={"text": title, "x": 0.01, "y": 1.0, "yref": "container", "yanchor": "top", "pad": {"t": 12},
               "font": {"size": 15}},
        font={"color": GRAY, "size": 13, "family": "system-ui, sans-serif"}, xaxis=axis, yaxis=axis,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", showlegend=None,
        margin={"l": 60, "r": 24, "t": 44 if title else 20, "b": 48}, hovermode="closest",
        hoverlabel={"bgcolor": "#333333", "font": {"color": "white"}},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 1, "xanchor": "right"})
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure


def _checked_alt(alt: str) -> str:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt: expected a sentence that says what the figure shows, got {alt!r}; write one")
    return " ".join(alt.split())


def some(name: str, mapping: Mapping) -> Mapping:
    """The mapping, if it has an entry. Raises ValueError."""
    if not isinstance(mapping, Mapping) or not mapping:
        raise ValueError(f"{name}: expected a mapping with at least one entry, got {mapping!r}")
    return mapping


def array_of(name: str, values: Any, dims: int) -> np.ndarray:
    """As float64, whatever it came as: a list, an array, or a tensor of any precision on any device."""
    if hasattr(values, "detach"):
        values = values.detach().double().cpu().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dims or array.size == 0:
        raise ValueError(f"{name}: expected {dims} dimension(s) and at least one value, got shape {array.shape}")
    return array


def pair(name: str, first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """Two float64 arrays of one length. Raises ValueError."""
    first, second = array_of(name, first, dims=1), array_of(name, second, dims=1)
    if len(first) != len(second):
        raise ValueError(f"{name}: expected two arrays of one length, got {len(first)} and {len(second)}")
    return first, second


def style(index: int) -> tuple[str, str]:
    """Colour and dash of the series at this place; both differ, so that colour is never the only sign."""
    return PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
