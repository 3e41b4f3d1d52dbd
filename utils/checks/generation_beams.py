"""Properties for lab 13: beam search, beside exhaustive search and the library's own."""

import itertools
import os

import torch
from torch import Tensor

from utils.checks.calls import NotYet, describe

# Nothing here is fetched: models are made from a configuration, with random weights.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

Tokens = list[int]


class Tree:
    """A small language model: after each text, random log-probabilities (V,) of its own, in fp64.

    Raises ValueError for a text that has ended, or is longer than any that is asked for.
    """

    def __init__(self, draw, vocab_size: int, n_tokens: int, end: int | None):
        self.vocab_size, self.n_tokens, self.end = vocab_size, n_tokens, end
        texts = [text for n in range(n_tokens) for text in itertools.product(range(vocab_size), repeat=n)]
        logits = 1.5 * draw.normal(len(texts), vocab_size, dtype=torch.float64)
        self.rows = dict(zip(texts, logits.log_softmax(1), strict=True))

    def __repr__(self) -> str:
        return f"<log-probabilities of {self.vocab_size} tokens after a list of tokens>"

    def __call__(self, tokens: Tokens) -> Tensor:
        """Log-probabilities (V,) of the next token."""
        text = tuple(int(one) for one in tokens)
        if text not in self.rows or self.end in text:
            raise ValueError(f"expected a text of at most {self.n_tokens - 1} tokens, none of them the end "
                             f"({self.end}), got {list(text)}")
        return self.rows[text].clone()

    def score(self, text: Tokens) -> float:
        """The log-probability of a text."""
        return sum(self.rows[tuple(text[:n])][text[n]].item() for n in range(len(text)))

    def texts(self) -> list[Tokens]:
        """Every text that can be written: it ends with `end`, or is as long as it may be."""
        all_of = (list(text) for n in range(1, self.n_tokens + 1)
                  for text in itertools.product(range(self.vocab_size), repeat=n))
        return [text for text in all_of
                if self.end not in text[:-1] and (len(text) == self.n_tokens or text[-1] == self.end)]

    def best(self, alpha: float, sign: int = 1) -> Tokens:
        """The text with the largest score over length to the power alpha, among all of them."""
        return max(self.texts(), key=lambda text: sign * self.score(text) / len(text) ** alpha)

    def greedy(self) -> Tokens:
        """The text of the likeliest token each time."""
        text: Tokens = []
        while len(text) < self.n_tokens and (not text or text[-1] != self.end):
            text.append(int(self.rows[tuple(text)].argmax()))
        return text


def _searched(answer, model, n_tokens: int, width: int, end: int | None, alpha: float, vocab_size: int) -> Tokens:
    got = answer(model, n_tokens, width, end, alpha)
    if isinstance(got, Tensor) and got.dim() == 1:
        got = got.tolist()
    whole = isinstance(got, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in got)
    if not whole or not got or len(got) > n_tokens or not all(0 <= one < vocab_size for one in got):
        raise NotYet("The result is not a text.",
                     {"expected": f"a list of 1 to {n_tokens} tokens, each from 0 to {vocab_size - 1}",
                      "got": describe(got)}, "Return the tokens of the best text alone, without its score.")
    return got


def _same(got: Tokens, expected: Tokens, problem: str, hint: str, slips: dict[str, Tokens], score=None) -> None:
    if got != expected:
        facts = {"expected": str(expected), "got": str(got)}
        if score is not None:
            facts = {name: f"{text}, with log-probability {score(text):.3f}" for name, text in
                     (("expected", expected), ("got", got))}
        raise NotYet(problem, facts, next((why for why, text in slips.items() if text == got), hint))


def beam_text(answer, draw):
    """A list of tokens, not too long."""
    tree = Tree(draw, 3, 3, None)
    _searched(answer, tree, 3, 2, None, 0.0, 3)


def _tree(draw, vocab_size: int, n_tokens: int, end: int | None, alphas: tuple[float, ...]) -> Tree:
    """A tree on which greedy, likeliest and most unlikely text all differ, and so do the best for each alpha."""
    while True:
        tree = Tree(draw, vocab_size, n_tokens, end)
        texts = [tree.greedy(), *(tree.best(alpha) for alpha in alphas), tree.best(0.0, -1)]
        if len(set(map(tuple, texts))) == len(texts):
            return tree


def beam_one(answer, draw):
    """A beam of one text is greedy, and stops at the end."""
    end = draw.number(0, 2)
    while True:
        tree = _tree(draw, 3, 4, end, (0.0,))
        if 1 < len(tree.greedy()) < 4 and tree.greedy()[-1] == end:
            break
    _same(_searched(answer, tree, 4, 1, end, 0.0, 3), tree.greedy(), "With a width of 1, this is not greedy writing.",
          "One text is kept each time: the likeliest continuation. After the end nothing follows.",
          {"More than one text was kept.": tree.best(0.0), "The least likely text was kept.": tree.best(0.0, -1)},
          tree.score)


def beam_all(answer, draw):
    """A beam as wide as the tree finds the likeliest of all texts."""
    tree = _tree(draw, 3, 4, None, (0.0,))
    _same(_searched(answer, tree, 4, 3**4, None, 0.0, 3), tree.best(0.0),
          "With a beam that keeps every text, the likeliest of all texts was not found.",
          "A text's score is the sum of its tokens' log-probabilities. Keep the texts with the largest sums.",
          {"This is the greedy text: the width has no effect.": tree.greedy(),
           "The least likely text was chosen.": tree.best(0.0, -1)}, tree.score)


def beam_end(answer, draw):
    """With an end and length normalization, a wide beam finds what exhaustive search finds."""
    end = draw.number(0, 2)
    alpha = draw.number(8, 12) / 10
    while True:
        tree = _tree(draw, 3, 4, end, (0.0, alpha))
        sums, means = tree.best(0.0), tree.best(alpha)
        if len(sums) != len(means) and len(means) > 1:
            break
    open_texts = [text for text in tree.texts() if text[-1] != end]
    likeliest = {"The likeliest text was chosen. Divide each log-probability by the length to the power alpha.": sums,
                 "A text that had ended was lost. Keep it, and compare it with the others at last.":
                     max(open_texts, key=lambda text: tree.score(text) / len(text) ** alpha)}
    _same(_searched(answer, tree, 4, 3**4, end, alpha, 3), means,
          f"Among all texts, this is not the one with the best score at alpha = {alpha}.",
          "A text that ends with `end` is finished: put it aside. At last, compare it with what is still open.",
          likeliest, tree.score)


class _Gpt2:
    """A random GPT-2 of transformers as a function of a list of tokens, after a prompt of its own."""

    def __init__(self, seed: int):
        from transformers import GPT2Config, GPT2LMHeadModel

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            config = GPT2Config(vocab_size=17, n_positions=16, n_embd=12, n_head=3, n_layer=1,
                                bos_token_id=None, eos_token_id=None)
            self.model = GPT2LMHeadModel(config).double().eval()
            for parameter in self.model.parameters():  # far from the initial values: some tokens are much likelier
                parameter.add_(0.3 * torch.randn_like(parameter))
            self.prompt = torch.randint(17, (1, 3))

    def __repr__(self) -> str:
        return "<log-probabilities of 17 tokens after a list of tokens>"

    def __call__(self, tokens: Tokens) -> Tensor:
        with torch.no_grad():
            ids = torch.cat([self.prompt, torch.tensor([list(tokens)], dtype=torch.long)], dim=1)
            return self.model(ids).logits[0, -1].log_softmax(0)

    def search(self, n_tokens: int, width: int) -> Tokens:
        """The library's own beam search, or its greedy text for a width of 1."""
        mask = torch.ones_like(self.prompt)
        ids = self.model.generate(self.prompt, attention_mask=mask, max_new_tokens=n_tokens, num_beams=width,
                                  do_sample=False, length_penalty=0.0)
        return ids[0, 3:].tolist()


def beam_library(answer, draw):
    """A narrow beam finds the text that the library's beam search finds on a random GPT-2."""
    n_tokens, seed = draw.number(5, 7), 1000 * draw.seed
    while True:  # a text that neither greedy writing nor a wider beam finds
        model, seed = _Gpt2(seed), seed + 1
        texts = {width: model.search(n_tokens, width) for width in (1, 3, 12)}
        if len(set(map(tuple, texts.values()))) == 3:
            break
    _same(_searched(answer, model, n_tokens, 3, None, 0.0, 17), texts[3],
          "With a width of 3, this is not the text that the library's beam search finds.",
          "In each round, put all continuations of all kept texts together, and keep the best 3 of them.",
          {"This is the greedy text. Three texts must stay in the race until the end.": texts[1],
           "More than 3 texts were kept.": texts[12]})
