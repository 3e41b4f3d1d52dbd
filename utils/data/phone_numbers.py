"""Telephone-like numbers from a small grammar, as text alone: what a language model may know of what people say.

A number is an area code (few, some far commoner), an exchange of that area, and three free digits.
"""

import functools

import numpy as np

AREA_DIGITS, EXCHANGE_DIGITS, FREE_DIGITS = 3, 2, 3
N_AREAS, N_EXCHANGES, GRAMMAR_SEED = 15, 6, 2018
LENGTH = AREA_DIGITS + EXCHANGE_DIGITS + FREE_DIGITS
END = 10  # the language model's last token, after the ten digits


@functools.cache
def grammar() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The area codes, commonest first, each with its exchanges, commonest first."""
    rng = np.random.default_rng(GRAMMAR_SEED)
    codes = rng.choice(10**AREA_DIGITS, size=N_AREAS, replace=False)
    made = []
    for code in codes:
        exchanges = rng.choice(10**EXCHANGE_DIGITS, size=N_EXCHANGES, replace=False)
        made.append((f"{code:0{AREA_DIGITS}d}", tuple(f"{one:0{EXCHANGE_DIGITS}d}" for one in exchanges)))
    return tuple(made)


def _zipf(n: int) -> np.ndarray:
    """Probabilities in proportion to 1, 1/2, 1/3, ... (n,)."""
    weights = 1 / np.arange(1, n + 1)
    return weights / weights.sum()


def phone_numbers(n: int, seed: int) -> list[tuple[int, ...]]:
    """`n` numbers of 8 digits drawn from the grammar; the same seed gives the same.

    Raises: ValueError for a negative n.
    """
    if n < 0:
        raise ValueError(f"phone numbers: expected n of at least 0, got {n}")
    rng = np.random.default_rng([seed, GRAMMAR_SEED])
    drawn = []
    for _ in range(n):
        area, exchanges = grammar()[rng.choice(N_AREAS, p=_zipf(N_AREAS))]
        exchange = exchanges[rng.choice(N_EXCHANGES, p=_zipf(N_EXCHANGES))]
        free = f"{rng.integers(10**FREE_DIGITS):0{FREE_DIGITS}d}"
        drawn.append(tuple(int(digit) for digit in area + exchange + free))
    return drawn


def bits_a_number() -> float:
    """The grammar's entropy: no model can do better than this on average."""
    areas, exchanges = _zipf(N_AREAS), _zipf(N_EXCHANGES)
    entropy = -float((areas * np.log2(areas)).sum()) - float((exchanges * np.log2(exchanges)).sum())
    return entropy + FREE_DIGITS * float(np.log2(10))
