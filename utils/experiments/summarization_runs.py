"""The named command `summarize-docstrings`: trains the shipped summarizer and judges it beside simpler ones."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from utils.data import docstrings, sources
from utils.data.docstrings import Pair
from utils.experiments import seq2seq, summarization
from utils.experiments.results import ResultFile, one_process
from utils.experiments.summarization import NAME, RECIPE, Nearest, Summarizer
from utils.metrics.intervals import Interval, bootstrap_mean
from utils.metrics.overlap import rouge_l, rouge_n
from utils.models.pointer import PointerGenerator
from utils.models.pretrained import save_model

RESULT = ResultFile("summarization", "summarize-docstrings")
MEASURES = ("rouge-1", "rouge-2", "rouge-l")
OURS = ("pointer-generator", "nearest or network")


def baselines(pairs: Sequence[Pair], nearest: Nearest) -> dict[str, list[str]]:
    """What needs no network: the first words, TextRank's sentence, and the summary of the nearest document."""
    return {
        "lead": [summarization.lead(pair) for pair in pairs],
        "TextRank": [summarization.ranked(pair) for pair in pairs],
        "nearest": nearest.summaries(pairs),
    }


def written(pairs: Sequence[Pair], summarizer: Summarizer) -> dict[str, list[str]]:
    """What our systems make of documents: the network alone, and a look-up before it."""
    alone = summarizer.summarize(pairs)
    return dict(zip(OURS, (alone, summarizer.look_up_or_write(pairs, alone)), strict=True))


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
    model = seq2seq.new_model(tokenizer, RECIPE)
    average = seq2seq.Averaged(model, RECIPE.decay)
    pairs = docstrings.pairs("validation")

    def score(judged: PointerGenerator) -> str:
        written = Summarizer(judged, tokenizer, nearest).summarize(pairs)
        return f"validation ROUGE-L {rouge(written, pairs)['rouge-l'].mean():.3f}"

    training = summarization.train(model, tokenizer, rows, RECIPE, average=average)
    records = seq2seq.fit(model, training, average, RECIPE.steps(len(rows)), score)
    place = (folder or sources.WEIGHTS) / NAME
    card = {
        "name": NAME,
        "command": RESULT.run,
        "data": f"{len(rows)} docstrings of the libraries below",
        "libraries": docstrings.versions(),
        **seq2seq.card_of(model, RECIPE, records, (time.process_time() - began) / 60),
        "licence": "Weights: Apache-2.0. The docstrings are their authors', under the BSD and Apache licences.",
    }
    save_model(place, model, tokenizer, "pointer_generator", card)
    return judge(folder, card)


def judge(folder: Path | None, card: dict) -> Path:
    """Scores, intervals and some summaries of the saved model on the test pairs, as the result file."""
    summarizer = summarization.load_summarizer((folder or sources.WEIGHTS) / NAME)
    pairs = docstrings.pairs("test")
    simple = baselines(pairs, summarizer.nearest)
    found = simple | written(pairs, summarizer)
    scored = {name: rouge(texts, pairs) for name, texts in found.items()}
    kept = ("command", "data", "libraries", "steps", "minutes", "hardware", "versions")
    result = {key: card[key] for key in kept} | {
        "seed": RECIPE.seed,
        "n": len(pairs),
        "scores": {
            name: {measure: vars(bootstrap_mean(values)) for measure, values in by_measure.items()}
            for name, by_measure in scored.items()
        },
        "minus": {
            name: {
                other: {m: vars(interval) for m, interval in differences(scored[name], scored[other]).items()}
                for other in simple
            }
            for name in OURS
        },
    }
    return RESULT.write(result, folder)


def load_result(folder: Path | None = None) -> dict:
    """The result file of `summarize-docstrings`.

    Raises: ValueError if it is missing or damaged.
    """
    return RESULT.read(folder, ("scores",))
