"""Where a step's time and memory go: PyTorch's profiler around a step in its three phases, as tables and series."""

import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile, record_function

from utils.data.batches import Batch
from utils.training.objectives import Objective, count_targets

PHASES = ("forward", "backward", "optimizer")


@dataclass(frozen=True)
class Span:
    """One operation of a step: its name, the phase it belongs to, and when it ran, in milliseconds from the start."""

    name: str
    phase: str
    start: float
    end: float

    @property
    def milliseconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True)
class StepProfile:
    """A profiled step: times by operation, the spans, and the bytes of tensors in use after each change.

    `averages` is what the profiler's `key_averages()` gave (the profiler itself holds a hundred times as much). `times`
    in milliseconds and `bytes` (both of one length) count from the start of the step.
    """

    averages: EventList
    phases: list[Span]
    spans: list[Span]
    times: list[float]
    bytes: list[int]

    def table(self, rows: int = 10) -> str:
        """The operations that took longest by themselves, as PyTorch's profiler prints them."""
        return self.averages.table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=42)

    def bytes_at(self, moment: float) -> int:
        """Bytes in use at a moment, in milliseconds."""
        before = [held for time, held in zip(self.times, self.bytes, strict=True) if time <= moment]
        return before[-1] if before else 0

    @property
    def peak(self) -> int:
        """Most bytes in use at any time, over those in use at the start."""
        return max(self.bytes, default=0)


def profile_step(
    model: nn.Module, objective: Objective, batch: Batch, optimizers: Sequence[torch.optim.Optimizer] = ()
) -> StepProfile:
    """Profile one training step on the CPU: forward, backward, and the optimizers' updates.

    The gradients are cleared before and after, so that they show as memory that the step took.
    Raises: ValueError for a batch without targets.
    """
    count = count_targets(batch)
    if count == 0:
        raise ValueError("profile: expected at least one target, got none; every target is -100")

    def step() -> None:
        with record_function("phase: forward"):
            loss = objective(model, batch)[0] / count
        with record_function("phase: backward"):
            loss.backward()
        with record_function("phase: optimizer"):
            for optimizer in optimizers:
                optimizer.step()

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler notes on stderr when it starts and stops
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    model.zero_grad(set_to_none=True)
    return _read(profiler)


def _read(profiler: profile) -> StepProfile:
    """Phases, outermost operations and memory from the profiler's events."""
    events = sorted(profiler.events(), key=lambda event: (event.time_range.start, -event.time_range.end))
    marks = [event for event in events if event.name.startswith("phase: ")]
    zero = marks[0].time_range.start

    def span(event, phase: str) -> Span:
        return Span(event.name, phase, (event.time_range.start - zero) / 1000, (event.time_range.end - zero) / 1000)

    phases = [span(event, event.name.removeprefix("phase: ")) for event in marks]
    spans, end = [], 0.0
    for event in events:
        if event.name.startswith(("phase: ", "[memory]", "Optimizer.")) or event.time_range.start < zero:
            continue
        found = span(event, _phase_at((event.time_range.start - zero) / 1000, phases))
        if found.start >= end and found.milliseconds > 0:  # what runs inside another operation is part of it
            spans.append(found)
            end = found.end
    times, held = _memory(profiler, marks[0].name)
    return StepProfile(profiler.key_averages(), phases, spans, times, held)


def _memory(profiler: profile, first: str) -> tuple[list[float], list[int]]:
    """Milliseconds and bytes from the start of the first phase, after each allocation and release.

    They are in the trace that the profiler writes, and nowhere else in its public interface.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    zero = min(event["ts"] for event in events if event.get("name") == first)
    changes = sorted(
        ((event["ts"] - zero) / 1000, event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0 and event["ts"] >= zero
    )
    return [time for time, _ in changes], list(itertools.accumulate(change for _, change in changes))


def _phase_at(moment: float, phases: list[Span]) -> str:
    for phase in reversed(phases):
        if moment >= phase.start:
            return phase.phase
    return phases[0].phase


def peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """Most bytes of tensors that a step holds at once, over those in use when it starts."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, record_function("phase: step"):
        step()
    return max(_memory(profiler, "phase: step")[1], default=0)


def interleaved_seconds(steps: dict[str, Callable[[int], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, `rounds` times each, taking turns after one unmeasured round; each gets the round's number.

    Taking turns lets a disturbance hit all alike; the order rotates.
    """
    found: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            started = time.perf_counter()
            steps[name](turn)
            if turn > 0:
                found[name].append(time.perf_counter() - started)
    return found
