"""Spoken digits: splits that share no voice, batches from a seed, the recognizer, its errors, and its command."""

import json
import math
import sys

import numpy as np
import pytest
import torch

from utils.data import audio, digit_strings, phone_numbers, recordings, sources, speech
from utils.experiments import digit_language, digits, digits_recognizer, hub_speech
from utils.models import ctc, pretrained
from utils.models.ctc_search import greedy, ngram_language
from utils.models.recognizer import BLANK, Recognizer, load_recognizer
from utils.training import objectives


@pytest.fixture(scope="module")
def spoken():
    return digit_strings.draw_spoken(10, seed=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Recognizer(digits.config(small=True)).eval()


def test_the_splits_share_no_family_and_hold_all_voices():
    splits = [digit_strings.families(split) for split in digit_strings.SPLITS]
    names = [name for families in splits for name in families]
    assert len(names) == len(set(names))
    voices = sorted(voice for families in splits for members in families.values() for voice in members)
    assert voices == sorted(set(speech.variants()) - set(speech.breathy()))
    assert not set(digit_strings.TRAIN_ACCENTS) & set(digit_strings.TEST_ACCENTS)
    assert set(digit_strings.TRAIN_ACCENTS) | set(digit_strings.TEST_ACCENTS) == set(speech.ACCENTS)
    with pytest.raises(ValueError, match="split"):
        digit_strings.families("dev")


@pytest.mark.parametrize(("name", "expected"), [("f1", "f"), ("Mike", "mike"), ("mike2", "mike"), ("klatt", "klatt")])
def test_families_are_names_without_numbers(name, expected):
    assert digit_strings.family(name) == expected


@pytest.mark.parametrize(("text", "expected"), [("4 7 0", (4, 7, 0)), (" 47\t0 ", (4, 7, 0)), ("9", (9,))])
def test_typed_digits(text, expected):
    assert digit_strings.parse_digits(text) == expected


@pytest.mark.parametrize("text", ["", " ", "4a", "４", "²", "-1", "😀", "123456789", None, 47])
def test_what_are_no_digits(text):
    with pytest.raises(ValueError, match="digits: expected"):
        digit_strings.parse_digits(text)


def test_the_same_seed_says_the_same(spoken):
    again = digit_strings.draw_spoken(10, seed=3)
    for a, b in zip(spoken, again, strict=True):
        assert a.digits == b.digits and a.utterance == b.utterance
        np.testing.assert_array_equal(a.samples, b.samples)
    few = digit_strings.draw_spoken(4, seed=3)
    assert [one.utterance for one in few] == [one.utterance for one in spoken[:4]]
    np.testing.assert_array_equal(few[3].samples, spoken[3].samples)
    families = {digit_strings.family(one.utterance.voice.partition("+")[2]) for one in spoken}
    assert families <= set(digit_strings.families("train"))
    assert digit_strings.draw_spoken(2, 3, strings=[(1, 2), (3,)])[0].digits == (1, 2)


@pytest.mark.parametrize("kind", digit_strings.NOISES)
def test_noise_is_as_loud_as_asked(kind):
    rng = np.random.default_rng(0)
    voice = np.sin(np.arange(32_000) / 7).astype(np.float32)
    for decibels in (-5, 0, 20):
        added = digit_strings.add_noise(voice, decibels, rng, kind) - voice
        found = 10 * math.log10(float(np.mean(voice**2) / np.mean(added**2)))
        assert found == pytest.approx(decibels, abs=0.1)
    with pytest.raises(ValueError, match="noise"):
        digit_strings.noise("brown", 10, rng)


def test_batches_follow_from_seed_and_number(spoken):
    first = digit_strings.training_batches(spoken, 4, seed=5)
    batches = [next(first) for _ in range(3)]
    resumed = next(digit_strings.training_batches(spoken, 4, seed=5, start=2))
    for name, tensor in resumed.items():
        assert torch.equal(tensor, batches[2][name])
    for batch in batches:
        B, T, M = batch["features"].shape
        assert M == audio.N_MELS and batch["frame_mask"].shape == (B, T) and len(batch["targets"]) == B
        assert batch["frame_mask"].any(dim=1).all() and objectives.count_targets(batch) > 0
        assert objectives.count_inputs(batch) == B * T
    with pytest.raises(ValueError, match="as many digit strings"):
        digit_strings.collate([], [])


def test_padding_changes_nothing(model, spoken):
    batch = digit_strings.collate([audio.features(torch.from_numpy(one.samples)) for one in spoken],
                                  [one.digits for one in spoken])  # fmt: skip
    with torch.inference_mode():
        log_probs, lengths = model(batch["features"], batch["frame_mask"])
    for row, one in enumerate(spoken):
        alone = model.listen(one.samples)
        assert len(alone) == lengths[row]
        torch.testing.assert_close(log_probs[row, : lengths[row]], alone, rtol=0, atol=1e-4)
    for found, one in zip(digits.frame_log_probs(model, spoken, 3), spoken, strict=True):
        torch.testing.assert_close(found, model.listen(one.samples), rtol=0, atol=1e-4)


def test_the_objective_is_the_lattices_loss(model, spoken):
    batch = digit_strings.collate([audio.features(torch.from_numpy(one.samples)) for one in spoken[:4]],
                                  [one.digits for one in spoken[:4]])  # fmt: skip
    with torch.no_grad():
        loss, count = objectives.ctc(model, batch)
    losses = [ctc.lattice(model.listen(one.samples), one.digits, BLANK).loss for one in spoken[:4]]
    assert count == sum(len(one.digits) for one in spoken[:4])
    assert float(loss) == pytest.approx(sum(losses), rel=1e-4)


def test_attention_weights_sum_to_one(model, spoken):
    features = audio.features(torch.from_numpy(spoken[0].samples))[None]
    with torch.inference_mode():
        for weights in model.attention_weights(features):
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="features"):
        model(torch.zeros(1, 20, 39))


def test_it_learns_a_few_strings_by_heart():
    torch.manual_seed(1)
    few = digit_strings.draw_spoken(8, seed=4)
    model = Recognizer(digits.config(small=True))
    losses = [record.loss for record in digits.train(model, few, 12, 3e-3, seed=0)]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]


def test_edits_rates_and_confusions(spoken):
    heard = [list(one.digits) for one in spoken]
    assert digits.error_rate(spoken, digits.edits(spoken, heard)).estimate == 0
    assert digits.error_rate(spoken, digits.edits(spoken, [[] for _ in spoken])).estimate == 1
    assert np.trace(digits.confusions(spoken, heard)) == sum(len(one.digits) for one in spoken)
    table = digits.confusions(spoken[:1], [[*spoken[0].digits, 7]])
    assert table[10, 7] == 1
    with pytest.raises(ValueError, match="test set"):
        digits.test_set("nobody")


def test_phone_numbers_follow_the_grammar():
    numbers = phone_numbers.phone_numbers(200, seed=1)
    areas = dict(phone_numbers.grammar())
    for number in numbers:
        text = "".join(map(str, number))
        assert len(text) == phone_numbers.LENGTH and text[3:5] in areas[text[:3]]
    assert numbers == phone_numbers.phone_numbers(200, seed=1) != phone_numbers.phone_numbers(200, seed=2)
    assert phone_numbers.phone_numbers(0, 1) == []
    with pytest.raises(ValueError, match="phone numbers"):
        phone_numbers.phone_numbers(-1, 1)
    drawn = {}
    for number in phone_numbers.phone_numbers(20_000, 3):
        drawn[number[:5]] = drawn.get(number[:5], 0) + 1
    shares = np.array(list(drawn.values())) / 20_000
    entropy = -(shares * np.log2(shares)).sum() + 3 * math.log2(10)
    assert entropy == pytest.approx(phone_numbers.bits_a_number(), abs=0.05)


def test_the_language_model_knows_the_town():
    model = digit_language.number_model()
    town, others = (digit_language.strings(kind, 100, seed=8) for kind in digit_language.KINDS)

    def nats(strings):
        return -np.mean([model.log_probs([*one, phone_numbers.END]).sum() for one in strings])

    assert nats(town) < nats(others) - 3
    guess = digit_language.likeliest_number(ngram_language(model))
    area = "".join(map(str, guess[:3]))
    assert area in dict(phone_numbers.grammar()) and len(guess) == 8
    with pytest.raises(ValueError, match="strings"):
        digit_language.strings("dates", 3, 0)


def test_the_comparison_runs_on_any_model(model):
    found = digit_language.compare(model, n=3, n_tune=2)
    assert found["weight"] in digit_language.WEIGHTS
    for kind in digit_language.KINDS:
        assert set(found[kind]) == {"greedy", "beam", "with language model", "language model alone", "difference"}


def test_the_command_saves_a_model_and_its_measurements(tmp_path, monkeypatch):
    monkeypatch.setattr(digits, "N_TRAIN", 6)
    monkeypatch.setattr(digits_recognizer, "measure", lambda model: {"word_error_rate": {}})
    monkeypatch.setattr(digits_recognizer, "language_part", lambda model: {})
    folder = digits_recognizer.digits_recognizer(tmp_path / "digits", max_steps=2)
    saved = load_recognizer(folder)
    assert sum(p.numel() for p in saved.parameters()) < 1_000_000
    card = json.loads((folder / "card.json").read_text())
    assert card["name"] == "digits-recognizer" and len(card["loss_nats"]) == 1
    result = json.loads((folder / "digits.json").read_text())
    assert {"command", "seed", "hardware", "versions", "data", "minutes"} <= set(result)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(pretrained.WeightsError):
        load_recognizer(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(pretrained.WeightsError, match="config.json"):
        load_recognizer(folder)


def test_a_missing_model_says_how_to_train_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "WEIGHTS", tmp_path)
    with pytest.raises(sources.SourceError, match="utils.launch digits-recognizer"):
        load_recognizer()


def test_the_shipped_recognizer_hears_voices_it_never_heard():
    """The committed result, and the committed weights on a part of the same test."""
    result = digits_recognizer.RESULT.read()
    rate = result["word_error_rate"]["unheard voices"]
    assert rate["estimate"] <= 0.05
    part = digits.test_set("unheard voices", 40)
    found = [greedy(one, BLANK) for one in digits.frame_log_probs(load_recognizer(), part)]
    assert digits.error_rate(part, digits.edits(part, found)).estimate < 0.1
    assert (sources.WEIGHTS / "digits-recognizer" / "model.safetensors").stat().st_size < 2e6


def test_the_hub_switch_says_that_it_is_not_here():
    with pytest.raises(sources.SourceError, match="offline.*not here"):
        hub_speech.transcribe("librispeech", 2)
    for arguments in (("timit", 2), ("digits", 0)):
        with pytest.raises(ValueError, match="transcribe"):
            hub_speech.transcribe(*arguments)


def test_the_hub_switch_reads_sound_files(monkeypatch):
    tone = np.sin(np.arange(22_050) / 9).astype(np.float32)
    samples = hub_speech.decoded(recordings.wav_bytes(tone, 22_050))
    assert len(samples) == 16_000
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(sources.SourceError, match="soundfile"):
        hub_speech.decoded(b"fLaC and so on")
