"""What every notebook keeps to, read from the files: form, names, size, the parts of a chapter, tags, addresses."""

import ast
import functools
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests import address

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
LABS = sorted((ROOT / "labs").glob("*.ipynb"))
SOLVED = sorted((ROOT / "labs" / "source").glob("*.ipynb"))
LEDGER = ROOT / "utils" / "assets" / "ledger.json"

SIZE_LIMIT = 100_000  # bytes
CODE_LINES, SETUP_LINES, WORDS, CHECKS = 40, 15, 150, 5
WITH_EXPLORER = tuple(f"{number:02}" for number in range(1, 19))


def name_of(path: Path) -> str:
    """A notebook's path from the root, as a test's id."""
    return path.relative_to(ROOT).as_posix()


every_notebook = pytest.mark.parametrize("path", [*CHAPTERS, *LABS, *SOLVED], ids=name_of)
every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=name_of)


@functools.cache
def read(path: Path) -> dict:
    """A notebook as it lies in its file, each cell's source as one string."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def cells(path: Path, kind: str = "") -> list[dict]:
    """The cells of a notebook, of one kind or all."""
    return [cell for cell in read(path)["cells"] if kind in ("", cell["cell_type"])]


def tags(cell: dict) -> list[str]:
    """A cell's tags."""
    return cell["metadata"].get("tags", [])


def tree(cell: dict) -> ast.AST:
    """The syntax tree of a code cell, IPython's own lines left out."""
    lines = cell["source"].splitlines()
    own = re.compile(r"\s*[%!?]")
    return ast.parse("\n".join(re.sub(r"\S.*", "pass", line) if own.match(line) else line for line in lines))


def prose(source: str) -> str:
    """What a markdown cell asks to be read as text: no tables, code, display formulas, comments, addresses."""
    source = re.sub(r"```.*?```|\$\$.*?\$\$|<!--.*?-->", " ", source, flags=re.DOTALL)
    source = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("|"))
    return re.sub(r"\]\([^)]*\)|<[^>]+>", " ", source)


def headings(source: str) -> list[str]:
    """The headings of a markdown cell."""
    return re.findall(r"^#{1,6} .+$", re.sub(r"```.*?```", "", source, flags=re.DOTALL), flags=re.MULTILINE)


@every_notebook
def test_file_is_clean(path):
    metadata = read(path)["metadata"]
    assert path.stat().st_size <= SIZE_LIMIT
    assert metadata["kernelspec"]["name"] == "python3"
    assert "widgets" not in metadata
    for cell in cells(path, "code"):
        assert cell["outputs"] == [], f"{cell['id']} has outputs: clear them before you commit"
        assert cell["execution_count"] is None, f"{cell['id']} has an execution count"


@every_notebook
def test_cell_ids_are_spelled_out_and_unique(path):
    ids = [cell.get("id", "") for cell in cells(path)]
    twice = [name for name, count in Counter(ids).items() if count > 1]
    assert not twice, f"ids used twice: {twice}"
    for name in ids:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), f"{name!r}: write ids like attention-scaling-check"
        assert re.search(r"[a-z]{3}", name) and not re.fullmatch(r"[0-9a-f-]{8,}", name), f"{name!r} says nothing"


@every_notebook
def test_cells_are_short(path):
    for cell in cells(path, "code"):
        assert len(cell["source"].splitlines()) <= CODE_LINES, f"{cell['id']} is longer than {CODE_LINES} lines"
    for cell in cells(path, "markdown"):
        assert len(headings(cell["source"])) <= 1, f"{cell['id']} has more than one heading"
        words = len(prose(cell["source"]).split())
        assert words <= WORDS or "glossary" in tags(cell), f"{cell['id']} has {words} words, {WORDS} at most"


@every_notebook
def test_code_imports_plainly(path):
    for cell in cells(path, "code"):
        assert "sys.path" not in cell["source"], f"{cell['id']}: utils is installed, sys.path needs no help"
        for node in ast.walk(tree(cell)):
            star = isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
            assert not star, f"{cell['id']}: import names one by one"


@every_notebook
def test_setup_comes_first(path):
    code = [cell for cell in cells(path, "code") if "colab" not in tags(cell)]
    setup = [cell for cell in code if "environment.report()" in cell["source"]]
    assert setup, "no cell calls environment.report()"
    assert setup[0] is code[0], f"{setup[0]['id']} must be the first code cell (after the one tagged colab)"
    assert len(setup[0]["source"].splitlines()) <= SETUP_LINES


@every_notebook
def test_addresses_come_from_their_one_place(path):
    source = path.read_text(encoding="utf-8")
    expected = address.rewrite(source, address.notebook_badges(path))
    assert source == expected, "badges or addresses differ from pyproject.toml: run python tests/address.py"
    for cell in cells(path, "code"):
        if "colab" in tags(cell):
            assert cell["source"] == address.colab_cell(path.name)


@every_notebook
def test_linked_files_exist(path):
    for cell in cells(path, "markdown"):
        for target in re.findall(r"\]\(([^)#\s]+)", cell["source"]):
            if not re.match(r"[a-z]+:", target) and not (name_of(path).startswith("labs/source")):
                assert (path.parent / target).exists(), f"{cell['id']} links {target}, which is not there"


@every_notebook
def test_no_request_to_another_host(path):
    for cell in cells(path, "markdown"):
        remote = re.findall(r"!\[[^\]]*\]\((https?:[^)]*)\)|<img[^>]+src=.(https?:[^\"'>]*)", cell["source"])
        assert not remote, f"{cell['id']} loads a picture from another host: {remote}"


@every_notebook
def test_ledger_tags_are_rows(path):
    used = {tag.removeprefix("ledger:") for cell in cells(path) for tag in tags(cell) if tag.startswith("ledger:")}
    if not LEDGER.exists():
        pytest.skip("utils/assets/ledger.json is not there yet")
    rows = {row["id"] for row in json.loads(LEDGER.read_text(encoding="utf-8"))}
    assert used <= rows, f"no such rows in the ledger: {sorted(used - rows)}"


@every_chapter
def test_chapter_opens_as_all_chapters_do(path):
    number = int(path.name[:2])
    first = cells(path)[0]
    assert re.match(rf"# {number}\. \S", first["source"]), f"the title is '# {number}. Title'"
    opening = "\n".join(cell["source"] for cell in cells(path, "markdown")[:4])
    for name, badge in address.notebook_badges(path).items():
        assert badge in opening, f"no {name} badge in the opening; it is: {badge}"
    assert re.search(r"objectives|you will (be able|learn)|after this chapter", opening, re.IGNORECASE), "no objectives"
    colab = [cell for cell in cells(path, "code") if "colab" in tags(cell)]
    assert len(colab) == 1, "one cell tagged colab fetches the course there; its text is address.colab_cell()"


@every_chapter
def test_chapter_checks_what_it_says(path):
    found = 0
    for cell in cells(path, "code"):
        for node in ast.walk(tree(cell)):
            called = isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", ""))
            found += isinstance(node, ast.Assert) or called in ("assert_close", "assert_allclose")
    assert found >= CHECKS, f"{found} checks, at least {CHECKS}"


@pytest.mark.parametrize("number", WITH_EXPLORER)
def test_chapter_has_an_explorer(number):
    found = [path for path in CHAPTERS if path.name.startswith(number)]
    if not found:
        pytest.skip(f"chapter {number} is not there yet")
    assert any("explorer" in tags(cell) for cell in cells(found[0], "code")), "no cell is tagged explorer"


def test_the_roadmap_links_every_chapter_and_lab():
    roadmap = "".join(cell["source"] for cell in cells(CHAPTERS[0]) if cell["id"] == "start-roadmap")
    missing = [path.name for path in CHAPTERS[1:] if f"]({path.name})" not in roadmap]
    missing += [path.name for path in LABS if f"](../labs/{path.name})" not in roadmap]
    assert not missing, f"link {missing} in the roadmap of chapter 00"


def test_no_class_stands_in_two_notebooks():
    places = defaultdict(set)
    for path in [*CHAPTERS, *SOLVED]:
        for cell in cells(path, "code"):
            for node in ast.walk(tree(cell)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].add(name_of(path))
    twice = {name: sorted(found) for name, found in places.items() if len(found) > 1}
    assert not twice, f"what two notebooks need belongs to utils: {twice}"


def tracked_text() -> dict[str, str]:
    """Every text file that git tracks, by its path."""
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if answer.returncode:
        pytest.skip("not a git checkout")
    files = {}
    for name in filter(None, answer.stdout.decode().split("\0")):
        try:
            files[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
    return files


def package_hosts() -> set[str]:
    """The hosts that this machine's package managers are set to, but for the public ones."""
    settings = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    hosts = set(re.findall(r"https?://(?:[^/@\s']+@)?([^/:\s']+)", settings.stdout))
    return {host for host in hosts if not host.endswith(("pypi.org", "pythonhosted.org", "pytorch.org"))}


def test_nothing_of_one_machine_is_in_the_tree():
    folders = ["/".join(("", *parts)) for parts in (("work", "main"), ("work", "shared"), ("opt", "wheels"))]
    plain = map(re.escape, [*folders, *package_hosts()])
    homes = r"(?<![\w.])/(root|home/(?!jovyan)\w+)/"
    machine = re.compile("|".join([*plain, homes]))
    found = {name: match[0] for name, text in tracked_text().items() if (match := machine.search(text))}
    assert not found, f"paths or hosts of one machine: {found}"
