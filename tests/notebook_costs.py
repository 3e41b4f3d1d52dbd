"""pytest plugin: the seconds and the peak memory of every notebook, in one table and in build/notebooks.json.

A thread samples the process tree of the kernel while nbval runs a notebook. A notebook over the memory limit fails the
run; one over the time limit is only reported, because seconds depend on the machine. `pytest -p tests.notebook_costs`
switches it on.
"""

import json
import sys
import threading
from collections import defaultdict
from pathlib import Path

import psutil
import pytest

MEMORY_LIMIT = 1.5e9  # bytes, of the whole process tree
TIME_LIMIT = 180.0  # seconds
INTERVAL = 0.2  # seconds between samples
RESULTS = Path(__file__).resolve().parents[1] / "build" / "notebooks.json"


def peak_of(process: psutil.Process) -> int:
    """The peak resident memory of one process in bytes, the kernel's own record where it keeps one."""
    if sys.platform == "linux":
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return process.memory_info().rss


def tree_memory(processes: list[psutil.Process]) -> int:
    """Bytes that a process tree holds: private pages of all, and shared pages once, as a container counts them."""
    private, shared = 0, 0
    for process in processes:
        try:
            if len(processes) == 1:
                return peak_of(process)
            memory = process.memory_full_info()
        except (psutil.Error, OSError):
            continue
        private += memory.uss
        shared = max(shared, memory.rss - memory.uss)
    return private + shared


class Sampler(threading.Thread):
    """Watches this process's children, which are the kernel of the notebook in hand and what it starts."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0
        self.stopping = threading.Event()

    def run(self):
        """Sample until `stopping` is set."""
        me = psutil.Process()
        while not self.stopping.wait(INTERVAL):
            self.peak = max(self.peak, tree_memory(me.children(recursive=True)))


class Measure:
    """Runs where the notebooks run (a worker, or pytest itself): attaches the peak so far to every report."""

    def __init__(self):
        self.notebook = None
        self.sampler = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        """A new notebook gets a new sampler."""
        if item.path != self.notebook:
            self.pytest_sessionfinish()
            self.notebook, self.sampler = item.path, Sampler()
            self.sampler.start()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        """Hand the peak on; under xdist a report's properties travel to the main process."""
        report = yield
        report.user_properties.append(("peak_bytes", self.sampler.peak))
        return report

    def pytest_sessionfinish(self):
        """Stop watching."""
        if self.sampler:
            self.sampler.stopping.set()
            self.sampler.join()


class Collect:
    """Runs in the main process: adds the reports up, prints the table, writes the file, judges the memory."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.peak = defaultdict(int)
        self.failed = defaultdict(int)

    def pytest_runtest_logreport(self, report):
        """Add one report to its notebook."""
        notebook = report.nodeid.split("::")[0]
        self.seconds[notebook] += report.duration
        self.failed[notebook] += report.failed
        for name, value in report.user_properties:
            if name == "peak_bytes":
                self.peak[notebook] = max(self.peak[notebook], value)

    def too_large(self) -> list[str]:
        """The notebooks over the memory limit."""
        return [notebook for notebook in sorted(self.peak) if self.peak[notebook] > MEMORY_LIMIT]

    def pytest_sessionfinish(self, session):
        """Write the results; too much memory fails the run."""
        rows = [
            {
                "notebook": notebook,
                "seconds": round(self.seconds[notebook], 1),
                "peak_mb": round(self.peak[notebook] / 1e6),
                "failed_cells": self.failed[notebook],
            }
            for notebook in sorted(self.seconds)
        ]
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        if self.too_large() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """Print one line a notebook."""
        terminalreporter.section("notebooks: minutes and peak memory of the process tree")
        for notebook in sorted(self.seconds):
            seconds, peak = self.seconds[notebook], self.peak[notebook]
            note = f"  FAILED in {self.failed[notebook]} cells" if self.failed[notebook] else ""
            note += f"  OVER {MEMORY_LIMIT / 1e6:.0f} MB" if peak > MEMORY_LIMIT else ""
            note += f"  warning: over {TIME_LIMIT:.0f} s" if seconds > TIME_LIMIT else ""
            terminalreporter.write_line(f"{notebook:<48}{seconds / 60:6.2f} min{peak / 1e6:8.0f} MB{note}")
        if self.too_large():
            terminalreporter.write_line("Too much memory: take a smaller model or batch.", red=True)


def pytest_configure(config):
    """Measure in the process that runs notebooks, collect in the one that reports."""
    is_worker = hasattr(config, "workerinput")
    if is_worker or not config.getoption("numprocesses", None):
        config.pluginmanager.register(Measure(), "measure-notebooks")
    if not is_worker:
        config.pluginmanager.register(Collect(), "collect-notebooks")
