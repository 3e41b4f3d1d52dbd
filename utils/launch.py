"""The named commands: `python -m utils.launch NAME`, and under `torchrun -m utils.launch NAME` on many processes."""

import argparse
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from utils import environment
from utils.experiments import pretraining

PRETRAINED = {recipe.name: recipe for recipe in (pretraining.GPT_RECIPE, pretraining.BERT_RECIPE)}


def arguments(argv: list[str]) -> argparse.Namespace:
    """The parsed command line; an unknown name lists the known ones."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.launch", description="Run one of the course's named experiments."
    )
    parser.add_argument("name", choices=sorted(PRETRAINED))
    parser.add_argument("--max-steps", type=int, help="stop after this step; the next call resumes there")
    parser.add_argument("--folder", type=Path, help="where the finished model goes (default: the package's weights)")
    parser.add_argument("--fresh", action="store_true", help="ignore an earlier checkpoint")
    parser.add_argument("--threads", type=int, help="CPU threads of this process")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Run one named command."""
    options = arguments(sys.argv[1:] if argv is None else argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    if environment.world_size() > 1:
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(environment.device())
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        folder = pretraining.pretrain(PRETRAINED[options.name], options.max_steps, options.folder, options.fresh)
        if folder is not None:
            print(f"saved {options.name} to {folder}")
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
