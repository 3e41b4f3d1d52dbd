"""The named command `translate-interface`: trains the shipped translator and judges it beside what needs no network."""

import time
from pathlib import Path

import numpy as np

from utils.data import sources, translation_pairs
from utils.experiments import seq2seq, translation
from utils.experiments.results import ResultFile, one_process
from utils.experiments.translation import NAME, RECIPE, Translator
from utils.metrics.intervals import Interval, bootstrap
from utils.metrics.overlap import bleu_counts, bleu_from_counts, chrf
from utils.models.pointer import PointerGenerator
from utils.models.pretrained import save_model
from utils.text.interface_text import pieces

RESULT = ResultFile("translation", "translate-interface")
OURS = ("encoder-decoder, beams", "consensus")


def baselines(translator: Translator, texts: list[str]) -> dict[str, list[str]]:
    """What needs no network: the English, the nearest training pair's Chinese, word by word, and a choice."""
    drafts = translator.drafts
    by_words = [drafts.translate_by_words(text) for text in texts]
    return {
        "copy": texts,
        "nearest pair": [pair.chinese for pair in drafts.nearest(texts)],
        "dictionary": by_words,
        "nearest or dictionary": drafts.choose(texts, by_words),
    }


def chinese_bleu(hypotheses: list[str], references: list[str]) -> float:
    """BLEU over Chinese characters, words of other scripts, and signs."""
    return bleu_from_counts(bleu_counts(hypotheses, references, tokenize=pieces).sum(axis=0)).score


def bleu_difference(first: list[str], second: list[str], references: list[str], seed: int = 0) -> Interval:
    """Paired bootstrap interval of BLEU(first) - BLEU(second): the same sentences are drawn for both.

    Source: Koehn 2004, section 4.
    """
    a, b = (bleu_counts(texts, references, tokenize=pieces) for texts in (first, second))

    def statistic(rows: np.ndarray) -> np.ndarray:
        flat = rows.reshape(-1, rows.shape[-1])
        values = [bleu_from_counts(a[r].sum(0)).score - bleu_from_counts(b[r].sum(0)).score for r in flat]
        return np.array(values).reshape(rows.shape[:-1])

    return bootstrap(statistic, len(references), n_resamples=2000, generator=seed)


def scores(hypotheses: dict[str, list[str]], references: list[str]) -> dict[str, dict[str, float]]:
    """BLEU and chrF by system."""
    return {
        name: {"bleu": chinese_bleu(texts, references), "chrf": chrf(texts, references)}
        for name, texts in hypotheses.items()
    }


def translate_interface(folder: Path | None = None) -> Path:
    """Train, save in half precision, read back, translate the held-out pairs, and write scores and translations."""
    one_process(RESULT.command)
    began = time.process_time()
    drafts, rows, tokenizer = translation.prepare()
    model = seq2seq.new_model(tokenizer, RECIPE)
    average = seq2seq.Averaged(model, RECIPE.decay)
    pairs = translation_pairs.pairs("validation")

    def score(judged: PointerGenerator) -> str:
        written = Translator(judged, tokenizer, drafts).greedily([pair.english for pair in pairs])
        return f"validation BLEU {chinese_bleu(written, [pair.chinese for pair in pairs]):.1f}"

    training = translation.train(model, tokenizer, rows, RECIPE, average=average)
    records = seq2seq.fit(model, training, average, RECIPE.steps(len(rows)), score)
    place = (folder or sources.WEIGHTS) / NAME
    card = {
        "name": NAME,
        "command": RESULT.run,
        "data": f"{len(rows)} English-Chinese pairs of {', '.join(translation_pairs.PACKAGES)}",
        **seq2seq.card_of(model, RECIPE, records, (time.process_time() - began) / 60),
        "licence": "Weights: Apache-2.0. The texts are their translators', under the BSD licences of the packages.",
    }
    save_model(place, model, tokenizer, "pointer_generator", card)
    return judge(folder, card)


def judge(folder: Path | None, card: dict) -> Path:
    """Scores, intervals and translations of the saved model on the test pairs, as the result file."""
    translator = translation.load_translator((folder or sources.WEIGHTS) / NAME)
    result = {key: card[key] for key in ("command", "data", "steps", "minutes", "hardware", "versions")}
    result["seed"] = RECIPE.seed
    for split in ("validation", "test"):
        pairs = translation_pairs.pairs(split)
        texts, references = [p.english for p in pairs], [p.chinese for p in pairs]
        found = baselines(translator, texts)
        candidates = translator.candidates(texts)
        found["encoder-decoder, greedy"] = translator.greedily(texts)
        found["encoder-decoder, beams"] = [next(iter(votes)) for votes in candidates]  # the best beam stands first
        found["consensus"] = translation.by_consensus(candidates)
        result[split] = {
            "n": len(pairs),
            "scores": scores(found, references),
            "minus": {
                ours: {
                    name: vars(bleu_difference(found[ours], texts, references))
                    for name, texts in found.items() if name != ours
                }
                for ours in OURS
            },
        }  # fmt: skip
        if split == "test":
            result["translations"] = found["consensus"]
    return RESULT.write(result, folder)


def load_result(folder: Path | None = None) -> dict:
    """The result file of `translate-interface`.

    Raises: ValueError if it is missing or damaged.
    """
    return RESULT.read(folder, ("test",))
