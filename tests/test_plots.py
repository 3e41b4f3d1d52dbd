"""Figures: what they draw, what they say to a screen reader, and what they refuse."""

import numpy as np
import plotly.io as pio
import pytest
import torch

from utils.plots import charts
from utils.plots.figure import Figure
from utils.plots.timeline import timeline


def test_lines_take_tensors_and_keep_values():
    x = torch.arange(1, 8)
    y = torch.rand(7, dtype=torch.bfloat16, requires_grad=True)
    figure = charts.lines({"bf16": (x, y), "list": (list(range(3)), [3, 1, 2])}, x_title="d", y_title="v",
                          alt="Two lines.")
    np.testing.assert_allclose(figure.data[0].y, y.detach().float().numpy())
    assert [note.text for note in figure.layout.annotations] and not figure.layout.showlegend


@pytest.mark.parametrize("log", [False, True])
def test_direct_labels_do_not_overlap(log):
    x = np.arange(1, 11)
    series = {f"run {i}": (x, np.linspace(10, 1 + i / 1000, 10)) for i in range(5)}
    figure = charts.lines(series, x_title="step", y_title="loss", alt="Five runs.", log_x=log, log_y=log)
    places = sorted(note.y for note in figure.layout.annotations)
    low, high = figure.layout.yaxis.range
    assert len(places) == 5
    assert min(np.diff(places)) >= 0.99 * (high - low) * 18 / 290
    assert {note.x for note in figure.layout.annotations} == {1.0 if log else 10}


def test_band_encloses_its_line_and_needs_one():
    x, y = np.arange(5), np.arange(5.0)
    figure = charts.lines({"a": (x, y)}, bands={"a": (y - 1, y + 1)}, x_title="", y_title="", alt="A band.")
    assert figure.data[0].mode == "lines"  # few points would otherwise be drawn as markers
    assert max(figure.data[0].y) == 5 and min(figure.data[0].y) == -1 and figure.layout.yaxis.range[1] > 5
    with pytest.raises(ValueError, match="bands"):
        charts.lines({"a": (x, y)}, bands={"b": (y, y)}, x_title="", y_title="", alt="A band.")


def test_loss_curve_means_and_references():
    step = np.arange(1, 101)
    loss = np.where(step == 50, np.inf, 8.0 - step / 50)
    figure = charts.loss_curve(step, loss, alt="The loss falls.", held_out=([50, 100], [7.5, 6.5]),
                               references={"unigram entropy": 6.2}, background={"shipped": ([1, 400], [9.0, 4.0])})
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"shipped", "training", "each step", "held out"}
    expected = np.mean([value for value in loss[30:50] if np.isfinite(value)])
    assert traces["training"].y[49] == pytest.approx(expected, abs=1e-12)
    low, high = figure.layout.yaxis.range
    assert low < 4.0 and high > 9.0 and len(figure.layout.shapes) == 1


def test_heatmap_counts_cells_and_names_them():
    matrix = torch.randn(3, 5)
    matrix[0, 1] = float("-inf")
    figure = charts.heatmap(matrix, alt="Scores.", x_labels=["a", "the", "a", "b", "c"], y_labels=["x", "y", "z"],
                            diverging=True)
    cells = figure.data[0]
    assert np.isnan(np.asarray(cells.z)[0, 1]) and cells.zmin == -cells.zmax
    assert list(figure.layout.xaxis.ticktext) == ["a", "the", "a", "b", "c"]
    assert figure.layout.yaxis.autorange == "reversed" and cells.texttemplate


@pytest.mark.parametrize(
    "matrix, expected", [([[3, 0]], "%{z:.0f}"), ([[0.5, 1]], "%{z:.2f}"), ([[2, np.nan]], "%{z:.0f}")]
)
def test_heatmap_shows_counts_as_counts(matrix, expected):
    assert charts.heatmap(matrix, alt="x").data[0].texttemplate == expected


def test_bars_with_half_widths_and_bounds():
    values = np.array([0.5, 0.7])
    half = charts.bars(["a", "b"], values, errors=[0.1, 0.2], alt="Two bars.")
    bounds = charts.bars(["a", "b"], {"x": values, "y": values}, errors={"x": [[0.4, 0.7], [0.6, 0.9]]},
                         alt="Four bars.")
    np.testing.assert_allclose(half.data[0].error_y.array, [0.1, 0.2])
    np.testing.assert_allclose(bounds.data[0].error_y.arrayminus, [0.1, 0.1])
    np.testing.assert_allclose(bounds.data[0].error_y.array, [0.2, 0.2])
    assert bounds.data[1].error_y.array is None and bounds.data[1].showlegend


def test_scatter_labels_points():
    figure = charts.scatter({"p": ([1, 2], [3, 4])}, text={"p": ["one", "two"]}, x_title="x", y_title="y",
                            alt="Two points.")
    assert list(figure.data[0].text) == ["one", "two"]


def test_alt_text_reaches_every_display(monkeypatch):
    figure = charts.lines({"a": ([1, 2], [3, 4])}, x_title="x", y_title="y", alt="The line <a> rises.")
    monkeypatch.setattr(pio.renderers, "default", "plotly_mimetype")
    bundle = figure._repr_mimebundle_()
    assert bundle["text/plain"] == "Figure: The line <a> rises."
    spec = bundle["application/vnd.plotly.v1+json"]
    assert spec["layout"]["meta"]["alt"] == figure.alt and spec["config"]["displaylogo"] is False
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda item, **how: shown.append(item))
    figure.show()
    assert shown[0]["text/plain"] == bundle["text/plain"]
    assert "The line &lt;a&gt; rises." in shown[1].data and "clip-path" in shown[1].data


def test_page_colours_are_left_to_the_theme():
    figure = charts.bars(["a"], [1.0], alt="One bar.")
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert isinstance(figure, Figure) and isinstance(figure.update_layout(height=300), Figure)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: charts.lines({}, x_title="", y_title="", alt="x"), "series: expected a mapping with at least one"),
        (lambda: charts.lines({"a": ([1], [1, 2])}, x_title="", y_title="", alt="x"), "one length, got 1 and 2"),
        (lambda: charts.lines({"a": ([1], [1])}, x_title="", y_title="", alt=" "), "alt: expected a sentence"),
        (lambda: charts.heatmap([1, 2], alt="x"), "matrix: expected 2 dimension"),
        (lambda: charts.heatmap([[1, 2]], alt="x", x_labels=["a"]), "x_labels: expected 2 labels"),
        (lambda: charts.bars(["a"], [1, 2], alt="x"), "values: expected 1"),
        (lambda: charts.bars(["a"], [1], errors=[[2, 3]], alt="x"), "errors: expected half-widths"),
        (lambda: charts.loss_curve([1], [1], alt="x", window=0), "window: expected at least 1"),
        (lambda: charts.scatter({"a": ([1], [1])}, text={"a": []}, x_title="", y_title="", alt="x"), "text: exp"),
    ],
)
def test_bad_input_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_timeline_draws_each_bar_where_and_as_long_as_it_was():
    lanes = {"a": [("mm", 0.0, 2.0), ("add", 2.5, 3.0)], "b": [("mm", 1.0, 4.0)]}
    figure = timeline(lanes, alt="Three bars.", colors={"mm": 1})
    drawn = {(y, name, base, x) for trace in figure.data
             for y, name, base, x in zip(trace.y, trace.text, trace.base, trace.x, strict=True)}
    assert drawn == {("a", "mm", 0.0, 2.0), ("a", "add", 2.5, 0.5), ("b", "mm", 1.0, 3.0)}
    assert [trace.name for trace in figure.data if trace.showlegend] == ["mm"]
    for wrong in ({}, {"a": []}, {"a": [("mm", 2.0, 1.0)]}):
        with pytest.raises(ValueError, match="lanes"):
            timeline(wrong, alt="Nothing.")
