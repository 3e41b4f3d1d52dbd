"""Which cells an explorer needs before it, read from the names that cells set and use."""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field

TAG = "explorer"
NEEDS = "needs:"
COLAB = "colab"
SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


@dataclass
class Names:
    """What a cell does with names: `sets` binds them anew, `changes` alters a part, `uses` reads them."""

    sets: set[str] = field(default_factory=set)
    changes: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)


def _base(node: ast.AST) -> str | None:
    """Return `x` of `x.a[0].b`, or None where no plain name stands at the front."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _globals_used(table: symtable.SymbolTable) -> set[str]:
    """Return the names that functions, classes and comprehensions inside a scope look up in the cell's own scope."""
    found: set[str] = set()
    for inner in table.get_children():
        found |= {symbol.get_name() for symbol in inner.get_symbols() if symbol.is_global()} | _globals_used(inner)
    return found


def _own_scope(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield a cell's nodes, but nothing inside functions, classes and comprehensions, whose names are their own."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, SCOPES):
            yield from _own_scope(node)


def names_of(source: str) -> Names:
    """Return the names that a cell's code sets, changes and uses; code that cannot be read has none."""
    code = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.split("\n"))
    try:
        tree, table = ast.parse(code), symtable.symtable(code, "cell", "exec")
    except SyntaxError:
        return Names()
    own = list(_own_scope(tree))
    added = {node.target for node in own if isinstance(node, ast.AugAssign)}
    sets = {node.id for node in own if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)} - {
        node.id for node in added if isinstance(node, ast.Name)
    }
    for node in own:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            sets.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            sets |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    parts = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Subscript))
    changes = {_base(node) for node in added} | {_base(node) for node in parts if not isinstance(node.ctx, ast.Load)}
    uses = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()} | _globals_used(table)
    changes &= sets | uses | {_base(node) for node in added}
    return Names(sets, changes, (uses | changes) - set(dir(builtins)))


def tags(cell: dict) -> list[str]:
    """Return a cell's tags."""
    return cell["metadata"].get("tags", [])


def code_cells(cells: list[dict]) -> list[str]:
    """Return the ids of all code cells, in order."""
    return [cell["id"] for cell in cells if cell["cell_type"] == "code"]


def _needed(position: int, names: list[Names], code: list[dict]) -> set[int]:
    """Return the positions of the cells before `position` that it reads from directly, or names by a tag."""
    ids = [cell["id"] for cell in code]
    tagged = [tag[len(NEEDS) :] for tag in tags(code[position]) if tag.startswith(NEEDS)]
    unknown = [name for name in tagged if name not in ids[:position]]
    if unknown:
        raise ValueError(f"cell {ids[position]} is tagged needs:{unknown[0]}, but no code cell before it has that id")
    found = {ids.index(name) for name in tagged}
    for name in names[position].uses:
        for earlier in range(position - 1, -1, -1):
            if name in names[earlier].changes:
                found.add(earlier)
            if name in names[earlier].sets:
                found.add(earlier)
                break
    return found


def cells_to_run(cells: list[dict], wanted: list[str] | None = None) -> list[str]:
    """Return, in order, the ids of the setup cell, the explorers (or the `wanted` cells) and all they need.

    The setup is the first code cell that is not for Colab alone (tag `colab`). A cell needs the nearest earlier cell
    that sets a name it uses, the cells in between that change a part of it, whatever its tags `needs:CELL-ID` name,
    and what those need in turn.

    Raises:
        ValueError: a tag `needs:CELL-ID` names no earlier code cell.
    """
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    names = [names_of("".join(cell["source"])) for cell in code]
    wanted_ids = set(wanted or [cell["id"] for cell in code if TAG in tags(cell)])
    setup = [position for position, cell in enumerate(code) if COLAB not in tags(cell)][:1]
    open_ends = setup + [position for position, cell in enumerate(code) if cell["id"] in wanted_ids]
    chosen: set[int] = set()
    while open_ends:
        position = open_ends.pop()
        chosen.add(position)
        open_ends += _needed(position, names, code) - chosen
    return [code[position]["id"] for position in sorted(chosen)]
