"""Make `rouge.json`: texts and their scores by the package rouge-score 0.1.2, which the project does not need.

    python -m venv rouge && rouge/bin/pip install rouge-score==0.1.2
    rouge/bin/python tests/frozen/rouge.py

Words come from a fixed list, so that the file does not depend on any data set.
"""

import importlib.metadata
import json
import random
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer

KINDS = ("rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum")
FIXED = (
    ("police killed the gunman", "police kill the gunman"),
    ("police killed the gunman", "the gunman kill police"),
    ("The film's plot is thin; its ending isn't.", "the films plot is thin, its ending is not"),
    ("one two three\nfour five", "four five\none two three"),
    ("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5"),
    ("déjà vu, 3.5 stars", "deja vu 3 5 stars"),
    ("single", ""),
    ("single", "?!"),
    ("a", "a a a a"),
)
WORDS = "the a film plot acting was is not good bad long ending and but of It's well-made 10/10 très acted".split()


def text(generator: random.Random, shortest: int) -> str:
    """Some words on some lines."""
    words = [generator.choice(WORDS) for _ in range(generator.randint(shortest, 23))]
    return "".join(word + generator.choice("   \n") for word in words)


def main() -> None:
    """Write the file beside this one."""
    generator = random.Random(14)
    cases = list(FIXED) + [(text(generator, 1), text(generator, 0)) for _ in range(80)]
    plain, stemmed = RougeScorer(KINDS), RougeScorer(KINDS, use_stemmer=True)
    result = {
        "command": "python tests/frozen/rouge.py",
        "versions": {name: importlib.metadata.version(name) for name in ("rouge-score", "nltk")},
        "kinds": KINDS,
        "cases": [
            {
                "reference": reference,
                "hypothesis": hypothesis,
                "plain": [[round(part, 9) for part in score] for score in plain.score(reference, hypothesis).values()],
                "stemmed_f1": [round(score.fmeasure, 9) for score in stemmed.score(reference, hypothesis).values()],
            }
            for reference, hypothesis in cases
        ],
    }
    lines = ",\n".join(json.dumps(case) for case in result.pop("cases"))
    head = json.dumps(result)
    Path(__file__).with_suffix(".json").write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
