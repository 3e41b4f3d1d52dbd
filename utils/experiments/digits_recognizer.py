"""The named command digits-recognizer: train the course's recognizer of spoken digits, save it, and measure it."""

import dataclasses
import time
from pathlib import Path

import torch
from tqdm.auto import tqdm

from utils import environment
from utils.data import digit_strings, recordings, sources, speech
from utils.experiments import digit_language, digits
from utils.experiments.results import ResultFile, loss_curve, one_process
from utils.metrics import intervals
from utils.models import ctc_search
from utils.models.pretrained import write_model
from utils.models.recognizer import BLANK, Recognizer, load_recognizer

FOLDER = sources.WEIGHTS / "digits-recognizer"
RESULT = ResultFile("digits", "digits-recognizer")
NOISE_LEVELS = (20, 10, 5, 0, -5)  # decibels
N_LANGUAGE, N_TUNE = 300, 100


def numbers(interval: intervals.Interval) -> dict[str, float]:
    """An interval for a result file."""
    return {name: round(getattr(interval, name), 5) for name in ("estimate", "low", "high")}


def measure(model: Recognizer) -> dict:
    """Greedy word error rates of every test set, and of the unheard voices in more and more noise."""
    sets, noise = {}, {}
    for name in digits.TEST_SETS:
        spoken = digits.test_set(name)
        found = [ctc_search.greedy(one, BLANK) for one in digits.frame_log_probs(model, spoken)]
        sets[name] = numbers(digits.error_rate(spoken, digits.edits(spoken, found)))
        if name == "unheard voices":
            table = digits.confusions(spoken, found)
    clean = digit_strings.draw_spoken(digits.N_TEST, digits.TEST_SEED, "test")
    for level in NOISE_LEVELS:
        spoken = digits.noisy(clean, level)
        found = [ctc_search.greedy(one, BLANK) for one in digits.frame_log_probs(model, spoken)]
        noise[str(level)] = numbers(digits.error_rate(spoken, digits.edits(spoken, found)))
    return {"word_error_rate": sets, "noise_decibels": noise, "confusions_of_unheard_voices": table.tolist()}


def language_part(model: Recognizer) -> dict:
    """What the language model adds, for a result file."""
    found = digit_language.compare(model, N_LANGUAGE, N_TUNE)
    for kind in digit_language.KINDS:
        found[kind] = {name: numbers(interval) for name, interval in found[kind].items()}
    return {"decibels": digit_language.DECIBELS, **found}


def digits_recognizer(folder: Path | None = None, max_steps: int | None = None) -> Path:
    """Train the course's recognizer of spoken digits, save it in half precision, and measure what was saved."""
    one_process("digits-recognizer")
    began, weights = time.perf_counter(), folder or FOLDER
    environment.seed_everything(digits.SEED)
    spoken = digit_strings.draw_spoken(digits.N_TRAIN, digits.SEED)
    model, steps = Recognizer(digits.config()), max_steps or digits.STEPS
    run = digits.train(model, spoken, steps, digits.LEARNING_RATE, digits.SEED)
    records = list(tqdm(run, total=steps, desc=weights.name))
    trained = time.perf_counter()
    seconds = sum(len(one.samples) for one in spoken) / recordings.SAMPLE_RATE
    provenance = {
        **RESULT.heading(**{speech.PACKAGE: speech.VERSION}),
        "seed": digits.SEED,
        "threads": torch.get_num_threads(),
        "data": f"{len(spoken)} strings of 1 to {digit_strings.LONGEST} digits ({seconds / 60:.0f} minutes), spoken by "
        f"eSpeak NG in {len(digit_strings.families('train'))} voice families, made noisy anew in each step",
    }
    card = {
        "name": "digits-recognizer",
        **provenance,
        "recipe": dataclasses.asdict(digits.training_config(steps, digits.LEARNING_RATE)),
        "batch_size": digits.BATCH_SIZE,
        "minutes": round((trained - began) / 60, 1),
        **loss_curve(records, 20),
        "licence": "Weights: Apache-2.0. Trained on speech made with eSpeak NG (GPL-3.0-or-later). For teaching only.",
    }
    write_model(weights, model, {"n_mels": model.n_mels, **model.config.to_dict()}, card)
    saved = load_recognizer(weights)
    found = {**provenance, **measure(saved), "language": language_part(saved)}
    found["minutes"] = round((time.perf_counter() - began) / 60, 1)
    RESULT.write(found, folder)
    return weights
