# Two commands: `make lab` opens the course, `make test` runs all its tests. Both install what is missing into .venv.
#
#   make PYTHON=python3.13      another Python (3.11 to 3.13) for a new .venv
#   make TORCH_INDEX=cpu        on Linux: PyTorch's CPU build in place of the one with CUDA
#   make lab LAB_ARGS=--no-browser
#   make bench BENCH_ARGS=--rounds=3    fewer rounds, wider intervals

PYTHON ?= python3
TORCH_INDEX ?=
LAB_ARGS ?=
BENCH_ARGS ?=
PY := .venv/bin/python
# JupyterLab wants to hear it when root starts it, as in a container.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help install lab test labs bench test-browser test-browser-all clean

help:  ## list the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 26

install: .venv/.installed  ## make .venv and install the course (the other commands do it by themselves)

.venv/.installed: pyproject.toml constraints.txt requirements-weights.txt install.py binder/overrides.json
	@$(PYTHON) install.py $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

# A file as argument would make its folder the root and leave the labs out, so it is the default address.
# JupyterLab's settings (no news pop-up) are binder/overrides.json; install.py copies them into the environment.
lab: .venv/.installed  ## open JupyterLab on chapter 00
	@$(PY) -m jupyterlab $(AS_ROOT) --LabApp.default_url=/lab/tree/chapters/00_start_here.ipynb $(LAB_ARGS)

test: .venv/.installed  ## run ruff, the unit tests and every notebook, with the network cut off
	@$(PY) tests/run.py

labs: .venv/.installed  ## write the students' labs from labs/source
	@$(PY) -m utils.checks.release

bench: .venv/.installed  ## time the course's own code beside others, and print one table of ratios
	@$(PY) -m pytest tests/benchmarks -q -p no:warnings --timeout=1200 --benchmark-only --benchmark-quiet $(BENCH_ARGS)

test-browser: .venv/.installed  ## open every notebook in Chromium and move its explorers
	@$(PY) -m pytest tests/browser -n 2

test-browser-all: .venv/.installed  ## the same, running every cell
	@$(PY) -m pytest tests/browser -n 2 --all-cells

clean:  ## remove .venv and everything built
	rm -rf .venv build dist book/_build *.egg-info .pytest_cache .ruff_cache .benchmarks
