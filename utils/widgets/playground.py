"""A network on points of the plane, trained in the browser while its layers, width and activation are changed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets

from utils.widgets import still
from utils.widgets.base import FOLDER, Explorer, source

N_POINTS = 240  # of each set; every second one is held out
MOST_POINTS = 600
VIEW = 2.6  # the picture shows both coordinates from -VIEW to VIEW


def _two_clouds(share: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * share
    center = np.where(y == 1, 0.9, -0.9)
    return np.stack([center + 0.6 * np.cos(angle), center + 0.6 * np.sin(angle)], 1)


def _corners(share: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Exclusive or: class 1 where the coordinates differ in sign."""
    angle = 2 * np.pi * (4 * share % 1)
    side = np.where(share < 0.5, 1.1, -1.1)
    return np.stack([side + 0.6 * np.cos(angle), np.where(y == 1, -side, side) + 0.6 * np.sin(angle)], 1)


def _ring(share: np.ndarray, y: np.ndarray) -> np.ndarray:
    radius = np.where(y == 1, 0.6, 1.9)
    return radius[:, None] * np.stack([np.cos(2 * np.pi * share), np.sin(2 * np.pi * share)], 1)


def _moons(share: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = np.pi * share
    upper = np.stack([np.cos(angle) - 0.5, np.sin(angle) - 0.25], 1)
    return 1.4 * np.where(y[:, None] == 1, -upper, upper)


def _spirals(share: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = 3.2 * np.pi * np.sqrt(0.03 + 0.97 * share)
    arm = 0.23 * angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.where(y[:, None] == 1, -arm, arm)


SETS = {"two clouds": _two_clouds, "corners (XOR)": _corners, "ring": _ring, "moons": _moons, "spirals": _spirals}


class PlaygroundExplorer(Explorer):
    """The widget; `explore_playground` makes it. All arithmetic is in the browser, and equal to torch's."""

    _esm = source("playground")
    _css = Explorer._css + (FOLDER / "playground.css").read_text(encoding="utf-8")
    sets = traitlets.Dict().tag(sync=True)
    shown = traitlets.Unicode().tag(sync=True)

    def says(self) -> str:
        return (f"A network learns to tell two classes of points apart: “{self.shown}”, one of {len(self.sets)} sets; "
                "its layers, width, activation and learning rate move the decision boundary.")

    def still(self) -> str:
        x, y = (np.array(self.sets[self.shown][part]) for part in ("x", "y"))
        dots = "".join(
            f'<circle cx="{150 * (1 + a / VIEW):.0f}" cy="{150 * (1 - b / VIEW):.0f}" r="3.5" '
            f'fill="{still.COLORS[0 if label else 1]}"/>' for (a, b), label in zip(x, y, strict=True))
        return ('<svg viewBox="0 0 300 300" width="300" style="max-width:100%;height:auto" role="img" '
                f'aria-label="Points of two classes">{dots}</svg>')


def explore_playground(
    shown: str = "moons", own: Mapping[str, tuple[Any, Any]] | None = None, seed: int = 3
) -> PlaygroundExplorer:
    """Explore how a network's layers, width, activation, learning rate and first weights move its decision boundary.

    `own`: more sets by name, each points (N, 2) and labels (N,), 0 or 1. Every second point is held out. The picture
    shows coordinates from -2.6 to 2.6, so bring yours to a deviation of about 1.
    Raises: ValueError for an unknown name, other shapes or labels, more than 600 points, or values that are not finite.
    """
    random = np.random.default_rng(seed)
    y = np.arange(N_POINTS) // 2 % 2  # both classes among the points to learn from and among those held out
    share = random.random(N_POINTS)  # where along its shape a point lies
    made = {name: (make(share, y), y) for name, make in SETS.items()}
    for name, (points, labels) in (own or {}).items():
        made[name] = _checked(name, points, labels)
    if shown not in made:
        raise ValueError(f"shown: expected one of {tuple(made)}, got {shown!r}")
    sets = {
        name: {"x": points.round(4).tolist(), "y": labels.tolist(),
               "noise": random.standard_normal(points.shape).round(4).tolist()}
        for name, (points, labels) in made.items()
    }
    return PlaygroundExplorer(sets=sets, shown=shown)


def _checked(name: str, points: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1] or not 4 <= len(points):
        raise ValueError(f"{name}: expected at least 4 points (N, 2) and labels (N,), got {points.shape} and "
                         f"{labels.shape}")
    if len(points) > MOST_POINTS:
        raise ValueError(f"{name}: expected at most {MOST_POINTS} points, got {len(points)}; take a sample")
    if not np.isfinite(points).all() or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name}: expected finite points and labels 0 or 1, got others")
    return points, labels.astype(int)
