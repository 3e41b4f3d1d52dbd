"""The named command `summarize-docstrings`: trains the shipped summarizer and judges it beside simpler ones."""

import copy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from utils import environment
from utils.data import docstrings, sources
from utils.data.docstrings import Pair
from utils.experiments import seq2seq, summarization
from utils.experiments.results import ResultFile, one_process
from utils.experiments.summarization import NAME, RECIPE, Nearest, Summarizer
from utils.metrics.intervals import Interval, bootstrap_mean
from utils.metrics.overlap import rouge_l, rouge_n
from utils.models.pretrained import save_model

RESULT = ResultFile("summarization", "summarize-docstrings")
MEASURES = ("rouge-1", "rouge-2", "rouge-l")


def baselines(pairs: Sequence[Pair], nearest: Nearest) -> dict[str, list[str]]:
    """What needs no network: the first words, TextRank's sentence, and the summary of the nearest document."""
    return {
        "lead": [summarization.lead(pair) for pair in pairs],
        "TextRank": [summarization.ranked(pair) for pair in pairs],
        "nearest": nearest.summaries(pairs),
    }


def rouge(hypotheses: Sequence[str], pairs: Sequence[Pair]) -> dict[str, np.ndarray]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L, one number a summary. Shapes: (N,) each."""
    both = list(zip(hypotheses, (pair.summary for pair in pairs), strict=True))
    return {
        "rouge-1": np.array([rouge_n(h, r, 1).f1 for h, r in both]),
        "rouge-2": np.array([rouge_n(h, r, 2).f1 for h, r in both]),
        "rouge-l": np.array([rouge_l(h, r).f1 for h, r in both]),
    }


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, Interval]:
    """Paired bootstrap interval of the mean difference, by measure."""
    return {measure: bootstrap_mean(ours[measure] - theirs[measure]) for measure in MEASURES}


def summarize_docstrings(folder: Path | None = None) -> Path:
    """Train, save in half precision, read back, summarize the test, and write scores and summaries."""
    one_process(RESULT.command)
    nearest, rows, tokenizer = summarization.prepare()
    began = time.process_time()
    model = summarization.new_model(tokenizer, RECIPE)
    average = seq2seq.Averaged(model, RECIPE.decay)
    steps = RECIPE.steps(len(rows))
    losses: list[float] = []
    training = summarization.train(model, tokenizer, rows, RECIPE, average=average)
    for record in tqdm(training, total=steps, mininterval=20):
        losses.append(record.loss)
        if len(losses) % max(1, steps // 6) == 0:
            judged = copy.deepcopy(model)
            judged.load_state_dict(average.weights)
            pairs = docstrings.pairs("validation")
            score = rouge(Summarizer(judged, tokenizer, nearest).summarize(pairs), pairs)["rouge-1"].mean()
            print(f"step {len(losses)}: loss {np.mean(losses[-100:]):.3f}, validation ROUGE-1 {score:.3f}", flush=True)
    model.load_state_dict(average.weights)
    place = (folder or sources.WEIGHTS) / NAME
    card = {
        "name": NAME,
        "command": RESULT.run,
        "recipe": seq2seq.settings(RECIPE),
        "steps": steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "data": f"{len(rows)} docstrings of the libraries below",
        "libraries": docstrings.versions(),
        "minutes": round((time.process_time() - began) / 60, 1),
        "hardware": environment.hardware(),
        "versions": {"torch": torch.__version__},
        "loss_every_steps": 20,
        "loss_nats": [round(float(np.mean(losses[i : i + 20])), 4) for i in range(0, len(losses), 20)],
        "licence": "Weights: Apache-2.0. The docstrings are their authors', under the BSD and Apache licences.",
    }
    save_model(place, model, tokenizer, "pointer_generator", card)
    return judge(folder, card)


def judge(folder: Path | None, card: dict) -> Path:
    """Scores, intervals and some summaries of the saved model on the test pairs, as the result file."""
    summarizer = summarization.load_summarizer((folder or sources.WEIGHTS) / NAME)
    pairs = docstrings.pairs("test")
    found = {**baselines(pairs, summarizer.nearest), "pointer-generator": summarizer.summarize(pairs)}
    scored = {name: rouge(texts, pairs) for name, texts in found.items()}
    ours = scored["pointer-generator"]
    kept = ("command", "data", "libraries", "steps", "minutes", "hardware", "versions")
    result = {key: card[key] for key in kept} | {
        "seed": RECIPE.seed,
        "n": len(pairs),
        "scores": {
            name: {measure: vars(bootstrap_mean(values)) for measure, values in by_measure.items()}
            for name, by_measure in scored.items()
        },
        "pointer_generator_minus": {
            name: {measure: vars(interval) for measure, interval in differences(ours, scored[name]).items()}
            for name in found
            if name != "pointer-generator"
        },
    }
    return RESULT.write(result, folder)


def load_result(folder: Path | None = None) -> dict:
    """The result file of `summarize-docstrings`.

    Raises: ValueError if it is missing or damaged.
    """
    return RESULT.read(folder, ("scores",))
