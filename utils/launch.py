"""The named commands: `python -m utils.launch NAME`, and under `torchrun -m utils.launch NAME` on many processes."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from utils import environment
from utils.experiments import (
    chat,
    compression_runs,
    control,
    evaluation,
    fine_tuning,
    gpu,
    imdb_encoder,
    panel,
    precision,
    preference_tuning,
    pretraining,
    prompting,
    scale,
    sentiment,
    summarization_runs,
    translation_runs,
)
from utils.training import ranks


def pretrain(recipe: pretraining.Recipe, options: argparse.Namespace) -> Path | None:
    """Pre-train by a recipe, as the command line asks for it."""
    return pretraining.pretrain(recipe, options.max_steps, options.folder, options.fresh)


def evaluate_pretrained(options: argparse.Namespace) -> Path:
    """Evaluate the shipped models on the held-out reviews."""
    return evaluation.evaluate_pretrained(options.folder)


def evaluate_panel(options: argparse.Namespace) -> Path:
    """Ask every model of the course the same questions; models asked before are kept."""
    return panel.evaluate_panel(options.folder, options.fresh)


def measure_precisions(options: argparse.Namespace) -> Path:
    """Measure training in fp32, bf16 and fp16."""
    return precision.measure_precisions(options.folder)


def training_at_scale(options: argparse.Namespace) -> Path:
    """Measure packing, accumulation, recomputation and compilation."""
    return scale.measure_scale(options.folder)


def measure_gpu(options: argparse.Namespace) -> Path:
    """Measure GPT-2 on this machine's GPU; without one, say so and end."""
    try:
        return gpu.measure_gpu(options.folder)
    except gpu.NoGPU as error:
        sys.exit(str(error))


def fine_tune_curve(options: argparse.Namespace) -> Path:
    """Fine-tune classifiers from each start, at each number of labels; finished ones are kept."""
    fine_tuning.fine_tune_curve(folder=options.folder, fresh=options.fresh)
    return fine_tuning.RESULT.path(options.folder)


def train_sentiment_adapter(options: argparse.Namespace) -> Path:
    """Train the shipped LoRA adapter."""
    return sentiment.sentiment_lora(options.folder)


def train_imdb_encoder(options: argparse.Namespace) -> Path:
    """Train the adapter for whole reviews, and judge it and TF-IDF."""
    return imdb_encoder.imdb_encoder(options.folder)


def compress(options: argparse.Namespace) -> Path:
    """Compress the sentiment model by every method; finished parts are kept."""
    return compression_runs.compress(options.folder, options.fresh)


def translate_interface(options: argparse.Namespace) -> Path:
    """Train and judge the translator of interfaces."""
    return translation_runs.translate_interface(options.folder)


def summarize_docstrings(options: argparse.Namespace) -> Path:
    """Train and judge the summarizer of docstrings."""
    return summarization_runs.summarize_docstrings(options.folder)


def control_tokens(options: argparse.Namespace) -> Path:
    """Train and measure the adapter that writes positive and negative reviews."""
    return control.control_tokens(options.folder)


def chat_tuning(options: argparse.Namespace) -> Path:
    """Train and measure the adapter that answers."""
    return chat.chat_tuning(options.folder)


def tune_preferences(options: argparse.Namespace) -> Path:
    """Train and measure the policies that learn from preferred texts."""
    return preference_tuning.preference_tuning(options.folder)


def measure_prompting(options: argparse.Namespace) -> Path:
    """Measure prompts with and without examples, and answers with and without a passage."""
    return prompting.prompting(options.folder)


# A command takes the parsed options and returns where its result is, or None when it was cut short.
COMMANDS: dict[str, Callable[[argparse.Namespace], Path | None]] = {
    "preference-tuning": tune_preferences,
    "prompting": measure_prompting,
    "reviews-gpt": functools.partial(pretrain, pretraining.GPT_RECIPE),
    "reviews-bert": functools.partial(pretrain, pretraining.BERT_RECIPE),
    "evaluate-pretrained": evaluate_pretrained,
    "evaluate-panel": evaluate_panel,
    "mixed-precision": measure_precisions,
    "training-at-scale": training_at_scale,
    "chat-tuning": chat_tuning,
    "compress": compress,
    "control-tokens": control_tokens,
    "measure-gpu": measure_gpu,
    "fine-tune-curve": fine_tune_curve,
    "sentiment-lora": train_sentiment_adapter,
    "summarize-docstrings": summarize_docstrings,
    "translate-interface": translate_interface,
    "imdb-encoder": train_imdb_encoder,
}


def arguments(argv: list[str]) -> argparse.Namespace:
    """The parsed command line; an unknown name lists the known ones."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.launch", description="Run one of the course's named experiments."
    )
    parser.add_argument("name", choices=sorted(COMMANDS))
    parser.add_argument("--max-steps", type=int, help="stop after this step; the next call resumes there")
    parser.add_argument("--folder", type=Path, help="where the result goes (default: the package's assets)")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads of this process")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run one named command."""
    options = arguments(sys.argv[1:] if argv is None else argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    # Long work of rank 0 alone is no sign of death; a rank that dies is noticed at once.
    with ranks.joined(patience=1800) if environment.world_size() > 1 else contextlib.nullcontext():
        folder = COMMANDS[options.name](options)
        if folder is not None:
            print(f"saved {options.name} to {folder}")


if __name__ == "__main__":
    main()
