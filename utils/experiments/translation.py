"""Translating the texts of interfaces: an encoder-decoder that reads English, a draft, and the nearest known pair."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from utils.data import translation_pairs
from utils.data.drafts import Drafts, Prepared
from utils.experiments import seq2seq
from utils.experiments.seq2seq import BEGIN_ID, END_ID, PAD_ID, UNKNOWN_ID, Averaged, Recipe
from utils.metrics.consensus import expected_agreement
from utils.models.beam import beam_search
from utils.models.pointer import PointerGenerator, greedy
from utils.models.pretrained import load_model
from utils.text import interface_text as texts_of
from utils.training.loop import Record

NAME = "interface-translation"
RECIPE = Recipe(
    d_model=192, d_ff=384, dropout=0.25, vocab_size=3000, noise=0.1, epochs=45, learning_rate=1.5e-3, decay=0.995
)  # fmt: skip
MOST_SOURCE, MOST_TARGET, MOST_CHARACTERS = 110, 60, 120
BEAMS, LENGTH_PENALTY = 4, 1.0
BANNED = (PAD_ID, BEGIN_ID, UNKNOWN_ID)
# Votes beside the beams' one, chosen on the validation pairs: of the dictionary, and of a nearest pair that is equal.
DICTIONARY_VOTE, NEAREST_VOTE, NEARNESS = 1.0, 2.0, 3
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_english(text: str) -> str:
    """A text that can be translated, its white space made plain.

    Raises: ValueError that says what is wrong with it: empty, too long, no English words, another script.
    """
    if CONTROL.search(text):
        raise ValueError("Expected plain text, got control characters: type the text anew.")
    text = " ".join(text.split())
    if not text:
        raise ValueError("Expected an English text, got an empty one: type a few words, such as “Open the file”.")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"Expected at most {MOST_CHARACTERS} characters, got {len(text)}: shorten the text.")
    foreign = [sign for sign in text if ord(sign) > 0x24F and sign not in "–—‘’“”…•→←↑↓"]
    if foreign:
        raise ValueError(f"Expected English, got “{foreign[0]}”: the model has only read Latin letters.")
    if not re.search("[A-Za-z]", text):
        raise ValueError("Expected at least one English word, got none: type a few words.")
    return text


@dataclass
class Translation:
    """A translation, its log-probability in nats, and what it looked at: tokens of both sides, weights (H, T, S) of
    every layer's heads over all source tokens, and the gate (T,). The source is in parts: draft, English, nearest pair.
    """

    text: str
    log_prob: float
    source_parts: list[list[str]]
    target_tokens: list[str]
    weights: Tensor = field(repr=False)
    copying: Tensor = field(repr=False)


class Translator:
    """A trained model with its tokenizer and the drafts that it reads."""

    def __init__(self, model: PointerGenerator, tokenizer: Tokenizer, drafts: Drafts) -> None:
        self.model, self.tokenizer, self.drafts = model.eval(), tokenizer, drafts

    def sources(self, rows: Sequence[Prepared]) -> list[list[int]]:
        """Token ids of prepared sources."""
        return seq2seq.ids_of(self.tokenizer, [row.source for row in rows], MOST_SOURCE)

    def finish(self, ids: Sequence[int], row: Prepared, english: str) -> str:
        """Token ids as the text that is shown."""
        text = texts_of.detokenized(self.tokenizer.id_to_token(i) for i in ids)
        return texts_of.with_case_of(texts_of.restore_copies(text, row.copies), english)

    @torch.inference_mode()
    def greedily(self, texts: Sequence[str]) -> list[str]:
        """Translations by greedy search, many side by side."""
        rows, found = self.drafts.prepare(texts), []
        for i in range(0, len(rows), 64):
            batch = seq2seq.batch_of(self.sources(rows[i : i + 64]), [[]] * len(rows[i : i + 64]))
            device = next(self.model.parameters()).device
            given = self.model.given(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            found += greedy(given, len(batch["input_ids"]), BEGIN_ID, END_ID, MOST_TARGET, BANNED)
        return [self.finish(ids, row, text) for ids, row, text in zip(found, rows, texts, strict=True)]

    @torch.inference_mode()
    def search(self, row: Prepared) -> list[tuple[list[int], float]]:
        """The best ids by beam search, best first, without their ends, and their log-probabilities."""
        source = torch.tensor(self.sources([row]))
        found = beam_search(self.model.given(source), torch.tensor([[BEGIN_ID]]), MOST_TARGET, BEAMS,
                            LENGTH_PENALTY, END_ID)  # fmt: skip
        return [([i for i in one.tokens if i not in (END_ID, *BANNED)], one.log_prob) for one in found[:BEAMS]]

    def by_beams(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """For each text the beams' translations, best first, and their log-probabilities in nats."""
        rows = self.drafts.prepare(texts)
        return [
            [(self.finish(ids, row, text), log_prob) for ids, log_prob in self.search(row)]
            for row, text in zip(rows, texts, strict=True)
        ]

    def candidates(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """What may be the translation of each text, and its votes.

        The beams share one vote by their probabilities; the dictionary has some, and the nearest pair more, the more
        similar its English is.
        """
        found = []
        for text, beams, similar in zip(texts, self.by_beams(texts), self.drafts.similarities(texts), strict=True):
            votes: dict[str, float] = {}
            shares = np.exp(np.array([log_prob for _, log_prob in beams]) - beams[0][1])
            counted = [(one, share) for (one, _), share in zip(beams, shares / shares.sum(), strict=True)]
            counted.append((self.drafts.translate_by_words(text), DICTIONARY_VOTE))
            counted.append((self.drafts.pairs[similar.argmax()].chinese, NEAREST_VOTE * similar.max() ** NEARNESS))
            for one, vote in counted:
                votes[one] = votes.get(one, 0.0) + float(vote)
            found.append(votes)
        return found

    @torch.inference_mode()
    def translate(self, text: str) -> Translation:
        """A translation with what each of its tokens looked at.

        Raises: ValueError for a text that cannot be translated.
        """
        text = check_english(text)
        (row,) = self.drafts.prepare([text])
        ids, log_prob = self.search(row)[0]
        source = torch.tensor(self.sources([row]))
        decoder_ids = torch.tensor([[BEGIN_ID, *ids[: self.model.config.context_length - 1]]])
        hidden, weights = self.model.decode(decoder_ids, encoded := self.model.encode(source), need_weights=True)
        copying, _ = self.model.pointed(hidden, encoded, decoder_ids, source, None)
        shown = [self._shown(i, row) for i in source[0].tolist()]
        lengths = [len(self.tokenizer.encode(part).ids) + 1 for part in row.parts]  # and the mark behind each
        ends = [0, *np.cumsum(lengths).tolist()]
        return Translation(
            text=self.finish(ids, row, text),
            log_prob=log_prob,
            source_parts=[shown[a:b] for a, b in pairwise(ends)],
            target_tokens=[self._shown(i, row) for i in (*ids, END_ID)],
            weights=torch.cat([layer[0] for layer in weights]),
            copying=copying[0, :, 0],
        )

    def _shown(self, i: int, row: Prepared) -> str:
        return texts_of.restore_copies(self.tokenizer.id_to_token(i), row.copies) or self.tokenizer.id_to_token(i)


def by_consensus(candidates: Sequence[dict[str, float]]) -> list[str]:
    """The translation of each text that agrees most with all its candidates, by their votes."""
    return [list(votes)[int(expected_agreement(list(votes), list(votes.values())).argmax())] for votes in candidates]


def prepare() -> tuple[Drafts, list[Prepared], Tokenizer]:
    """Drafts learned from the training pairs, the training rows, and a tokenizer for both languages."""
    drafts = Drafts(translation_pairs.pairs("train"))
    rows = drafts.prepare_training()
    both = (text for row in drafts.hidden for text in (row.source, row.target))
    return drafts, rows, texts_of.train_tokenizer(both, RECIPE.vocab_size)


def train(
    model: PointerGenerator,
    tokenizer: Tokenizer,
    rows: Sequence[Prepared],
    recipe: Recipe = RECIPE,
    max_steps: int | None = None,
    average: Averaged | None = None,
) -> Iterator[Record]:
    """Train a translator on prepared rows; yields the loop's records."""
    sources = seq2seq.ids_of(tokenizer, [row.source for row in rows], MOST_SOURCE)
    targets = [ids[:-1] for ids in seq2seq.ids_of(tokenizer, [row.target for row in rows], MOST_TARGET)]
    return seq2seq.train(model, sources, targets, recipe, max_steps, average)


def load_translator(folder: Path | None = None) -> Translator:
    """The shipped translator.

    Raises: SourceError if its weights or the pairs are not here; WeightsError if its files do not belong together.
    """
    model, tokenizer = load_model(folder or NAME)
    return Translator(model, tokenizer, Drafts(translation_pairs.pairs("train")))
