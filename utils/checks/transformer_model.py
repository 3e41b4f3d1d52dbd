"""Properties for lab 06: the number of parameters, greedy writing, and the whole GPT."""

import functools

import torch
import torch.nn.functional as F

from utils.checks import gpt2_oracle as oracle
from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_equal, is_tensor
from utils.data import corpora, sources
from utils.models.pretrained import load_model, load_weights

LOGITS = 1e-4  # the capstone's target

# Exercise 5: the number of parameters


def _sizes(draw):
    vocab_size, context_length = draw.number(50, 400), draw.number(20, 90)
    return vocab_size, context_length, 2 * draw.number(3, 12) + 1, draw.number(2, 5)


def _count(answer, *sizes):
    got = answer(*sizes)
    if isinstance(got, torch.Tensor) and got.numel() == 1 or isinstance(got, float) and got == int(got):
        got = int(got)  # a whole number in another dress
    if not isinstance(got, int) or isinstance(got, bool):
        raise NotYet("The result is not a whole number.", {"expected": "an int", "got": describe(got)},
                     "Parameters are counted with whole numbers: use `//` where you divide.")
    return got


def _same_number(got, expected, problem, hint, slips):
    if got != expected:
        hint = next((why for why, number in slips.items() if number == got), hint)
        raise NotYet(problem, {"expected": f"{expected:,}", "got": f"{got:,}"}, hint)


def count_whole(answer, draw):
    """A whole number."""
    _count(answer, *_sizes(draw))


def count_block(answer, draw):
    """One more layer adds as many as it does in the library's model."""
    vocab_size, context_length, D, n_layers = _sizes(draw)
    added = [_count(answer, vocab_size, context_length, D, n) for n in (n_layers, n_layers + 1)]
    truth = [oracle.n_parameters(vocab_size, context_length, D, n) for n in (n_layers, n_layers + 1)]
    block = truth[1] - truth[0]
    _same_number(added[1] - added[0], block, f"With D = {D}, one more block adds the wrong number.",
                 "A block has four projections of attention, two linear layers and two norms. Each has biases, too.",
                 {"The biases of the linear layers are missing.": block - 9 * D,
                  "All biases are missing, those of the norms, too.": block - 11 * D,
                  "The norms are missing: each has a weight and a bias.": block - 4 * D,
                  "One of the two norms is missing.": block - 2 * D,
                  "The biases and the norms are missing.": block - 13 * D,
                  "Attention's output projection is missing.": block - D * D - D,
                  "The first bias of the feed-forward layer has a number for each inner feature.": block - 3 * D,
                  "Every block has weights of its own.": 0})


def count_embeddings(answer, draw):
    """One more token or position adds D numbers."""
    sizes = _sizes(draw)
    D, before = sizes[2], _count(answer, *sizes)
    token = _count(answer, sizes[0] + 1, *sizes[1:]) - before
    _same_number(token, D, f"With D = {D}, one more token of the vocabulary adds the wrong number.",
                 "Each token has one vector.",
                 {"The vocabulary was counted twice. The output uses the same matrix as the input.": 2 * D,
                  "The output has no bias.": D + 1})
    position = _count(answer, sizes[0], sizes[1] + 1, *sizes[2:]) - before
    _same_number(position, D, f"With D = {D}, one more position adds the wrong number.",
                 "Each position has one vector.", {"The vectors of the positions are missing.": 0})


def count_total(answer, draw):
    """The library's total."""
    sizes = _sizes(draw)
    total = oracle.n_parameters(*sizes)
    _same_number(_count(answer, *sizes), total, "The total is wrong.",
                 "Blocks and embeddings are right. What comes after the last block?",
                 {"The last norm is missing: a weight and a bias.": total - 2 * sizes[2]})


# Exercise 6: greedy writing


class _Model:
    """A model as the exercise has it, a function from ids to logits, that a card can name."""

    def __init__(self, model):
        self.model = model

    def __call__(self, input_ids):
        with torch.no_grad():
            return self.model(input_ids).logits

    def __repr__(self):
        return "a small GPT-2: ids (B, T) to logits (B, T, V)"


def _written(answer, draw, n_new):
    gpt2 = oracle.gpt2(*draw.sizes(2), draw.seed)
    gpt2.model.double()  # so that no two logits are as good as equal
    batch_size, length = gpt2.input_ids.shape
    got = is_tensor(
        answer(_Model(gpt2.model), gpt2.input_ids, n_new),
        (batch_size, length + n_new),
        letters="(B, T + n_new)",
        name="the text",
        hint="Each of the n_new rounds appends one token to every row.",
        slips={(batch_size, n_new): "These are the new tokens alone: return the prompt with them."},
    )
    return gpt2, got


def greedy_shape(answer, draw):
    """The prompt, and n_new tokens."""
    gpt2, got = _written(answer, draw, draw.number(2, 4))
    length = gpt2.input_ids.shape[1]
    is_equal(got[:, :length], gpt2.input_ids, problem="The prompt was changed.", hint="Append on the right.")


def greedy_first(answer, draw):
    """One new token, as the library chooses it."""
    gpt2, got = _written(answer, draw, 1)
    with torch.no_grad():
        logits = gpt2.model(gpt2.input_ids).logits
        alone = gpt2.model(gpt2.input_ids[:, -1:]).logits
    is_equal(
        got[:, -1:],
        oracle.greedy(gpt2, 1)[:, -1:],
        problem="The first new token is not the likeliest one.",
        hint="The logits at the last position are those for the token that comes next.",
        slips={
            "It was chosen at the first position. The last one has seen the whole prompt.":
                logits[:, :1].argmax(-1),
            "The model was given the last token alone. It must read the whole prompt.": alone.argmax(-1),
            "It is the least likely one.": logits[:, -1:].argmin(-1),
        },
    )


def greedy_library(answer, draw):
    """Several tokens, as the library writes them."""
    n_new = draw.number(5, 9)
    gpt2, got = _written(answer, draw, n_new)
    batch_size, length = gpt2.input_ids.shape
    ids, alone = gpt2.input_ids, []
    with torch.no_grad():
        first = gpt2.model(ids).logits[:, -1:].argmax(-1)
        for _ in range(n_new):
            alone.append(gpt2.model(alone[-1]).logits[:, -1:].argmax(-1) if alone else first)
    is_equal(
        got,
        oracle.greedy(gpt2, n_new),
        problem="A longer text is not the one that the library writes.",
        hint="In every round the model reads the prompt and all that was written so far.",
        slips={
            "The same token came every time: the model must read again after each token.":
                torch.cat([ids, first.expand(batch_size, n_new)], dim=1),
            "After the first round the model was given the newest token alone. It must read all of them.":
                torch.cat([ids, *alone], dim=1),
        },
    )


# Capstone: the whole model


def _run(answer, draw, length):
    gpt2 = oracle.gpt2(draw.number(2, 3), length, draw.seed)
    return gpt2, _read(answer, gpt2.input_ids, gpt2.weights, gpt2.n_layers, oracle.N_HEADS, gpt2.logits.shape)


def _read(answer, input_ids, weights, n_layers, n_heads, shape):
    return is_tensor(answer(input_ids, weights, n_layers, n_heads), shape, letters="(B, T, V)", name="the logits",
                     hint="The model ends with your function from 4b.")


def gpt_shape(answer, draw):
    """Logits at every position."""
    _run(answer, draw, 5)


def gpt_library(answer, draw):
    """Equal to the library's random GPT-2 within 1e-4."""
    gpt2, got = _run(answer, draw, 2 * draw.number(3, 9) + 1)
    head = gpt2.part("transformer")

    def out(x):
        normed = F.layer_norm(x, x.shape[-1:], head["norm.weight"], head["norm.bias"], 1e-5)
        return normed @ head["token_embedding.weight"].T

    worst = is_equal(
        got,
        gpt2.logits,
        tolerance=LOGITS,
        problem="These are not the logits of the library's GPT-2.",
        hint="Embed, then block after block, each with its own weights and each fed with what the last one gave, then "
             "the logits.",
        slips={
            "The blocks are missing, or each of them was given the embedded tokens again and the last ones "
            "lost.": out(gpt2.embedded),
            "Only the first block was used.": out(gpt2.block_output),
            "The last norm is missing.": gpt2.last @ head["token_embedding.weight"].T,
            "These are probabilities. Return the logits.": gpt2.logits.softmax(-1),
        },
    )
    return f"Largest difference to the library's GPT-2: {worst:.1e}."


def gpt_causal(answer, draw):
    """A change of one token leaves the earlier logits as they are."""
    gpt2, got = _run(answer, draw, 7)
    changed, token = gpt2.input_ids.clone(), draw.number(1, 6)
    changed[:, token] = (changed[:, token] + 1) % gpt2.logits.shape[-1]
    moved = _read(answer, changed, gpt2.weights, gpt2.n_layers, oracle.N_HEADS, gpt2.logits.shape)
    is_equal(moved[:, :token], got[:, :token], problem=f"Token {token} was changed, and earlier logits changed, too.",
             hint="Only attention mixes the tokens, and `attend` is causal: what else in your model sees them all?")


@functools.cache
def _reviews_gpt():
    """The trained model, its tokenizer, and the tensors of its file."""
    model, tokenizer = load_model("reviews-gpt")
    return model, tokenizer, load_weights(sources.model_folder("reviews-gpt") / "model.safetensors")


@functools.cache
def _held_out():
    return corpora.reviews("imdb", "test")["text"][:]


def gpt_reviews(answer, draw):
    """Equal to reviews-gpt on a held-out review, within 1e-4."""
    model, tokenizer, weights = _reviews_gpt()
    texts = _held_out()
    begin = tokenizer.token_to_id("<|endoftext|>")
    text = texts[draw.number(0, len(texts) - 1)]
    input_ids = torch.tensor([[begin, *tokenizer.encode(text, add_special_tokens=False).ids[:40]]])
    with torch.no_grad():
        expected = model(input_ids)
    got = _read(answer, input_ids, weights, model.config.n_layers, model.config.n_heads, expected.shape)
    worst = is_equal(got, expected, tolerance=LOGITS, problem="These are not the logits of reviews-gpt.",
                     hint="A small GPT-2 came out right. Is a size written as a number, such as that of the layers?")
    return f"Largest difference to reviews-gpt, on held-out reviews: {worst:.1e} (target: at most {LOGITS:g})."
