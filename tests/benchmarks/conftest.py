"""Collects what the benchmarks found, and prints it as one table at the end."""

import pytest

from tests.benchmarks.ratios import Contest, Row, table

ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, help="rounds of every benchmark (default: as many as each asks for)")


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def rows(request) -> list[Row]:
    """The table's lines; a benchmark adds its own."""
    return request.config.stash[ROWS]


@pytest.fixture
def race(request, benchmark):
    """Runs a contest for so many rounds, after one that warms up and does not count."""

    def run(contest: Contest, rounds: int) -> Contest:
        contest.round()
        contest.forget()
        benchmark.pedantic(contest.round, rounds=request.config.getoption("--rounds") or rounds, iterations=1)
        return contest

    return run


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(ROWS, [])
    if found:
        terminalreporter.section("the course's own code beside others")
        terminalreporter.write_line(table(found))
