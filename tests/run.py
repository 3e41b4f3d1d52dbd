"""Run the tests in order, each step timed: `python tests/run.py` runs all, `python tests/run.py lint unit` two of them.

The steps: lint (ruff), unit (the unit, architecture and content checks), notebooks (every chapter, lab and solved lab
from top to bottom). The last two run with the network cut off.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests import offline  # noqa: E402  (this file is run as a script)

FOLDERS = ("chapters", "labs", "labs/source")
PARALLEL = ["-n", "2", "--dist", "loadfile"]
# nbval times a cell itself; pytest-timeout, a minute behind it, is there for a kernel that no longer answers.
NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "--timeout=660"]
COSTS = ["-p", "tests.notebook_costs"]


def commands() -> dict[str, list[str]]:
    """The command of each step."""
    pytest = [sys.executable, "-m", "pytest", "-q", *PARALLEL]
    notebooks = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.ipynb"))]
    return {
        "lint": [sys.executable, "-m", "ruff", "check", "--quiet", "."],
        "unit": offline.offline_command([*pytest, "tests", "--ignore=tests/browser", "--ignore=tests/benchmarks"]),
        "notebooks": offline.offline_command([*pytest, *NBVAL, *COSTS, *notebooks]) if notebooks else [],
    }


def main(names: list[str]) -> int:
    """Run the steps called `names`, or all; return 0 when every one passed."""
    steps = commands()
    unknown = sorted(set(names) - set(steps))
    if unknown:
        sys.exit(f"No such step: {', '.join(unknown)}. The steps are: {', '.join(steps)}.")
    walls = "a network namespace and the guard" if offline.namespace() else "the guard"
    print(f"The network is cut off by {walls}.", flush=True)
    results = []
    for name in names or steps:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        status = subprocess.run(steps[name], cwd=ROOT, env=offline.environment()).returncode if steps[name] else 0
        if not steps[name]:
            print("There are no notebooks yet.")
        results.append((name, status, time.perf_counter() - started))
    print()
    for name, status, seconds in results:
        print(f"{name:<12}{'passed' if status == 0 else 'FAILED':<8}{seconds / 60:6.2f} min")
    return int(any(status for _, status, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
