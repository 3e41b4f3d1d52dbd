"""How long our BPE in pure Python takes to learn its merges from 5 MB of reviews."""

from itertools import accumulate

from tests.benchmarks.ratios import Contest, Row
from utils.data import corpora
from utils.text.bpe import BPE

N_BYTES, VOCAB_SIZE = 5_000_000, 8192


def test_bpe_training(race, rows):
    reviews = corpora.reviews("imdb", "train")["text"][:]
    lengths = accumulate(len(review.encode()) for review in reviews)
    texts = [review for review, length in zip(reviews, lengths, strict=True) if length <= N_BYTES]
    contest = Contest({"ours": lambda: BPE.train(texts, VOCAB_SIZE)})
    race(contest, rounds=3)
    name = f"BPE training, 5 MB, {VOCAB_SIZE:,} tokens"
    rows.append(Row(name, "", tuple(contest.seconds["ours"]), aim=20, unit="s"))
