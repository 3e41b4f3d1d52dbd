"""Properties for lab 14: BLEU and ROUGE-L."""

import numpy as np
import torch

from utils.checks.calls import NotYet, describe
from utils.checks.evaluation_scores import WORDS, results_of, sentence
from utils.checks.plain_values import is_close, is_number

# Pairs (hypothesis, reference), a letter a word, and the length of the longest common subsequence that
# rouge-score 0.1.2 finds: its recall times the reference's length.
PAIRS = (
    ("bcccadcddda", "bccccbb", 5),
    ("bafaaec", "acb", 2),
    ("edeaaeecb", "debc", 3),
    ("dcecaa", "ccaa", 4),
    ("aaddbddcd", "ddacddbdda", 6),
    ("dfced", "fdd", 2),
    ("cdcccbad", "adaabca", 3),
    ("cccaabbabcc", "bbccc", 4),
    ("bbcddbdcdab", "dcacabbab", 4),
    ("ddbdaac", "ddbdbabb", 5),
    ("bca", "dcdcacaaa", 2),
    ("abaa", "abdebad", 3),
    ("eacacbceea", "bacaadddccc", 5),
    ("bccbdaa", "cddcdbaddb", 4),
    ("abbbcabadea", "bec", 2),
    ("baabcdbdae", "dbccdeca", 4),
    ("bcdcabaacd", "ccbbabab", 5),
    ("cdedec", "cbefc", 3),
    ("baeebeeedbe", "bcfd", 2),
    ("abba", "ddcda", 1),
    ("aeccbddf", "fcae", 2),
    ("dbefdbee", "cfbcbbffa", 2),
    ("eabbbd", "abbabca", 4),
    ("adfdade", "dcceceaf", 2),
    ("abbbdcdd", "dadbacabd", 4),
    ("ccdedcdccb", "bca", 1),
    ("abdaabdbeb", "dabcb", 4),
    ("cabaaaab", "dbaccddadaa", 5),
    ("dfcbbc", "ddbdffb", 3),
    ("beedc", "decaaca", 2),
    ("baeaacaebce", "dfdebcdbab", 4),
    ("dbcafcfae", "fecfecd", 4),
    ("dad", "ddca", 2),
    ("cecebceccda", "ddca", 2),
)


# Exercise 2: BLEU


def _copy(draw, words: list[str], length: int) -> list[str]:
    """A hypothesis of this length that shares most of its words with another sentence, in order."""
    copied = [word if draw.number(1, 6) > 1 else WORDS[draw.number(0, 9)] for word in words]
    return (copied + sentence(draw, length, 10))[:length]


def _sacrebleu(hypotheses: list[list[str]], references: list[list[list[str]]]):
    """The corpus score by sacrebleu, on words as they are; references (hypothesis, reference, word)."""
    import sacrebleu

    streams = [[" ".join(one) for one in stream] for stream in zip(*references, strict=True)]
    return sacrebleu.corpus_bleu(
        [" ".join(one) for one in hypotheses], streams, tokenize="none", smooth_method="none", force=True
    )


def matches_one(answer, draw):
    """Matches with one reference, in which words repeat."""
    for n in (1, 2, 3):
        reference = sentence(draw, draw.number(9, 12), 6)
        hypothesis = _copy(draw, reference, draw.number(8, 11)) + [WORDS[0]] * 3
        _matches(answer, hypothesis, [reference], n)


def matches_several(answer, draw):
    """Matches with several references, of which each may lend its own."""
    for n in (1, 2, 4):
        references = [sentence(draw, draw.number(7, 12), 4) for _ in range(3)]
        hypothesis = _copy(draw, references[0], draw.number(8, 11))
        phrase = list(WORDS[12:16])  # twice in the hypothesis, once in two references, not in the first
        _matches(
            answer, hypothesis + 2 * phrase, [references[0], references[1] + phrase, phrase + references[2]], n
        )
    return "Counts and totals are those of sacrebleu."


def _matches(answer, hypothesis: list[str], references: list[list[str]], n: int) -> None:
    found = _sacrebleu([hypothesis], [references])
    grams = [tuple(hypothesis[i : i + n]) for i in range(len(hypothesis) - n + 1)]
    wanted = [[tuple(one[i : i + n]) for i in range(len(one) - n + 1)] for one in references]
    got = results_of(answer, (hypothesis, references, n), "matches, total")
    every = sum(any(gram in one for one in wanted) for gram in grams)
    added = sum(min(grams.count(gram), sum(one.count(gram) for one in wanted)) for gram in set(grams))
    is_close(
        got[0],
        found.counts[n - 1],
        problem=f"The number of matching {n}-grams is not sacrebleu's.",
        hint="For each different n-gram of the hypothesis: the smaller one of how often it occurs there, and the most "
        "often that it occurs in one reference.",
        slips={
            "An n-gram that the reference has once matches once only: clip the counts.": every,
            "Each different n-gram was counted once. Count it as often as it may match.": sum(
                any(gram in one for one in wanted) for gram in set(grams)
            ),
            "The references were added up. The most in one single reference is the limit.": added,
            "Only the first reference was used.": sum(
                min(grams.count(gram), wanted[0].count(gram)) for gram in set(grams)
            ),
            "Only the last reference was used.": sum(
                min(grams.count(gram), wanted[-1].count(gram)) for gram in set(grams)
            ),
        },
    )
    is_close(
        got[1],
        found.totals[n - 1],
        problem=f"The number of the hypothesis' {n}-grams is wrong.",
        hint="A sentence of L words has L - n + 1 n-grams, the repeated ones included.",
    )


def _corpus(draw, low: int, high: int) -> tuple[list, list]:
    """Hypotheses that are longer than their one reference by `low` to `high` words (shorter, when negative)."""
    hypotheses, references = [], []
    for _ in range(draw.number(3, 5)):
        base = sentence(draw, draw.number(12, 18), 10)
        hypotheses.append(_copy(draw, base, len(base) + draw.number(low, high)))
        references.append([base])
    return hypotheses, references


def _bleu(answer, hypotheses: list, references: list, problem: str, hint: str) -> None:
    expected = _sacrebleu(hypotheses, references)
    got = is_number(answer(hypotheses, references), name="The score")
    mean = sum(_sacrebleu([h], [r]).score for h, r in zip(hypotheses, references, strict=True)) / len(hypotheses)
    plain = 100 * float(np.exp(np.mean(np.log(np.maximum(expected.precisions, 1e-12) / 100))))
    shortest = sum(min(map(len, one)) for one in references)
    longest = sum(max(map(len, one)) for one in references)
    first = sum(len(one[0]) for one in references)
    lengths = {"always the first": first, "the shortest": shortest, "the longest": longest}
    penalties = {name: float(np.exp(min(0.0, 1 - length / expected.sys_len))) for name, length in lengths.items()}
    is_close(
        got,
        expected.score,
        tolerance=1e-7,
        problem=problem,
        hint=hint,
        slips={
            "The brevity penalty is missing.": plain,
            "This is a mean over sentences. Add up counts and lengths over the corpus first.": mean,
            "This is the share. BLEU is shown from 0 to 100.": expected.score / 100,
            "This is the mean of the four precisions. Take the fourth root of their product.": expected.bp
            * sum(expected.precisions)
            / 4,
            **{
                f"The length of {name} reference was used. The closest one counts.": plain * penalty
                for name, penalty in penalties.items()
            },
        },
    )


def bleu_long(answer, draw):
    """Long hypotheses with one reference each: no penalty."""
    hypotheses, references = _corpus(draw, 1, 4)
    _bleu(
        answer,
        hypotheses,
        references,
        "For hypotheses longer than their references, the score is not sacrebleu's.",
        "Add up matches and totals over all sentences, for n = 1 to 4. Then the fourth root of the four precisions' "
        "product, times 100. Without a match of 4 words the score is 0.",
    )


def bleu_short(answer, draw):
    """Short hypotheses pay the brevity penalty, over the whole corpus."""
    hypotheses, references = _corpus(draw, -5, -2)
    _bleu(
        answer,
        hypotheses,
        references,
        "For hypotheses shorter than their references, the score is not sacrebleu's.",
        "The penalty is exp(1 - r / h), of the summed lengths of references and hypotheses.",
    )


def bleu_references(answer, draw):
    """Several references: the closest length counts, and the shorter one in a tie."""
    hypotheses, references = _corpus(draw, -5, -3)
    for said, wanted in zip(hypotheses, references, strict=True):  # the closest one is neither first nor shortest
        wanted += [sentence(draw, len(said) + 1, 10), sentence(draw, len(said) - draw.number(4, 6), 10)]
    _bleu(
        answer,
        hypotheses,
        references,
        "With three references each, the score is not sacrebleu's.",
        "For each sentence the length of the closest reference counts; of two as close, the shorter one.",
    )
    tie = [["the", "old", "cat", "runs", "well", "and", "never", "slow"]]
    lengths = [[tie[0][:5] + ["dog"] * 5, tie[0][:6]]]  # 10 and 6 words: both 2 away from 8
    _bleu(answer, tie, lengths, "Two references are as close: the score is not sacrebleu's.", "The shorter one counts.")
    return "The score is that of sacrebleu.corpus_bleu."


def bleu_nothing(answer, draw):
    """No match of four words: 0."""
    words = list(WORDS[:12])
    hypothesis = words[:3] + words[6:9]
    got = is_number(answer([hypothesis], [[words]]), name="The score", hint="The logarithm of 0 is no number.")
    is_close(
        got,
        _sacrebleu([hypothesis], [[words]]).score,
        problem="No four words in a row match, and the score is not 0.",
        hint="A product with a factor of 0 is 0.",
    )


# Exercise 3: ROUGE-L


def _renamed(draw, letters: str) -> list[str]:
    names = torch.randperm(len(WORDS), generator=torch.Generator().manual_seed(draw.seed)).tolist()
    return [WORDS[names[ord(letter) - ord("a")]] for letter in letters]


def rouge_scores(answer, draw):
    """Precision, recall and F1 of a few pairs, as rouge-score found them."""
    for _ in range(5):
        hypothesis, reference, common = PAIRS[draw.number(0, len(PAIRS) - 1)]
        _rouge(answer, _renamed(draw, hypothesis), _renamed(draw, reference), common)


def rouge_all(answer, draw):
    """All pairs."""
    for hypothesis, reference, common in PAIRS:
        _rouge(answer, _renamed(draw, hypothesis), _renamed(draw, reference), common)
    return f"{len(PAIRS)} pairs have the values of rouge-score."


def _rouge(answer, hypothesis: list[str], reference: list[str], common: int) -> None:
    from difflib import SequenceMatcher

    got = results_of(answer, (hypothesis, reference), "precision, recall, f1")
    precision, recall = common / len(hypothesis), common / len(reference)
    f1 = 2 * precision * recall / (precision + recall) if common else 0.0
    matcher = SequenceMatcher(None, hypothesis, reference, autojunk=False)
    run = matcher.find_longest_match().size
    bag = sum(min(hypothesis.count(word), reference.count(word)) for word in set(hypothesis))
    problem = f"The pair {' '.join(hypothesis)} / {' '.join(reference)}: "
    shown = (("precision", precision, len(hypothesis)), ("recall", recall, len(reference)))
    for (name, expected, length), one in zip(shown, got, strict=False):
        is_close(
            one,
            expected,
            problem=f"{problem}the {name} is not rouge-score's.",
            hint=f"The longest common subsequence has {common} words: in order in both, with gaps allowed.",
            slips={
                "Precision and recall have changed places.": precision + recall - expected,
                "Gaps are allowed: this counts words that follow each other directly.": run / length,
                "The words must come in the same order in both: this counts common words.": bag / length,
            },
        )
    is_close(
        got[2],
        f1,
        problem=f"{problem}the F1 is not rouge-score's.",
        hint="2 P R / (P + R), and 0 when nothing matches.",
        slips={"This is the plain mean of precision and recall.": (precision + recall) / 2},
    )


def rouge_nothing(answer, draw):
    """Sentences without a common word score 0."""
    reference = list(WORDS[5 : 5 + draw.number(2, 5)])
    got = results_of(answer, (list(WORDS[:4]), reference), "precision, recall, f1")
    if got != [0, 0, 0]:
        raise NotYet("Two sentences without a common word do not score 0.",
                     {"expected": "0, 0, 0", "got": describe(got)}, "Without a match, F1 would be 0/0.")
