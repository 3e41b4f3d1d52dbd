"""Learning merges: the step that BPE and WordPiece share. The most frequent pair of neighbors becomes one symbol."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Merge:
    """One step of training: the pair of symbol ids, the id of their union, and how often the pair stood in the text."""

    pair: Pair
    merged: int
    count: int


def learn_merges(
    words: Mapping[tuple[int, ...], int], symbols: Sequence[str], n_symbols: int, prefix: str = ""
) -> tuple[list[str], list[Merge]]:
    """Merge the most frequent pair, again and again, until there are `n_symbols` symbols or no pair is left.

    `words` maps a word, as ids of `symbols`, to how often it occurs. `prefix` marks symbols inside of a word and is
    dropped from the second of a pair ("##" of WordPiece). Of equally frequent pairs the one with the smaller ids wins.
    Pair counts are updated where a merge changes them, never counted anew: a step costs what it changes.
    Returns all symbols, the new ones behind the given, and the merges in order.
    Raises: ValueError for ids beyond the symbols.
    Source: Sennrich et al. 2016, algorithm 1.
    """
    pieces, frequencies = [list(word) for word in words], list(words.values())
    if any(not 0 <= symbol < len(symbols) for piece in pieces for symbol in piece):
        raise ValueError(f"learn_merges: expected ids from 0 to {len(symbols) - 1}, got others in some words")
    names, numbers = list(symbols), {name: i for i, name in enumerate(symbols)}
    counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, (piece, frequency) in enumerate(zip(pieces, frequencies, strict=True)):
        for pair in zip(piece, piece[1:], strict=False):
            counts[pair] += frequency
            places[pair].add(number)
    # A heap of (-count, pair) cannot be changed inside: an entry whose count is out of date is put back when it is met.
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    merges: list[Merge] = []
    while len(names) < n_symbols and queue:
        found, pair = heapq.heappop(queue)
        if counts[pair] != -found:
            if counts[pair] > 0:
                heapq.heappush(queue, (-counts[pair], pair))
            continue
        if not found:
            break
        name = names[pair[0]] + names[pair[1]].removeprefix(prefix)
        merged = numbers.setdefault(name, len(names))
        if merged == len(names):
            names.append(name)
        merges.append(Merge(pair, merged, -found))
        changed = set()
        for number in places.pop(pair):
            old = pieces[number]
            new = replace_pair(old, pair, merged)
            for neighbors in zip(old, old[1:], strict=False):
                counts[neighbors] -= frequencies[number]
            for neighbors in zip(new, new[1:], strict=False):
                counts[neighbors] += frequencies[number]
                if merged in neighbors:
                    places[neighbors].add(number)
                    changed.add(neighbors)
            pieces[number] = new
        for neighbors in changed:
            heapq.heappush(queue, (-counts[neighbors], neighbors))
    return names, merges


def replace_pair(piece: Sequence[int], pair: Pair, merged: int) -> list[int]:
    """The symbols of a word with each occurrence of `pair` replaced by `merged`, from left to right."""
    new, place = [], 0
    while place < len(piece):
        if place + 1 < len(piece) and (piece[place], piece[place + 1]) == pair:
            new.append(merged)
            place += 2
        else:
            new.append(piece[place])
            place += 1
    return new


def apply_merges(
    pieces: Sequence[Sequence[int]], ranks: Mapping[Pair, tuple[int, int]]
) -> Iterator[tuple[Pair, list[list[int]]]]:
    """Apply merges to pieces of a text, the lowest rank first; yields each merged pair and the pieces after it.

    `ranks` maps a pair to its rank in training and the id of its union. No merge crosses from a piece to the next.
    """
    pieces = [list(piece) for piece in pieces]
    while True:
        pairs = {pair for piece in pieces for pair in zip(piece, piece[1:], strict=False) if pair in ranks}
        if not pairs:
            return
        best = min(pairs, key=lambda pair: ranks[pair][0])
        pieces = [replace_pair(piece, best, ranks[best][1]) for piece in pieces]
        yield best, pieces


def merge_history(piece: Sequence[int], ranks: Mapping[Pair, tuple[int, int]]) -> list[list[int]]:
    """A word after each merge that applies to it, the unmerged word first; the last entry is its encoding."""
    return [list(piece), *(after for _, (after,) in apply_merges([piece], ranks))]
