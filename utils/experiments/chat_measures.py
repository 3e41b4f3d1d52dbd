"""What an answer is worth: picking the right one of ten, and the bits that the right one costs."""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer
from torch import nn

from utils.data import conversations
from utils.data.conversations import SEPARATOR, Exchange, normal
from utils.experiments.fine_tuning import ENCODER
from utils.experiments.results import pack
from utils.experiments.tuned_gpt import as_numbers, bits, nats
from utils.metrics import intervals
from utils.models.heads import sentence_embeddings
from utils.models.pretrained import load_model
from utils.models.transformer import BERT, GPT
from utils.text.bm25 import BM25, words

N_CANDIDATES, N_JUDGED = 10, 400
NEIGHBORS = 20  # training questions that are looked at
SAME_ANSWER = 0.5  # what a look-up stakes on the answers that it finds


@dataclass(frozen=True)
class Quiz:
    """Held-out questions, each with ten answers of which one is its own: its place among them. Shapes: places (N,)."""

    questions: list[str]
    candidates: list[list[str]]
    places: np.ndarray


def unique_questions(some: Sequence[Exchange]) -> list[Exchange]:
    """The first exchange of each question."""
    first: dict[str, Exchange] = {}
    for one in some:
        first.setdefault(normal(one.question), one)
    return list(first.values())


def make_quiz(some: Sequence[Exchange], seed: int = 0, n_candidates: int = N_CANDIDATES) -> Quiz:
    """A quiz of exchanges with different questions; the wrong candidates are other questions' answers.

    Raises: ValueError for fewer different answers than candidates.
    """
    answers = list({normal(one.answer): one.answer for one in some}.values())
    if len(answers) < n_candidates:
        raise ValueError(f"quiz: expected at least {n_candidates} different answers, got {len(answers)}")
    random, candidates, places = np.random.default_rng([seed, 8]), [], []
    for one in some:
        wrong = [text for text in answers if normal(text) != normal(one.answer)]
        row = [wrong[i] for i in random.choice(len(wrong), n_candidates - 1, replace=False)]
        place = int(random.integers(n_candidates))
        candidates.append([*row[:place], one.answer, *row[place:]])
        places.append(place)
    return Quiz([one.question for one in some], candidates, np.array(places))


def hits(scores: np.ndarray, quiz: Quiz, seed: int = 0) -> np.ndarray:
    """Which questions get their own answer the highest score; a coin decides between equals. Shapes: (N, C) -> (N,)."""
    jitter = np.random.default_rng([seed, 9]).permuted(np.tile(np.arange(scores.shape[1]), (len(scores), 1)), axis=1)
    best = np.lexsort((jitter, np.round(scores, 9)), axis=1)[:, -1]
    return best == quiz.places


def frequency_scores(quiz: Quiz, train: Sequence[Exchange]) -> np.ndarray:
    """How often each candidate answers a training question. Shapes: (N, C)."""
    counts = Counter(normal(one.answer) for one in train)
    return np.array([[counts[normal(text)] for text in row] for row in quiz.candidates], dtype=float)


def word_scores(quiz: Quiz, train: Sequence[Exchange]) -> np.ndarray:
    """BM25: words that a candidate shares with the question, or with answers to the most similar training questions.

    Each similar question's answer votes with its question's share of the best score. Shapes: (N, C).
    """
    known = BM25([words(one.question) for one in train])
    flat = list(itertools.chain.from_iterable(quiz.candidates))
    index, rows = BM25([words(text) for text in flat]), []
    for i, question in enumerate(quiz.questions):
        own = slice(i * len(quiz.candidates[i]), (i + 1) * len(quiz.candidates[i]))
        near = known.scores(words(question))
        best = np.argsort(-near, kind="stable")[:NEIGHBORS]
        votes = [near[j] / max(near[best[0]], 1e-9) * index.scores(words(train[j].answer))[own] for j in best]
        rows.append(index.scores(words(question))[own] + np.max(votes, axis=0))
    return np.array(rows)


class EncoderRetrieval:
    """Finds answers by meaning: questions and answers as vectors of the packaged encoder.

    encoder: the encoder and its tokenizer, where they are loaded already.
    Raises: SourceError if the encoder is not installed.
    """

    def __init__(self, train: Sequence[Exchange], encoder: tuple[BERT, Tokenizer] | None = None) -> None:
        self.encoder, self.tokenizer = encoder or load_model(ENCODER)
        self.train = list(train)
        self.questions, self.answers = (self.embed([getattr(one, part) for one in train])
                                        for part in ("question", "answer"))  # fmt: skip

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1. Shapes: (N, D)."""
        return sentence_embeddings(self.encoder, self.tokenizer, list(texts), 64).numpy()

    def nearest(self, question: str) -> tuple[Exchange, float]:
        """The training exchange with the most similar question, and the cosine."""
        cosines = self.questions @ self.embed([question])[0]
        best = int(cosines.argmax())
        return self.train[best], float(cosines[best])

    def scores(self, quiz: Quiz) -> np.ndarray:
        """Cosine of question and candidate, plus the best product of cosines over the similar training questions.

        Shapes: (N, C).
        """
        asked = self.embed(quiz.questions)
        different = sorted(set(itertools.chain.from_iterable(quiz.candidates)))
        places = np.array([[different.index(text) for text in row] for row in quiz.candidates])
        offered = self.embed(different)[places]  # (N, C, D)
        direct = np.einsum("nd,ncd->nc", asked, offered)
        near = asked @ self.questions.T  # (N, train)
        best = np.argsort(-near, axis=1)[:, :NEIGHBORS]
        votes = np.einsum("nkd,ncd->nkc", self.answers[best], offered) * np.take_along_axis(near, best, 1)[..., None]
        return direct + votes.max(axis=1)


def answer_nats(model: nn.Module, tokenizer: Tokenizer, prompts: Sequence[Sequence[str]], answers: Sequence[str]):
    """-log p of each answer and its end behind a prompt of turns, in nats. Shapes: (N,)."""
    stop = tokenizer.token_to_id(SEPARATOR)
    fronts = [conversations.prompt_ids(tokenizer, turns) for turns in prompts]
    texts = [[*conversations.answer_ids(tokenizer, text), stop] for text in answers]
    return nats(model, fronts, texts)


def model_scores(model: GPT, tokenizer: Tokenizer, quiz: Quiz) -> np.ndarray:
    """How much likelier a question makes each candidate than an empty one does, in nats. Shapes: (N, C)."""
    flat = list(itertools.chain.from_iterable(quiz.candidates))
    prompts = [[question] for question, row in zip(quiz.questions, quiz.candidates, strict=True) for _ in row]
    behind = answer_nats(model, tokenizer, prompts, flat)
    different = list(dict.fromkeys(flat))
    alone = dict(zip(different, answer_nats(model, tokenizer, [[""]] * len(different), different), strict=True))
    return (np.array([alone[text] for text in flat]) - behind).reshape(np.shape(quiz.candidates))


def standardized(scores: np.ndarray) -> np.ndarray:
    """Scores of each row with mean 0 and deviation 1, so that two kinds can be added. Shapes: (N, C) -> (N, C)."""
    return (scores - scores.mean(axis=1, keepdims=True)) / (scores.std(axis=1, keepdims=True) + 1e-9)


def staked(alone: np.ndarray, found: Sequence[Sequence[str]], answers: Sequence[str]) -> np.ndarray:
    """-log p (N,) of a look-up as a language model: half of its stake on the answers it finds, the rest on a model's.

    Without the model's half, an answer that was not found would cost infinitely many bits.
    """
    shares = [np.mean([normal(text) == normal(own) for text in some]) if some else 0.0
              for some, own in zip(found, answers, strict=True)]  # fmt: skip
    return -np.log(SAME_ANSWER * np.array(shares) + (1 - SAME_ANSWER) * np.exp(-alone))


def read_answers(tuned: GPT, base: GPT, tokenizer: Tokenizer, test: Sequence[Exchange], train: Sequence[Exchange]):
    """What the right answers cost each reader, in nats (N,) by name, and the answers' bytes (N,)."""
    questions, answers = [[one.question] for one in test], [one.answer for one in test]
    others = questions[1:] + questions[:1]
    found = {
        "chat model": answer_nats(tuned, tokenizer, questions, answers),
        "chat model, another question": answer_nats(tuned, tokenizer, others, answers),
        "reviews-gpt": answer_nats(base, tokenizer, questions, answers),
        "reviews-gpt, another question": answer_nats(base, tokenizer, others, answers),
    }
    known = BM25([words(one.question) for one in train])
    nearest = [[train[int(known.scores(words(one.question)).argmax())].answer] for one in test]
    common = [text for text, _ in Counter(one.answer for one in train).most_common(10)]
    found["ten most frequent answers"] = staked(found["reviews-gpt"], [common] * len(test), answers)
    found["nearest question (BM25)"] = staked(found["reviews-gpt"], nearest, answers)
    return found, np.array([len(text.encode()) + 1 for text in answers])


def judge_reviews(model: GPT, tokenizer: Tokenizer, n: int, seed: int, wording: int = 0) -> np.ndarray:
    """Which short reviews a model judges right when it is asked to, in a wording that it never saw. Shapes: (N,)."""
    some = conversations.instructions("test", n, seed, wording)
    costs = np.stack([answer_nats(model, tokenizer, [[one.question] for one in some], [verdict] * n)
                      for verdict in conversations.VERDICTS])  # fmt: skip
    return costs.argmin(axis=0) == np.array([conversations.VERDICTS.index(one.answer) for one in some])


def measure(tuned: GPT, base: GPT, tokenizer: Tokenizer, seed: int, n_judged: int = N_JUDGED) -> dict:
    """Everything about a chat model that the result file says."""
    train, test = conversations.exchanges("train"), unique_questions(conversations.exchanges("test"))
    quiz = make_quiz(test, seed)
    retrieval = EncoderRetrieval(train)
    scores = {
        "most frequent answer": frequency_scores(quiz, train),
        "nearest question (BM25)": word_scores(quiz, train),
        "reviews-gpt": model_scores(base, tokenizer, quiz),
        "chat model": model_scores(tuned, tokenizer, quiz),
        "encoder": retrieval.scores(quiz),
    }
    scores["encoder and chat model"] = standardized(scores["encoder"]) + standardized(scores["chat model"])
    right = {name: hits(row, quiz, seed) for name, row in scores.items()}
    found, n_bytes = read_answers(tuned, base, tokenizer, test, train)
    judged = {name: judge_reviews(model, tokenizer, n_judged, seed)
              for name, model in (("reviews-gpt", base), ("chat model", tuned))}  # fmt: skip
    return {
        "n_questions": len(test),
        "n_candidates": N_CANDIDATES,
        "recall_at_1": {name: pack(row) for name, row in right.items()},
        "bits_per_byte": {name: as_numbers(bits(row, n_bytes)) for name, row in found.items()},
        "more_than_chat_model": {
            name: as_numbers(bits(row, n_bytes, found["chat model"])) for name, row in found.items()
        },
        "n_judged": n_judged,
        "judged_right": {name: pack(row) for name, row in judged.items()},
        "judged_right_more": as_numbers(
            intervals.paired_bootstrap_accuracy(judged["chat model"], judged["reviews-gpt"])
        ),
    }
