"""Plausible wrong answers to lab 04, each with words that its card must show and the points that it still earns."""

import torch


def total(x, h, W, U, b):
    return x @ W.T + h @ U.T + b


def rnn_step(x, h, W, U, b):
    return total(x, h, W, U, b).tanh()


def without_tanh(x, h, W, U, b):
    return total(x, h, W, U, b)


def with_a_sigmoid(x, h, W, U, b):
    return total(x, h, W, U, b).sigmoid()


def without_bias(x, h, W, U, b):
    return (x @ W.T + h @ U.T).tanh()


def without_the_state(x, h, W, U, b):
    return (x @ W.T + b).tanh()


def state_from_the_wrong_side(x, h, W, U, b):
    return (x @ W.T + h @ U + b).tanh()


def input_from_the_wrong_side(x, h, W, U, b):
    return (x @ W + h @ U.T + b).tanh()


def states_over(x, W, U, b, carry=True):
    h, states = torch.zeros(len(x), len(U)), []
    for t in range(x.shape[1]):
        states.append(rnn_step(x[:, t], h, W, U, b))
        h = states[-1] if carry else h
    return torch.stack(states, dim=1)


def last_of_all(x, lengths, W, U, b):
    states = states_over(x, W, U, b)
    return states, states[:, -1]


def one_too_early(x, lengths, W, U, b):
    states = states_over(x, W, U, b)
    return states, states[torch.arange(len(x)), (lengths - 2).clamp_min(0)]


def never_handed_on(x, lengths, W, U, b):
    states = states_over(x, W, U, b, carry=False)
    return states, states[torch.arange(len(x)), lengths - 1]


def time_first(x, lengths, W, U, b):
    states = states_over(x, W, U, b)
    return states.transpose(0, 1), states[torch.arange(len(x)), lengths - 1]


def states_alone(x, lengths, W, U, b):
    return states_over(x, W, U, b)


def backward(x, lengths, W, U, b):
    states = states_over(x.flip(1), W, U, b).flip(1)
    return states, states[torch.arange(len(x)), lengths - 1]


def lstm(x, h, c, W, U, b, order="ifgo"):
    named = dict(zip(order, total(x, h, W, U, b).chunk(4, dim=-1), strict=True))
    i, f, g, o = named["i"].sigmoid(), named["f"].sigmoid(), named["g"].tanh(), named["o"].sigmoid()
    new = f * c + i * g
    return o * new.tanh(), new, (i, f, g, o)


def gates_swapped(x, h, c, W, U, b):
    return lstm(x, h, c, W, U, b, "figo")[:2]


def output_third(x, h, c, W, U, b):
    return lstm(x, h, c, W, U, b, "ifog")[:2]


def cell_first(x, h, c, W, U, b):
    return lstm(x, h, c, W, U, b)[1::-1]


def never_forgets(x, h, c, W, U, b):
    i, _, g, o = lstm(x, h, c, W, U, b)[2]
    return o * (c + i * g).tanh(), c + i * g


def state_without_tanh(x, h, c, W, U, b):
    _, new, (_, _, _, o) = lstm(x, h, c, W, U, b)
    return o * new, new


def shows_the_old_cell(x, h, c, W, U, b):
    _, new, (_, _, _, o) = lstm(x, h, c, W, U, b)
    return o * c.tanh(), new


def squashes_the_cell(x, h, c, W, U, b):
    state, new, _ = lstm(x, h, c, W, U, b)
    return state, new.tanh()


def later_products(forget):
    """For each word the product of the later gates, its own left out."""
    ones = torch.ones_like(forget[:1])
    return torch.cat([forget[1:], ones]).flip(0).cumprod(0).flip(0)


def own_gate_too(forget, written):
    return written * forget.flip(0).cumprod(0).flip(0)


def gates_before(forget, written):
    return written * forget.cumprod(0)


def nothing_forgotten(forget, written):
    return 1.0 * written


def by_division(forget, written):
    return written * forget.prod(0) / forget.cumprod(0)


def spread_evenly(forget, written):
    return (written * later_products(forget)).mean(0).expand_as(written)


def last_cell_alone(forget, written):
    return (written * later_products(forget)).sum(0)


def gru(x, h, W, U, b, b_state):
    return (x @ W.T + b).chunk(3, -1), (h @ U.T + b_state).chunk(3, -1)


def blend_upside_down(x, h, W, U, b, b_state):
    (r, z, n), (r_h, z_h, n_h) = gru(x, h, W, U, b, b_state)
    z = (z + z_h).sigmoid()
    return z * (n + (r + r_h).sigmoid() * n_h).tanh() + (1 - z) * h


def reset_first(x, h, W, U, b, b_state):
    (r, z, n), (r_h, z_h, _) = gru(x, h, W, U, b, b_state)
    r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
    return (1 - z) * (n + (r * h) @ U.chunk(3)[2].T + b_state.chunk(3)[2]).tanh() + z * h


def one_bias(x, h, W, U, b, b_state):
    (r, z, n), (r_h, z_h, n_h) = gru(x, h, W, U, b + b_state, 0 * b)
    r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
    return (1 - z) * (n + r * n_h).tanh() + z * h


def without_reset(x, h, W, U, b, b_state):
    (_, z, n), (_, z_h, n_h) = gru(x, h, W, U, b, b_state)
    z = (z + z_h).sigmoid()
    return (1 - z) * (n + n_h).tanh() + z * h


def update_first(x, h, W, U, b, b_state):
    (z, r, n), (z_h, r_h, n_h) = gru(x, h, W, U, b, b_state)
    r, z = (r + r_h).sigmoid(), (z + z_h).sigmoid()
    return (1 - z) * (n + r * n_h).tanh() + z * h


def scores_of(state, memory, A):
    return ((state @ A)[:, None] * memory).sum(-1)


def gathered(weights, memory):
    return (weights[:, :, None] * memory).sum(1), weights


def padding_read(state, memory, read, A):
    return gathered(scores_of(state, memory, A).softmax(-1), memory)


def padding_cut_afterwards(state, memory, read, A):
    return gathered(scores_of(state, memory, A).softmax(-1) * read, memory)


def padding_scored_zero(state, memory, read, A):
    return gathered((scores_of(state, memory, A) * read).softmax(-1), memory)


def closed(scores, read):
    return scores.masked_fill(~read, -torch.inf).softmax(-1)


def transposed(state, memory, read, A):
    return gathered(closed(scores_of(state, memory, A.T), read), memory)


def without_the_matrix(state, memory, read, A):
    return gathered(closed((state[:, None] * memory).sum(-1), read), memory)


def scaled(state, memory, read, A):
    return gathered(closed(scores_of(state, memory, A) / memory.shape[-1] ** 0.5, read), memory)


def mean_of_the_states(state, memory, read, A):
    return memory.mean(1), closed(scores_of(state, memory, A), read)


def weights_in_front(state, memory, read, A):
    return gathered(closed(scores_of(state, memory, A), read), memory)[::-1]


def length_of(gradients):
    return torch.cat([g.flatten() for g in gradients.values()]).norm()


def each_alone(gradients, longest):
    return {name: g * min(1.0, longest / max(g.norm().item(), 1e-12)) for name, g in gradients.items()}


def cut_off(gradients, longest):
    return {name: g.clamp(-longest, longest) for name, g in gradients.items()}


def always_scaled(gradients, longest):
    return {name: g * longest / length_of(gradients) for name, g in gradients.items()}


def without_root(gradients, longest):
    squared = length_of(gradients) ** 2
    return {name: g * min(1.0, longest / squared.clamp_min(1e-12).item()) for name, g in gradients.items()}


def to_length_one(gradients, longest):
    length = length_of(gradients).item()
    return {name: g / length if length > longest else g for name, g in gradients.items()}


def divides_by_zero(gradients, longest):
    factor = (longest / length_of(gradients)).clamp(max=1.0)
    zero = length_of(gradients) / length_of(gradients)  # 0/0
    return {name: g * factor * zero for name, g in gradients.items()}


def list_of_gradients(gradients, longest):
    return [1.0 * g for g in gradients.values()]


def speller(reads_on=False, looks=True, feeds=True, stops=True, keeps_cell=True, context_first=True):
    """A decoder with one fault."""

    def write(source_ids, weights, begin_id, end_id, max_length):
        def step(name, table, ids, h, c):
            return lstm(weights[table][ids], h, c, *(weights[f"{name}_{part}"] for part in "WUb"))[:2]

        read, memory = source_ids != 0, []
        h = c = torch.zeros(len(source_ids), len(weights["A"]))
        for t in range(source_ids.shape[1]):
            going = read[:, t, None] | reads_on
            new_h, new_c = step("encoder", "source_embedding", source_ids[:, t], h, c)
            h, c = torch.where(going, new_h, h), torch.where(going, new_c, c)
            memory.append(h)
        memory, written = torch.stack(memory, dim=1), []
        c = c if keeps_cell else torch.zeros_like(c)
        last, done = torch.full((len(h),), begin_id), torch.zeros(len(h), dtype=torch.bool)
        for _ in range(max_length):
            fed = last if feeds else torch.full_like(last, begin_id)
            h, c = step("decoder", "target_embedding", fed, h, c)
            context = looks * gathered(closed(scores_of(h, memory, weights["A"]), read), memory)[0]
            pair = [context, h] if context_first else [h, context]
            mixed = torch.tanh(torch.cat(pair, dim=-1) @ weights["C"].T + weights["C_bias"])
            last = (mixed @ weights["head"].T + weights["head_bias"]).argmax(-1)
            if stops:
                last = last.masked_fill(done, end_id)
            done = done | (last == end_id)
            written.append(last)
        return torch.stack(written, dim=1)

    return write


def reads_the_padding(*given):
    return speller(reads_on=True)(*given)


def never_looks_back(*given):
    return speller(looks=False)(*given)


def drops_the_cell(*given):
    return speller(keeps_cell=False)(*given)


def context_second(*given):
    return speller(context_first=False)(*given)


def never_reads_its_own(*given):
    return speller(feeds=False)(*given)


def never_stops(*given):
    return speller(stops=False)(*given)


def one_token_short(*given):
    return speller()(*given)[:, 1:]


WRONG = {
    "rnn_step": [
        (without_tanh, "The tanh is missing", 0),
        (with_a_sigmoid, "not a sigmoid", 0),
        (without_bias, "The bias is missing", 0),
        (without_the_state, "The old state does not go in", 0),
        (state_from_the_wrong_side, "U is transposed", 0),
        (input_from_the_wrong_side, "raised RuntimeError", 0),
    ],
    "rnn_over_time": [
        (last_of_all, "the state after the padding", 1),
        (one_too_early, "One position too early", 1),
        (never_handed_on, "Each step begins with a state of zeros", 0),
        (time_first, "wrong shape", 0),
        (states_alone, "must return 2 results", 0),
        (backward, "from the last to the first", 0),
    ],
    "lstm_step": [
        (gates_swapped, "The input and the forget gate are swapped", 0),
        (output_third, "The candidate and the output gate are swapped", 0),
        (cell_first, "State and cell are swapped", 0),
        (never_forgets, "not forgotten", 0),
        (squashes_the_cell, "never squashed", 0),
        (state_without_tanh, "The tanh over the cell is missing", 2),
        (shows_the_old_cell, "not the old one", 2),
    ],
    "cell_pieces": [
        (own_gate_too, "its own word's forget gate", 0),
        (gates_before, "the ones after it count", 0),
        (nothing_forgotten, "Nothing was forgotten", 0),
        (spread_evenly, "The sum is right, the pieces are not", 1),
        (by_division, "gives NaN", 2),
        (last_cell_alone, "wrong shape", 0),
    ],
    "gru_step": [
        (blend_upside_down, "upside down", 0),
        (reset_first, "comes too early", 0),
        (one_bias, "belongs inside the reset", 0),
        (without_reset, "The reset gate is missing", 0),
        (update_first, "the order is r, z, n", 0),
    ],
    "attend": [
        (padding_read, "Padding gets some weight", 0),
        (padding_cut_afterwards, "do not sum to one", 0),
        (padding_scored_zero, "Padding gets some weight", 0),
        (transposed, "A is transposed", 1),
        (without_the_matrix, "A is missing", 1),
        (scaled, "divided by the root of D", 1),
        (mean_of_the_states, "This is a mean", 2),
        (weights_in_front, "wrong shape", 0),
    ],
    "clip_gradients": [
        (each_alone, "clipped by its own length", 0),
        (cut_off, "cut off one by one", 0),
        (always_scaled, "short enough were changed", 0),
        (without_root, "The root is missing", 0),
        (to_length_one, "They have length 1 now", 0),
        (divides_by_zero, "became NaN", 2),
        (list_of_gradients, "not a dictionary", 0),
    ],
    "write": [
        (reads_the_padding, "Rows with padding differ", 0),
        (never_looks_back, "Even rows without padding differ", 0),
        (drops_the_cell, "The first tokens are not the library's", 0),
        (context_second, "Even rows without padding differ", 0),
        (never_reads_its_own, "later ones are not", 1),
        (never_stops, "Rows go on after their end", 2),
        (one_token_short, "wrong shape", 0),
    ],
}
