"""The floors of `utils`, read from the source: a part imports only from lower floors, and no folder has a cycle."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UTILS = ROOT / "utils"

FLOORS = {
    "environment": 0,
    "text": 1,
    "metrics": 1,
    "plots": 1,
    "data": 2,
    "models": 3,
    "training": 4,
    "widgets": 5,
    "checks": 6,
    "experiments": 7,
    "launch": 7,
}
# The launcher is the door to the experiments: the two are one part.
SAME_PART = {"launch": "experiments"}
NO_NAMES = {"common", "helpers", "helper", "misc"}
MODULE_LINES, FUNCTION_LINES = 300, 60

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(UTILS.rglob("*.py"))
    if path.name != "__init__.py"
}
PACKAGES = sorted(path for path in UTILS.rglob("__init__.py"))


def part_of(module: str) -> str:
    """The part that `utils.part.module` belongs to."""
    name = module.split(".")[1]
    return SAME_PART.get(name, name)


def imports_of(path: Path, module: str) -> set[str]:
    """The modules of `utils` that a source file imports, anywhere in it, by their full names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found.update(f"{origin}.{alias.name}" for alias in node.names)
    return {name for name in map(known_module, found) if name}


def known_module(name: str) -> str | None:
    """The module of `utils` that an imported name stands in: `utils.text.bpe.train` is in `utils.text.bpe`."""
    if name.split(".")[0] != "utils":
        return None
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        if ".".join(parts[:length]) in MODULES:
            return ".".join(parts[:length])
    return ".".join(parts[:2]) if len(parts) > 1 else None


def public_definitions(path: Path) -> list[ast.AST]:
    """The public functions and classes at the top of a module."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            found.append(node)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_part_has_a_floor(module):
    assert module.split(".")[1] in FLOORS, f"{module}: give its part a floor in FLOORS, or move it"


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_from_lower_floors(module):
    own = part_of(module)
    for imported in sorted(imports_of(MODULES[module], module)):
        other = part_of(imported)
        assert other in FLOORS, f"{module} imports {imported}, which is no part of utils"
        assert other == own or FLOORS[other] < FLOORS[own], (
            f"{module} (floor {FLOORS[own]}) imports {imported} (floor {FLOORS[other]}): only lower floors may be"
        )


def test_no_cycle():
    graph = {module: imports_of(path, module) for module, path in MODULES.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("modules import each other in a circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_init_holds_a_docstring_and_nothing_else(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path} needs a docstring"
    assert len(tree.body) == 1, f"{path}: an import here would be paid for by everyone who imports one module"


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES.values()}
    missing = [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()]
    assert not missing, f"no __init__.py in {missing}"


@pytest.mark.parametrize("module", MODULES)
def test_module_is_named_for_one_thing_and_small(module):
    path = MODULES[module]
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert path.stem not in NO_NAMES, f"{module}: name it for the one thing it is about"
    assert lines <= MODULE_LINES, f"{module} has {lines} lines, {MODULE_LINES} at most: split it by subject"
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} needs a docstring"


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_short(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= FUNCTION_LINES, f"{module}.{node.name} has {lines} lines, {FUNCTION_LINES} at most"


@pytest.mark.parametrize("module", MODULES)
def test_public_definitions_have_docstrings(module):
    missing = [node.name for node in public_definitions(MODULES[module]) if not ast.get_docstring(node)]
    assert not missing, f"{module}: no docstring on {', '.join(missing)}"


@pytest.mark.parametrize("module", MODULES)
def test_no_star_import_and_no_sys_path(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert "sys.path" not in text, f"{module}: utils is an installed package, sys.path needs no help"
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert not any(node.names[0].name == "*" for node in imports), f"{module}: import names one by one"
