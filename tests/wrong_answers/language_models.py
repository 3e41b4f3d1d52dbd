"""Plausible wrong answers to lab 01, each with words that its card must show and the points that it still earns."""

import math
from collections import Counter


def right_counts(text, length):
    table = {}
    for i in range(length, len(text)):
        table.setdefault(text[i - length : i], Counter())[text[i]] += 1
    return table


def last_run_missing(text, length):
    return right_counts(text[:-1], length)


def first_run_missing(text, length):
    return right_counts(text[1:], length)


def each_run_once(text, length):
    return {context: Counter(set(row)) for context, row in right_counts(text, length).items()}


def bytes_before(text, length):
    return {context[::-1]: row for context, row in right_counts(text[::-1], length).items()}


def context_too_long(text, length):
    return right_counts(text, length + 1)


def keys_of_single_bytes(text, length):
    table = {}
    for i in range(length, len(text)):
        table.setdefault(text[i - length : i], Counter())[text[i : i + 1]] += 1
    return table


def runs_in_one_counter(text, length):
    return Counter(text[i : i + length + 1] for i in range(len(text) - length))


def side_by_side_runs(text, length):
    table = {}
    for i in range(length, len(text), length + 1):
        table.setdefault(text[i - length : i], Counter())[text[i]] += 1
    return table


def shares_alone(row, token, k, vocab_size):
    return row[token] / sum(row.values())


def k_above_only(row, token, k, vocab_size):
    return (row[token] + k) / sum(row.values())


def k_for_each_kind_seen(row, token, k, vocab_size):
    return (row[token] + k) / (sum(row.values()) + k * len(row))


def always_one(row, token, k, vocab_size):
    return (row[token] + 1) / (sum(row.values()) + vocab_size)


def always_even(row, token, k, vocab_size):
    return 1 / vocab_size


def nothing_after_the_unseen(row, token, k, vocab_size):
    return (row[token] + k) / (sum(row.values()) + k * vocab_size) if row else 0.0


def product_and_root(probabilities):
    return math.prod(probabilities) ** (-1 / len(probabilities))


def sum_of_surprises(probabilities):
    return -sum(math.log(one) for one in probabilities)


def exponential_of_the_sum(probabilities):
    return math.exp(-sum(math.log(one) for one in probabilities))


def sign_forgotten(probabilities):
    return math.exp(sum(math.log(one) for one in probabilities) / len(probabilities))


def bases_mixed(probabilities):
    return math.exp(-sum(math.log2(one) for one in probabilities) / len(probabilities))


def arithmetic_mean(probabilities):
    return len(probabilities) / sum(probabilities)


def bits(probabilities):
    return -sum(math.log2(one) for one in probabilities)


def bits_per_token(probabilities, text):
    return bits(probabilities) / len(probabilities)


def bits_per_letter(probabilities, text):
    return bits(probabilities) / len(text)


def nats_per_byte(probabilities, text):
    return bits(probabilities) * math.log(2) / len(text.encode())


def bits_in_all(probabilities, text):
    return bits(probabilities)


def negative_bits(probabilities, text):
    return -bits(probabilities) / len(text.encode())


def two_to_the_bits(probabilities, text):
    return 2 ** (bits(probabilities) / len(text.encode()))


def rows(context, tables, lengths=None):
    """The rows of a context, from the shortest length on; None where it was never seen."""
    lengths = range(min(len(tables), len(context) + 1)) if lengths is None else lengths
    return [tables[length].get(context[len(context) - length :]) for length in lengths]


def mixed(token, found, weight, vocab_size, start=None):
    prob = 1 / vocab_size if start is None else start
    for row in found:
        if row:
            prob = weight * row[token] / sum(row.values()) + (1 - weight) * prob
    return prob


def right_mix(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables), weight, vocab_size)


def weight_turned_round(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables), 1 - weight, vocab_size)


def longest_context_first(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables)[::-1], weight, vocab_size)


def longest_context_only(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables)[-1:], weight, vocab_size)


def shortest_context_only(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables)[:1], weight, vocab_size)


def not_down_to_the_uniform(token, context, tables, weight, vocab_size):
    return mixed(token, rows(context, tables), weight, vocab_size, start=0.0)


def unseen_counts_as_nothing(token, context, tables, weight, vocab_size):
    prob = 1 / vocab_size
    for row in rows(context, tables):
        prob = (weight * row[token] / sum(row.values()) if row else 0.0) + (1 - weight) * prob
    return prob


def shares_added(token, context, tables, weight, vocab_size):
    prob = 1 / vocab_size
    for row in rows(context, tables):
        if row:
            prob = weight * row[token] / sum(row.values()) + prob
    return prob


def unseen_raises(token, context, tables, weight, vocab_size):
    prob = 1 / vocab_size
    for length in range(min(len(tables), len(context) + 1)):
        row = tables[length][context[len(context) - length :]]
        prob = weight * row[token] / sum(row.values()) + (1 - weight) * prob
    return prob


def minus_zero_slice(token, context, tables, weight, vocab_size):
    found = [tables[length].get(context[-length:]) for length in range(min(len(tables), len(context) + 1))]
    return mixed(token, found, weight, vocab_size)


def right_continuations(table):
    shorter = {}
    for context, row in table.items():
        for token in row:
            shorter.setdefault(context[1:], Counter())[token] += 1
    return shorter


def counts_added_up(table):
    shorter = {}
    for context, row in table.items():
        shorter.setdefault(context[1:], Counter()).update(row)
    return shorter


def always_counted_once(table):
    return {context: Counter(dict.fromkeys(row, 1)) for context, row in right_continuations(table).items()}


def last_byte_dropped(table):
    shorter = {}
    for context, row in table.items():
        for token in row:
            shorter.setdefault(context[:-1], Counter())[token] += 1
    return shorter


def kinds_after(table):
    return {context[1:]: len(row) for context, row in table.items()}


def context_not_shortened(table):
    return {context: Counter(row.keys()) for context, row in table.items()}


def discounted(token, found, discount, vocab_size, taken=None, clip=True):
    prob = 1 / vocab_size
    for row in found:
        if row:
            kept = row[token] - discount
            back = discount * len(row) if taken is None else taken(row)
            prob = ((max(kept, 0) if clip else kept) + back * prob) / sum(row.values())
    return prob


def nothing_handed_on(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables), discount, vocab_size, taken=lambda row: 0)


def one_discount_handed_on(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables), discount, vocab_size, taken=lambda row: discount)


def counts_handed_on(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables), discount, vocab_size,
                      taken=lambda row: discount * sum(row.values()))


def negative_counts(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables), discount, vocab_size, clip=False)


def interpolated_by_the_discount(token, context, tables, discount, vocab_size):
    return right_mix(token, context, tables, 1 - discount, vocab_size)


def shortest_table_only(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables)[:1], discount, vocab_size)


def longest_table_first(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables)[::-1], discount, vocab_size)


def right_kneser_ney(token, context, tables, discount, vocab_size):
    return discounted(token, rows(context, tables), discount, vocab_size)


def likeliest(probabilities, u):
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def drawn(probabilities, u, numbers):
    end = 0.0
    for token in numbers:
        end += probabilities[token]
        if u < end:
            return token
    return max(token for token, prob in enumerate(probabilities) if prob > 0)


def from_the_right(probabilities, u):
    return drawn(probabilities, u, range(len(probabilities) - 1, -1, -1))


def all_alike(probabilities, u):
    possible = [token for token, prob in enumerate(probabilities) if prob > 0]
    return possible[int(u * len(possible))]


def up_to_and_including(probabilities, u):
    end = 0.0
    for token, prob in enumerate(probabilities):
        end += prob
        if u <= end:
            return token
    return len(probabilities) - 1


def falls_off_the_end(probabilities, u):
    end = 0.0
    for token, prob in enumerate(probabilities):
        end += prob
        if u < end:
            return token


def last_of_all_at_the_end(probabilities, u):
    found = falls_off_the_end(probabilities, u)
    return len(probabilities) - 1 if found is None else found


def the_probability(probabilities, u):
    return probabilities[drawn(probabilities, u, range(len(probabilities)))]


def plain_tables(train, order):
    return [right_counts(train, length) for length in range(order)]


def kneser_ney_tables(train, order):
    shorter = [right_continuations(right_counts(train, length + 1)) for length in range(order - 1)]
    return [*shorter, right_counts(train, order - 1)]


def by_each_byte(text, order, probability):
    return [probability(byte, text[max(0, i - order + 1) : i]) for i, byte in enumerate(text)]


def every_byte_alike(train, text):
    return [1 / 256] * len(text)


def add_one_to_triples(train, text):
    tables = plain_tables(train, 3)

    def probability(byte, context):
        row = tables[len(context)].get(context, Counter())
        return (row[byte] + 1) / (sum(row.values()) + 256)

    return by_each_byte(text, 3, probability)


def half_and_half(train, text):
    tables = plain_tables(train, 5)
    return by_each_byte(text, 5, lambda byte, context: right_mix(byte, context, tables, 0.5, 256))


def kneser_ney_of_order_four(train, text):
    tables = kneser_ney_tables(train, 4)
    return by_each_byte(text, 4, lambda byte, context: right_kneser_ney(byte, context, tables, 0.75, 256))


def counted_the_text_too(train, text):
    tables = plain_tables(train + text, 4)
    return by_each_byte(text, 4, lambda byte, context: right_mix(byte, context, tables, 0.9, 256))


def logarithms(train, text):
    return [math.log(one) for one in half_and_half(train, text)]


def first_bytes_left_out(train, text):
    return half_and_half(train, text)[4:]


def whole_text_as_context(train, text):
    tables = plain_tables(train, 2)
    return [right_mix(byte, text[i : i + 1], tables, 0.5, 256) for i, byte in enumerate(text)]


def looked_one_byte_ahead(train, text):
    tables = plain_tables(train, 2)
    return [right_mix(byte, text[i + 1 : i + 2], tables, 0.5, 256) for i, byte in enumerate(text)]


def zeros_left(train, text):
    tables = plain_tables(train, 2)
    return by_each_byte(text, 2, lambda byte, context: mixed(byte, rows(context, tables), 0.9, 256, start=0.0))


WRONG = {
    "count_next": [
        (last_run_missing, "last byte of the text", 0), (first_run_missing, "first byte of the text", 0),
        (each_run_once, "only once", 0), (bytes_before, "Count those after it", 1),
        (context_too_long, "not a context of the right length", 0), (keys_of_single_bytes, "not a single byte", 0),
        (runs_in_one_counter, "not a context of the right length", 0),
        (side_by_side_runs, "Every place of the text", 1),
    ],
    "add_k": [
        (shares_alone, "gets k on top", 0), (k_above_only, "added below, too", 0),
        (k_for_each_kind_seen, "added below, too", 0), (always_one, "this is k = 1", 0),
        (always_even, "counts were not used", 0), (nothing_after_the_unseen, "never seen", 0),
    ],
    "perplexity": [
        (product_and_root, "raised ZeroDivisionError", 1), (sum_of_surprises, "sum of the surprises", 0),
        (exponential_of_the_sum, "exponential of the sum", 0), (sign_forgotten, "turn the sign", 0),
        (bases_mixed, "Two bases are mixed", 0), (arithmetic_mean, "geometric mean", 0),
    ],
    "bits_per_byte": [
        (bits_per_token, "bits per token", 1), (bits_per_letter, "bits per letter", 1), (nats_per_byte, "nats", 0),
        (bits_in_all, "This is the sum", 0), (negative_bits, "turn its sign", 0),
        (two_to_the_bits, "This is the perplexity", 0),
    ],
    "interpolate": [
        (weight_turned_round, "weight belongs to the counts", 0), (longest_context_first, "For each table in turn", 1),
        (longest_context_only, "shorter ones have a say", 1), (shortest_context_only, "table of single bytes", 1),
        (not_down_to_the_uniform, "ends at 1 / V", 0), (unseen_counts_as_nothing, "Something was lost", 0),
        (shares_added, "Something came twice", 0), (unseen_raises, "raised KeyError", 0),
        (minus_zero_slice, "context[-0:] is the whole", 1),
    ],
    "continuation_counts": [
        (counts_added_up, "counts were added up", 0), (always_counted_once, "Every count is 1", 0),
        (last_byte_dropped, "Drop the first one", 0), (kinds_after, "not a table of counts", 0),
        (context_not_shortened, "right length", 0),
    ],
    "kneser_ney": [
        (nothing_handed_on, "not above 0", 0), (one_discount_handed_on, "More was taken than handed on", 0),
        (counts_handed_on, "More was handed on than taken", 0), (negative_counts, "not above 0", 0),
        (interpolated_by_the_discount, "1 - discount as its weight", 0),
        (shortest_table_only, "Only the table of single bytes", 1),
        (longest_table_first, "Each table in turn", 1),
    ],
    "draw_next": [
        (likeliest, "likeliest token", 0), (from_the_right, "from the right", 0), (all_alike, "equally likely", 0),
        (up_to_and_including, "not equal to it", 0), (falls_off_the_end, "nothing was drawn", 1),
        (last_of_all_at_the_end, "wrong token was drawn", 1), (the_probability, "not the probability", 0),
    ],
    "predict": [
        (every_byte_alike, "8.000 bits", 0), (add_one_to_triples, "bits a byte", 0), (half_and_half, "Kneser-Ney", 2),
        (kneser_ney_of_order_four, "at most 2.45", 2), (counted_the_text_too, "do not sum to one", 0),
        (logarithms, "not their logarithms", 0), (first_bytes_left_out, "predicted, too", 0),
        (whole_text_as_context, "do not sum to one", 0), (looked_one_byte_ahead, "Another end of the text", 0),
        (zeros_left, "no probability above 0", 0),
    ],
}
