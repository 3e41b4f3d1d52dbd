"""The arithmetic behind the table of `make bench`; no time is asserted."""

import numpy as np
import pytest

from tests.benchmarks.ratios import Contest, Row, table


def row(values, aim=None, unit="×"):
    return Row("ours", "theirs", tuple(values), aim, unit)


def test_the_middle_is_the_median_of_paired_ratios():
    contest = Contest({"ours": lambda: 2.0, "theirs": iter([3.0, 5.0, 40.0]).__next__})
    for _ in range(3):
        contest.round()
    assert contest.ratios("ours", "theirs") == (1.5, 2.5, 20.0)
    assert row(contest.ratios("ours", "theirs")).interval[0] == 2.5


def test_the_interval_is_that_of_all_resamples():
    """Of three values, 27 samples can be drawn: their medians' quantiles are known exactly."""
    values = np.array([1.0, 2.0, 4.0])
    draws = np.stack(np.meshgrid(*[values] * 3)).reshape(3, -1)
    low, high = np.quantile(np.median(draws, axis=0), [0.025, 0.975])
    assert row(values).interval == (2.0, low, high)
    assert row([3.0]).interval == (3.0, 3.0, 3.0)


def test_the_interval_narrows_with_more_rounds():
    generator = np.random.default_rng(0)
    few, many = (row(generator.normal(1, 0.1, n)).interval for n in (8, 200))
    assert few[2] - few[1] > many[2] - many[1] and many[1] < 1 < many[2]


@pytest.mark.parametrize(
    "values, aim, unit, verdict",
    [
        ([1.2, 1.3, 1.25], 1.15, "×", "met"),
        ([1.0, 1.1, 1.05], 1.15, "×", "missed"),
        ([1.0, 1.3, 1.2], 1.15, "×", "open: the interval holds the aim"),
        ([4.0, 4.1, 4.2], 20, "s", "met"),
        ([24.0, 24.1, 24.2], 20, "s", "missed"),
        ([15.0, 24.1, 24.2], 20, "s", "open: the interval holds the aim"),
        ([1.0, 2.0], None, "×", ""),
    ],
)
def test_the_verdict_says_whether_the_whole_interval_meets_the_aim(values, aim, unit, verdict):
    assert row(values, aim, unit).verdict == verdict


def test_contenders_take_turns_in_an_order_that_rotates():
    calls = []
    contest = Contest({name: lambda name=name: calls.append(name) for name in "abc"})
    for _ in range(4):
        contest.round()
    assert "".join(calls) == "abcbcacababc"
    assert all(len(seconds) == 4 and min(seconds) >= 0 for seconds in contest.seconds.values())
    contest.forget()
    assert contest.seconds == {"a": [], "b": [], "c": []}


def test_the_table_states_aim_spread_and_hardware():
    text = table([row([1.2, 1.3, 1.25], 1.15), row([4.0, 4.1], 20, "s"), row([0.5, 0.6])])
    assert "thread" in text and "torch" in text
    lines = [line.split("  ") for line in text.splitlines()[-3:]]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["ours", "theirs", "1.25 ×", "1.20 to 1.30", "3", "at least 1.15 ×", "met"]
    assert cells[1][3:] == ["4.0 to 4.1", "2", "at most 20 s", "met"]
    assert cells[2][2:] == ["0.55 ×", "0.50 to 0.60", "2"]
