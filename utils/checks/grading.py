"""From a student's function to a verdict: an exercise's properties are checked in order, up to the first that fails."""

import contextlib
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from utils.checks.calls import Answer, NotDone, NotYet, is_stub
from utils.checks.properties import Draw

ROUNDS = 3  # fresh inputs a property
TO_DO, WRONG, RIGHT = "not done yet", "not yet", "correct"


@dataclass(frozen=True)
class Property:
    """One property of a right answer: a sentence for the student, a check, and the points for getting this far.

    `check(answer, draw)` calls `answer` on inputs from `draw`, raises NotYet, and may return a note to show.
    A property that an empty or constant answer also has carries no points.
    """

    statement: str
    check: Callable[[Answer, Draw], str | None]
    points: int = 0


@dataclass(frozen=True)
class Exercise:
    """One graded function: `name` is the function's own, `label` its number in the lab.

    Raises ValueError when there is no property or no point.
    """

    name: str
    label: str
    title: str
    properties: tuple[Property, ...]

    def __post_init__(self):
        if not self.properties or self.points <= 0:
            raise ValueError(f"exercise {self.name!r}: expected at least one property with points, got {self.points} "
                             f"points in {len(self.properties)} properties; give one of them points")

    @property
    def points(self) -> int:
        """Points for a full answer."""
        return sum(one.points for one in self.properties)


@dataclass(frozen=True)
class Verdict:
    """What a check found: status, points, the properties that hold, and the first that does not, with why."""

    status: str
    points: int = 0
    held: tuple[Property, ...] = ()
    notes: tuple[str, ...] = ()
    failed: Property | None = None
    problem: NotYet | None = None
    arguments: dict[str, str] = field(default_factory=dict)
    seed: int = 0


def judge(exercise: Exercise, function: Callable, seed: int | None = None) -> Verdict:
    """The verdict on `function`; never raises for anything that the function does. `seed` None draws a fresh one."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    if is_stub(function):
        return Verdict(TO_DO, seed=seed)  # before an oracle loads anything
    answer = Answer(function)
    held, notes = [], []
    for one in exercise.properties:
        try:
            note = _check(one, answer, seed)
        except NotDone:
            return Verdict(TO_DO, seed=seed)
        except NotYet as problem:
            points = sum(earlier.points for earlier in held)
            return Verdict(WRONG, points, tuple(held), tuple(notes), one, problem, answer.arguments, seed)
        held.append(one)
        notes += [note] if note else []
    return Verdict(RIGHT, exercise.points, tuple(held), tuple(notes), seed=seed)


def _check(one: Property, answer: Answer, seed: int) -> str | None:
    """Check one property on several draws; an answer that the check cannot even read is NotYet, too."""
    note = None
    try:
        # nbgrader gives no points to a cell that writes to stderr, and libraries write warnings there.
        with contextlib.redirect_stderr(sys.stdout):
            for number in range(ROUNDS):
                note = one.check(answer, Draw(seed + number))
    except (NotDone, NotYet):
        raise
    except Exception as error:
        raise NotYet(f"The check could not read your result: {type(error).__name__}.", {"error": str(error)[:200]},
                     "Compare the type and shape of what you return with the task.") from error
    return note
