"""Translator and summarizer, trained for a moment: saved, read back, judged, and what they refuse."""

import dataclasses

import pytest
import torch

from utils.data import docstrings, sources, translation_pairs
from utils.data.sources import SourceError
from utils.experiments import summarization, summarization_runs, translation, translation_runs
from utils.experiments.seq2seq import Averaged, Recipe, batch_of
from utils.models.encoder_decoder import EncoderDecoder
from utils.training.objectives import target_tokens

TINY = Recipe(d_model=16, n_layers=1, n_heads=2, d_ff=16, vocab_size=900, batch_size=16, epochs=2)
NOTES = [
    docstrings.Pair(f"It reads the {thing} of a table. The {thing} is kept for later.", f"Read the {thing}.", "x", "r")
    for thing in ("row", "column", "index", "name", "value", "type", "size", "shape", "file", "page", "line", "word")
]


@pytest.fixture
def tiny_translation(monkeypatch):
    """Recipes and data of a moment's training."""
    every = translation_pairs.pairs
    for module in (translation, translation_runs):
        monkeypatch.setattr(module, "RECIPE", TINY)
    monkeypatch.setattr(translation_pairs, "pairs", lambda split: every(split)[:80 if split == "train" else 20])


@pytest.fixture
def tiny_summaries(monkeypatch):
    """The same for summaries."""
    for module in (summarization, summarization_runs):
        monkeypatch.setattr(module, "RECIPE", dataclasses.replace(TINY, vocab_size=200, batch_size=4))
    monkeypatch.setattr(docstrings, "pairs", lambda split: NOTES)


def test_the_translator_is_trained_saved_and_judged(tiny_translation, tmp_path):
    path = translation_runs.translate_interface(tmp_path)
    result = translation_runs.load_result(path.parent)
    systems = {"copy", "nearest pair", "dictionary", "nearest or dictionary", "encoder-decoder, greedy"}
    assert result["test"]["scores"].keys() == {*systems, *translation_runs.OURS} and len(result["translations"]) == 20
    for name, others in result["test"]["minus"].items():
        assert name in translation_runs.OURS and others.keys() == result["test"]["scores"].keys() - {name}
    translator = translation.load_translator(tmp_path / translation.NAME)
    texts = [translation_pairs.pairs("train")[7].english, "Open the %s file"]
    candidates = translator.candidates(texts)
    known = 1 + translation.DICTIONARY_VOTE + translation.NEAREST_VOTE  # a training pair is as near as can be
    assert sum(candidates[0].values()) == pytest.approx(known) and sum(candidates[1].values()) < known
    assert [next(iter(votes)) for votes in candidates] == [beams[0][0] for beams in translator.by_beams(texts)]
    assert translation.by_consensus([{"open the file": 1.0, "open the files": 1.0, "xyz": 1.5}]) != ["xyz"]
    found = translator.translate("Open the %s file")
    assert found.weights.shape == (2, len(found.target_tokens), sum(map(len, found.source_parts)))
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(2, len(found.target_tokens)))
    assert found.target_tokens[-1] == "<end>"
    assert len(found.source_parts) == 3 and "%s" in found.source_parts[1] and len(found.copying) > 0


def test_the_summarizer_is_trained_saved_and_judged(tiny_summaries, tmp_path):
    path = summarization_runs.summarize_docstrings(tmp_path)
    result = summarization_runs.load_result(path.parent)
    assert result["scores"].keys() == {"lead", "TextRank", "nearest", *summarization_runs.OURS}
    assert all(result["minus"][name].keys() == {"lead", "TextRank", "nearest"} for name in summarization_runs.OURS)
    summarizer = summarization.load_summarizer(tmp_path / summarization.NAME)
    assert len(summarizer.summarize(NOTES[:3])) == 3
    unheard = docstrings.Pair("Quite another thing: zebras sleep.", "", "x", "zebra")
    known, written = summarizer.look_up_or_write([NOTES[0], unheard])
    assert known == NOTES[0].summary and written == summarizer.summarize([unheard])[0]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "got an empty one"),
        (" \n\t ", "got an empty one"),
        ("word " * 40, "at most 120 characters, got 199"),
        ("打开文件", "got “打”"),
        ("open 🙂", "got “🙂”"),
        ("Откройте", "Latin letters"),
        ("open\x00file", "control characters"),
        ("123 %s!", None),
        ("42 …", "at least one English word"),
    ],
)
def test_what_cannot_be_translated_is_said(text, message):
    if message is None:
        assert translation.check_english(text) == text
        return
    with pytest.raises(ValueError, match=message):
        translation.check_english(text)


def test_baselines_of_summaries():
    pair = docstrings.Pair("It is short. It reads rows of it.", "Read rows.", "x", "read_csvRows")
    assert summarization.title("read_csvRows") == "read csv Rows" and summarization.title("__") == "__"
    assert summarization.lead(pair, 5) == "read csv Rows: It is"
    assert summarization.ranked(pair).startswith("read csv Rows: It ")
    nearest = summarization.Nearest(NOTES)
    assert nearest.summaries(NOTES[:2]) == [note.summary for note in NOTES[:2]]
    assert [round(cosine, 5) for _, cosine in nearest.find(NOTES[:2])] == [1.0, 1.0]
    assert nearest.find(NOTES, themselves=True)[0][0] != NOTES[0].summary


def test_smoothed_loss_is_pytorchs_and_its_mean_is_per_target():
    model = EncoderDecoder(TINY.model_config(40)).eval()
    batch = batch_of([[5, 6], [7]], [[8, 9, 10], [11]])
    loss, count = target_tokens(0.2)(model, batch)
    logits = model(batch["input_ids"], batch["decoder_ids"], batch["attention_mask"])
    kept = batch["targets"] != -100
    expected = torch.nn.functional.cross_entropy(logits[kept], batch["targets"][kept], label_smoothing=0.2)
    assert count == 6
    torch.testing.assert_close(loss / count, expected)


def test_the_average_follows_the_weights():
    layer = torch.nn.Linear(2, 2)
    average = Averaged(layer, 0.5)
    first = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer)
    share = min(0.5, 1 / 21)
    torch.testing.assert_close(average.weights["weight"], share * first + (1 - share) * (first + 1))


def test_missing_weights_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "WEIGHTS", tmp_path)
    with pytest.raises(SourceError, match="utils.launch translate-interface"):
        sources.model_folder("interface-translation")
    with pytest.raises(SourceError, match="utils.launch summarize-docstrings"):
        sources.model_folder("docstring-summaries")
