"""A lab's exercises and how far a student has come, kept in memory as long as the kernel lives."""

from collections.abc import Callable

from IPython.display import display

from utils.checks.cards import summary_card, verdict_card
from utils.checks.grading import RIGHT, Exercise, Property, Verdict, judge


class Check:
    """An exercise that can be called with a student's function: it shows a card, keeps the verdict, never raises."""

    def __init__(self, exercise: Exercise):
        self.exercise = exercise
        self.verdict: Verdict | None = None

    def __call__(self, function: Callable) -> None:
        self.verdict = judge(self.exercise, function)
        display(verdict_card(self.exercise, self.verdict), raw=True)

    @property
    def done(self) -> bool:
        """Whether the latest check was correct."""
        return self.verdict is not None and self.verdict.status == RIGHT


class Lab:
    """The exercises of one lab, in order."""

    def __init__(self, title: str):
        self.title = title
        self.checks: list[Check] = []

    def exercise(self, name: str, label: str, title: str, *properties: Property) -> Check:
        """Add an exercise, and return its check. Raises ValueError for a name already used."""
        if name in [check.exercise.name for check in self.checks]:
            raise ValueError(f"exercise {name!r}: expected a new name, got one that the lab has; choose another")
        self.checks.append(Check(Exercise(name, label, title, properties)))
        return self.checks[-1]

    def require(self, check: Check, function: Callable) -> int:
        """The points for `function`, which nbgrader takes as a partial grade when they are a cell's last value.

        Raises AssertionError, which nbgrader counts as no points, when there are none; the message is the card's.
        """
        verdict = judge(check.exercise, function)
        if verdict.points == 0:
            raise AssertionError(verdict_card(check.exercise, verdict)["text/plain"])
        return verdict.points

    def summary(self) -> None:
        """Show the points of all exercises, the total, and what is left."""
        rows = [(check.exercise, check.verdict) for check in self.checks]
        display(summary_card(self.title, rows), raw=True)

    @property
    def points(self) -> int:
        """Points so far, by each exercise's latest check."""
        return sum(check.verdict.points for check in self.checks if check.verdict)

    @property
    def total(self) -> int:
        """Points of the whole lab."""
        return sum(check.exercise.points for check in self.checks)

    @property
    def done(self) -> bool:
        """Whether every exercise's latest check was correct."""
        return all(check.done for check in self.checks)
