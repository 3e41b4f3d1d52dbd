"""Make the labs as students get them from their solved sources: `python -m utils.checks.release [LABS_FOLDER]`.

The sources are in nbgrader's format, and the same rules apply: solution regions become a stub, hidden tests go, graded
cells are locked. Cell ids stay, so the same source always gives the same bytes.
"""

import copy
import json
import re
import sys
from pathlib import Path

STUB = "..."
SOLUTION, HIDDEN = "SOLUTION", "HIDDEN TESTS"
KEYS = {"grade": bool, "grade_id": str, "locked": bool, "schema_version": int, "solution": bool, "task": bool}
SCHEMA_VERSION = 3


def release(notebook: dict) -> dict:
    """The student's version of a solved notebook (the dictionary of an .ipynb), which is left as it is.

    Raises: ValueError that names the cell: metadata that nbgrader would refuse, regions that do not match, a solution
    outside a solution cell, hidden tests outside a graded cell, outputs.
    """
    student = copy.deepcopy(notebook)
    validate(notebook)
    for cell in student["cells"]:
        grading = cell["metadata"].get("nbgrader")
        text = "".join(cell["source"])
        text = _replace_regions(text, SOLUTION, STUB, cell["id"])
        text = _replace_regions(text, HIDDEN, None, cell["id"])
        cell["source"] = text.splitlines(keepends=True)
        if grading and (grading["solution"] or grading["grade"] or grading["locked"]):
            cell["metadata"]["deletable"] = False
            if not grading["solution"]:
                cell["metadata"]["editable"] = False
    return student


def validate(notebook: dict) -> None:
    """Check that nbgrader can take the source. Raises ValueError that names the cell, as `release` does."""
    seen: set[str] = set()
    for cell in notebook["cells"]:
        text, grading = "".join(cell["source"]), cell["metadata"].get("nbgrader")
        if cell.get("outputs"):
            raise _error(cell, "no outputs", "some", "clear them before saving")
        if grading is not None:
            _validate_metadata(cell, grading)
            if grading["grade_id"] in seen:
                raise _error(cell, "a grade_id used once", grading["grade_id"], "give each cell its own")
            seen.add(grading["grade_id"])
        for region, key in ((SOLUTION, "solution"), (HIDDEN, "grade")):
            if f"BEGIN {region}" in text and not (grading and grading[key]):
                raise _error(cell, f"{region.lower()} only in a cell whose nbgrader metadata says {key}: true",
                             json.dumps(grading), "add the metadata")


def write_all(folder: Path) -> list[Path]:
    """Write the student's version of each `folder`/source/*.ipynb beside it; returns the paths. Raises ValueError
    when there is no source, or for a source that `release` refuses; then nothing is written."""
    sources = sorted((folder / "source").glob("*.ipynb"))
    if not sources:
        raise ValueError(f"labs: expected notebooks in {folder / 'source'}, found none; run this in the project's root")
    labs = {}
    for source in sources:
        try:
            labs[folder / source.name] = dumps(release(json.loads(source.read_text(encoding="utf8"))))
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    for path, text in labs.items():
        path.write_text(text, encoding="utf8", newline="\n")
    return list(labs)


def dumps(notebook: dict) -> str:
    """The text of an .ipynb file: keys sorted, one space of indentation, a line feed at the end."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _replace_regions(text: str, region: str, stub: str | None, cell_id: str) -> str:
    """The text with each region, its markers included, replaced by `stub` at its indentation, or by nothing."""
    kept, inside = [], False
    for line in text.split("\n"):
        begins, ends = f"BEGIN {region}" in line, f"END {region}" in line
        if begins == inside and (begins or ends):
            raise ValueError(f"cell {cell_id!r}: expected BEGIN {region} and END {region} in turn, got "
                             f"{line.strip()!r} {'inside a region' if inside else 'outside one'}; match them")
        if begins and stub is not None:
            kept.append(re.match(r"\s*", line).group(0) + stub)
        if not (inside or begins or ends):
            kept.append(line)
        inside = (inside or begins) and not ends
    if inside:
        raise ValueError(f"cell {cell_id!r}: expected END {region}, got the end of the cell; add it")
    return "\n".join(kept)


def _validate_metadata(cell: dict, grading: dict) -> None:
    for key, kind in KEYS.items():
        if not isinstance(grading.get(key), kind):
            raise _error(cell, f"nbgrader's {key} to be {kind.__name__}", repr(grading.get(key)), "set it")
    if grading["schema_version"] != SCHEMA_VERSION:
        raise _error(cell, f"schema_version {SCHEMA_VERSION}", grading["schema_version"], "write it so")
    if grading["grade"] and not isinstance(grading.get("points"), int | float):
        raise _error(cell, "points for a graded cell", repr(grading.get("points")), "set them")


def _error(cell: dict, expected: str, got: object, todo: str) -> ValueError:
    return ValueError(f"cell {cell['id']!r}: expected {expected}, got {got}; {todo}")


if __name__ == "__main__":
    try:
        for written in write_all(Path(sys.argv[1] if len(sys.argv) > 1 else "labs")):
            print(f"wrote {written}")
    except ValueError as problem:
        sys.exit(str(problem))
