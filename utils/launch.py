"""The named commands: `python -m utils.launch NAME`, and under `torchrun -m utils.launch NAME` on many processes."""

import argparse
import contextlib
import importlib
import inspect
import sys
from pathlib import Path

import torch

from utils import environment
from utils.training import ranks

# A module of `utils.experiments`, its function, and what of the module the function is given first. It takes those of
# --folder, --fresh and --max-steps that it names, and returns where its result is, or None when it was cut short.
# Only the command's own module is imported.
COMMANDS = {
    "reviews-gpt": ("pretraining", "pretrain", "GPT_RECIPE"),
    "reviews-bert": ("pretraining", "pretrain", "BERT_RECIPE"),
    "evaluate-pretrained": ("evaluation", "evaluate_pretrained"),
    "fine-tune-curve": ("fine_tuning", "fine_tune_curve"),
    "sentiment-lora": ("sentiment", "sentiment_lora"),
    "mixed-precision": ("precision", "measure_precisions"),
    "training-at-scale": ("scale", "measure_scale"),
    "measure-gpu": ("gpu", "measure_or_exit"),
    "evaluate-panel": ("panel", "evaluate_panel"),
    "compress": ("compression_runs", "compress"),
    "imdb-encoder": ("imdb_encoder", "imdb_encoder"),
    "people-daily-tagger": ("people_daily_tagger", "people_daily_tagger"),
    "answer-spans": ("answer_spans", "answer_spans"),
    "translate-interface": ("translation_runs", "translate_interface"),
    "summarize-docstrings": ("summarization_runs", "summarize_docstrings"),
    "control-tokens": ("control", "control_tokens"),
    "prompting": ("prompting", "prompting"),
    "chat-tuning": ("chat", "chat_tuning"),
    "preference-tuning": ("preference_tuning", "preference_tuning"),
    "digits-recognizer": ("digits_recognizer", "digits_recognizer"),
}


def arguments(argv: list[str]) -> argparse.Namespace:
    """The parsed command line; an unknown name lists the known ones."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.launch", description="Run one of the course's named experiments."
    )
    parser.add_argument("name", choices=sorted(COMMANDS))
    parser.add_argument("--max-steps", type=int, help="stop after this step; the next call resumes there")
    parser.add_argument("--folder", type=Path, help="where the result goes (default: the package's assets)")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint or result")
    parser.add_argument("--threads", type=int, help="CPU threads of this process")
    return parser.parse_args(argv)


def run(options: argparse.Namespace) -> Path | None:
    """Run the command that the options name."""
    where, *names = COMMANDS[options.name]
    module = importlib.import_module(f"utils.experiments.{where}")
    function, *given = (getattr(module, name) for name in names)
    taken = inspect.signature(function).parameters
    return function(*given, **{key: value for key, value in vars(options).items() if key in taken})


def main(argv: list[str] | None = None) -> None:
    """Run one named command."""
    options = arguments(sys.argv[1:] if argv is None else argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    # Long work of rank 0 alone is no sign of death; a rank that dies is noticed at once.
    with ranks.joined(patience=1800) if environment.world_size() > 1 else contextlib.nullcontext():
        folder = run(options)
        if folder is not None:
            print(f"saved {options.name} to {folder}")


if __name__ == "__main__":
    main()
