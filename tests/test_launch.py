"""The named commands, and the pre-training they run: cut short, resumed, saved, and the same as in one go."""

import importlib
import inspect
import json
import math

import datasets
import pytest
import tokenizers
import torch

from utils import launch
from utils.data import corpora, sources
from utils.experiments import pretraining
from utils.experiments.pretraining import Recipe, pretrain
from utils.models import pretrained
from utils.models.config import TransformerConfig
from utils.training.checkpoints import CheckpointError
from utils.training.loop import TrainConfig

TINY = dict(context_length=32, d_model=16, n_layers=1, n_heads=2, dropout=0.1)
TRAINING = TrainConfig(max_steps=12, learning_rate=1e-2, warmup_steps=2, optimizer="muon", precision="bf16")
RECIPES = {
    "gpt": Recipe("tiny-gpt", "gpt", TransformerConfig(400, **TINY), TRAINING, 128, ((0, 16), (8, 32))),
    "bert": Recipe(
        "tiny-bert",
        "bert",
        TransformerConfig(400, n_segments=2, **TINY),
        TRAINING,
        128,
        ((0, 16), (8, 32)),
        shift_from=4,
    ),
}


@pytest.fixture(scope="module")
def some_reviews():
    return sources.load_reviews("rotten_tomatoes").select(range(200))["text"][:]


@pytest.fixture(params=RECIPES)
def recipe(request, some_reviews, monkeypatch, tmp_path):
    """A tiny recipe on 200 reviews, with a cache folder of its own; notes which split was asked for."""
    asked = []

    def reviews(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_dict({"text": some_reviews})

    monkeypatch.setattr(corpora, "reviews", reviews)
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path / "cache"))
    yield RECIPES[request.param]
    assert set(asked) == {("imdb", "train")}


def curve(folder):
    return json.loads((folder / "card.json").read_text())["loss_nats"]


def test_a_run_cut_short_and_resumed_equals_the_unbroken_one_bit_for_bit(recipe, tmp_path, monkeypatch):
    whole = pretrain(recipe, folder=tmp_path / "whole")
    monkeypatch.setenv("LLM_COURSE_CACHE", str(tmp_path / "second"))
    assert pretrain(recipe, max_steps=5, folder=tmp_path / "parts") is None
    assert not (tmp_path / "parts").exists()
    run = tmp_path / "second" / "runs" / recipe.name
    assert len((run / "records.jsonl").read_text().splitlines()) == 5
    # What a process killed between two checkpoints leaves: records that are ahead, one of them of a skipped attempt,
    # and a torn last line.
    with open(run / "records.jsonl", "a") as file:
        last = (run / "records.jsonl").read_text().splitlines()[-1]
        file.write(last.replace('"skipped": false', '"skipped": true') + "\n")
        file.write(last.replace('"step": 5', '"step": 6') + '\n{"step"')
    assert pretrain(recipe, max_steps=9, folder=tmp_path / "parts") is None
    parts = pretrain(recipe, folder=tmp_path / "parts")
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (parts / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, 13))
    assert curve(parts) == curve(whole)


def test_the_saved_folder_loads_and_its_card_says_what_was_done(recipe, tmp_path):
    folder = pretrain(recipe, folder=tmp_path / "model")
    model, tokenizer = pretrained.load_model(folder)
    assert model.config == recipe.model and tokenizer.get_vocab_size() <= 400 and not model.training
    card = json.loads((folder / "card.json").read_text())
    assert card["command"] == f"python -m utils.launch {recipe.name}" and card["seed"] == pretraining.SEED
    assert card["steps"] == 12 and card["skipped"] == 0 and card["tokens"] >= 12 * 100
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert card["corpus_tokens"] > 2000 and "200" in card["data"] and "logical cores" in card["hardware"]
    assert card["minutes"] >= 0 and "Apache-2.0" in card["licence"] and card["recipe"]["tokens_per_step"] == 128
    assert len(card["loss_nats"]) == math.ceil(12 / card["loss_every_steps"])
    assert all(4 < loss < 8 for loss in card["loss_nats"])  # the logarithm of 400 is 6
    assert card["versions"]["torch"] == torch.__version__
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "card.json",
    }


def test_a_second_call_with_the_same_last_step_trains_no_further(recipe, tmp_path):
    pretrain(recipe, max_steps=3)
    run = tmp_path / "cache" / "runs" / recipe.name
    before = (run / "checkpoint.pt").read_bytes(), (run / "records.jsonl").read_text()
    assert pretrain(recipe, max_steps=3) is None
    assert ((run / "checkpoint.pt").read_bytes(), (run / "records.jsonl").read_text()) == before


def test_a_fresh_run_forgets_the_earlier_one(recipe, tmp_path):
    pretrain(recipe, max_steps=3)
    log = tmp_path / "cache" / "runs" / recipe.name / "records.jsonl"
    first = [json.loads(line)["loss"] for line in log.read_text().splitlines()]
    pretrain(recipe, max_steps=2, fresh=True)
    assert [json.loads(line)["loss"] for line in log.read_text().splitlines()] == first[:2]


def test_a_damaged_checkpoint_stops_the_command_and_is_left_alone(recipe, tmp_path):
    pretrain(recipe, max_steps=2)
    run = tmp_path / "cache" / "runs" / recipe.name
    (run / "checkpoint.pt").write_bytes((run / "checkpoint.pt").read_bytes()[:-50])
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(CheckpointError, match="damaged"):
        pretrain(recipe)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_special_tokens_come_first_and_words_behind_them(some_reviews):
    bpe, wordpiece = pretraining.train_byte_bpe(some_reviews, 400), pretraining.train_wordpiece(some_reviews, 400)
    for tokenizer, special in ((bpe, pretraining.GPT_SPECIAL), (wordpiece, pretraining.BERT_SPECIAL)):
        assert [tokenizer.token_to_id(token) for token in special] == list(range(8))
        assert tokenizer.get_vocab_size() == 400
    strange = "Ein großer Film – 映画 🎬 \t\n!"
    assert bpe.decode(bpe.encode(strange).ids) == strange
    pair = wordpiece.encode("a film", "bad")
    assert pair.tokens[0] == "[CLS]" and pair.tokens.count("[SEP]") == 2 and pair.type_ids[-1] == 1
    ids = pretraining.masking_ids(wordpiece)
    assert (ids.cls, ids.sep, ids.mask, ids.first_word, ids.vocab_size) == (2, 3, 4, 8, 400)
    assert [wordpiece.id_to_token(int(i)) for i in pretraining.sentence_ends(wordpiece)] == [".", "!", "?"]


@pytest.mark.parametrize("train", [pretraining.train_byte_bpe, pretraining.train_wordpiece])
def test_the_same_texts_give_the_same_vocabulary(some_reviews, train):
    """A resumed run, another rank and another reader train the tokenizer anew: ids must not depend on the process."""
    vocabularies = [train(some_reviews, 400).to_str() for _ in range(4)]
    assert len(set(vocabularies)) == 1


def test_the_wordpiece_vocabulary_is_the_librarys_up_to_ties(some_reviews):
    ours = pretraining.train_wordpiece(some_reviews, 400)
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer, theirs.pre_tokenizer = ours.normalizer, ours.pre_tokenizer
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=400, special_tokens=pretraining.BERT_SPECIAL, limit_alphabet=200, show_progress=False
    )
    theirs.train_from_iterator(some_reviews, trainer)
    assert len(ours.get_vocab().keys() ^ theirs.get_vocab().keys()) < 40
    lengths = [
        sum(len(one.ids) for one in tokenizer.encode_batch_fast(some_reviews, add_special_tokens=False))
        for tokenizer in (ours, theirs)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.01)


def test_a_resumed_run_reads_the_tokenizer_it_was_trained_with(recipe, tmp_path, monkeypatch):
    pretrain(recipe, max_steps=2)
    kept = (tmp_path / "cache" / "runs" / recipe.name / "tokenizer.json").read_text()
    for name in ("train_byte_bpe", "train_wordpiece"):
        monkeypatch.setattr(pretraining, name, None)  # it must not train another
    folder = pretrain(recipe, folder=tmp_path / "model")
    assert (folder / "tokenizer.json").read_text().strip() == kept


@pytest.mark.parametrize("train", [pretraining.train_byte_bpe, pretraining.train_wordpiece])
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_a_tokenizer_of_no_text_is_refused(train, texts):
    with pytest.raises(ValueError, match="expected some text, got none"):
        train(texts)


def test_the_recipes_are_models_of_the_stated_size_in_half_precision():
    for recipe in (pretraining.GPT_RECIPE, pretraining.BERT_RECIPE):
        model = (pretraining.GPT if recipe.family == "gpt" else pretraining.BERT)(recipe.model)
        parameters = sum(p.numel() for p in model.parameters())
        assert 5e6 < parameters < 7.9e6 and 2 * parameters < 16e6
        assert recipe.model.vocab_size == 8192 and recipe.model.context_length == 512


@pytest.mark.parametrize("arguments", [["reviews-llama"], []])
def test_the_command_line_lists_the_names_it_knows(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        launch.main(arguments)
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "reviews-gpt" in message and "reviews-bert" in message


def test_the_command_line_hands_its_options_on(monkeypatch, tmp_path, capsys):
    calls = []

    def pretrain(recipe, max_steps, folder, fresh):
        calls.append((recipe, max_steps, folder, fresh))
        return tmp_path

    monkeypatch.setattr(pretraining, "pretrain", pretrain)
    launch.main(["reviews-bert", "--max-steps", "7", "--folder", str(tmp_path), "--fresh"])
    launch.main(["reviews-gpt"])
    assert calls == [(pretraining.BERT_RECIPE, 7, tmp_path, True), (pretraining.GPT_RECIPE, None, None, False)]
    assert f"saved reviews-bert to {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("max_steps", [0, -3])
def test_no_steps_are_refused_before_anything_is_read(max_steps):
    with pytest.raises(ValueError, match=f"max_steps: expected at least 1, got {max_steps}"):
        pretrain(RECIPES["gpt"], max_steps=max_steps)


@pytest.mark.parametrize("name", launch.COMMANDS)
def test_every_command_is_a_function_with_its_folder(name):
    where, *names = launch.COMMANDS[name]
    module = importlib.import_module(f"utils.experiments.{where}")
    function, *given = (getattr(module, name) for name in names)
    assert "folder" in inspect.signature(function).parameters and function.__doc__ and all(given)
