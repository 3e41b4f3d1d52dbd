"""Plausible wrong answers to lab 08, each with words that its card must show and the points that it still earns."""

import itertools
import math

import torch
import torch.nn.functional as F


def padded_left(sequences, pad_id):
    longest = max(map(len, sequences))
    ids = torch.tensor([[pad_id] * (longest - len(one)) + one for one in sequences])
    return ids, torch.arange(longest) < torch.tensor([[len(one)] for one in sequences])


def rectangle(sequences, pad_id):
    longest = max(map(len, sequences))
    return torch.tensor([one + [pad_id] * (longest - len(one)) for one in sequences])


def filled_with_zero(sequences, pad_id):
    ids = rectangle(sequences, 0)
    return ids, torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in sequences])


def mask_from_the_ids(sequences, pad_id):
    ids = rectangle(sequences, pad_id)
    return ids, ids != pad_id


def inverted_mask(sequences, pad_id):
    ids = rectangle(sequences, pad_id)
    return ids, torch.arange(ids.shape[1]) >= torch.tensor([[len(one)] for one in sequences])


def everything_real(sequences, pad_id):
    ids = rectangle(sequences, pad_id)
    return ids, torch.ones_like(ids, dtype=torch.bool)


def lists_filled_in_place(sequences, pad_id):
    lengths = torch.tensor([[len(one)] for one in sequences])
    for one in sequences:
        one += [pad_id] * (int(lengths.max()) - len(one))
    return torch.tensor(sequences), torch.arange(int(lengths.max())) < lengths


def mask_of_numbers(sequences, pad_id):
    ids = rectangle(sequences, pad_id)
    return ids, (torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in sequences])).long()


def cut_to_the_shortest(sequences, pad_id):
    shortest = min(map(len, sequences))
    ids = torch.tensor([one[:shortest] for one in sequences])
    return ids, torch.ones_like(ids, dtype=torch.bool)


def ids_as_fractions(sequences, pad_id):
    ids = rectangle(sequences, pad_id)
    return ids.float(), torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in sequences])


def plain_mean(hidden, attention_mask):
    return hidden.mean(dim=1)


def divided_by_the_width(hidden, attention_mask):
    return (hidden * attention_mask[:, :, None]).mean(dim=1)


def only_the_sum(hidden, attention_mask):
    return (hidden * attention_mask[:, :, None]).sum(dim=1)


def mean_over_the_features(hidden, attention_mask):
    return (hidden * attention_mask[:, :, None]).mean(dim=2)


def first_token(hidden, attention_mask):
    return hidden[:, 0]


def one_count_for_all(hidden, attention_mask):
    return (hidden * attention_mask[:, :, None]).sum(dim=1) / attention_mask.sum()


def padding_pooled(hidden, attention_mask):
    column = ~attention_mask[:, :, None]
    return (hidden * column).sum(dim=1) / column.sum(dim=1).clamp(min=1)


def mask_without_an_axis(hidden, attention_mask):
    return (hidden * attention_mask).sum(dim=1) / attention_mask.sum(dim=1)


def classified(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    return logits, F.cross_entropy(logits, targets)


def without_the_bias(pooled, weight, bias, targets):
    return classified(pooled, weight, 0 * bias, targets)


def probabilities_for_logits(pooled, weight, bias, targets):
    logits, loss = classified(pooled, weight, bias, targets)
    return logits.softmax(dim=-1), loss


def softmax_twice(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    return logits, F.cross_entropy(logits.softmax(dim=-1), targets)


def summed(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    return logits, F.cross_entropy(logits, targets, reduction="sum")


def sign_forgotten(pooled, weight, bias, targets):
    logits, loss = classified(pooled, weight, bias, targets)
    return logits, -loss


def literal_softmax(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    labeled = targets != -100
    powers = logits[labeled].exp()
    probs = powers / powers.sum(dim=-1, keepdim=True)
    return logits, -probs.gather(1, targets[labeled][:, None]).log().mean()


def unlabeled_rows_counted(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    return logits, F.cross_entropy(logits, targets, reduction="none").mean()


def unlabeled_as_the_last_class(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    chosen = targets.where(targets >= 0, len(bias) - 1)
    return logits, -logits.log_softmax(dim=-1)[torch.arange(len(logits)), chosen].mean()


def weight_not_transposed(pooled, weight, bias, targets):
    return classified(pooled, weight.T, bias, targets)


def loss_alone(pooled, weight, bias, targets):
    return classified(pooled, weight, bias, targets)[1]


def loss_for_each_row(pooled, weight, bias, targets):
    logits = F.linear(pooled, weight, bias)
    return logits, F.cross_entropy(logits, targets, reduction="none")


def counts(model):
    return sum(one.numel() for one in model.parameters() if one.requires_grad), sum(
        one.numel() for one in model.parameters())


def frozen_only(model, prefixes):
    for name, parameter in model.named_parameters():
        if not name.startswith(prefixes):
            parameter.requires_grad = False
    return counts(model)


def trained_only(model, prefixes):
    model.words.requires_grad_(True)
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad = True
    return counts(model)


def other_way_round(model, prefixes):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(prefixes)
    return counts(model)


def all_frozen(model, prefixes):
    model.requires_grad_(False)
    return counts(model)


def frozen(model, prefixes):
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(prefixes)


def counted_twice(model, prefixes):
    frozen(model, prefixes)
    return counts(model)[0], sum(one.numel() for one in model.state_dict().values())


def tensors_counted(model, prefixes):
    frozen(model, prefixes)
    return sum(one.requires_grad for one in model.parameters()), len(list(model.parameters()))


def trained_and_frozen(model, prefixes):
    frozen(model, prefixes)
    trained, total = counts(model)
    return trained, total - trained


def counts_swapped(model, prefixes):
    frozen(model, prefixes)
    return counts(model)[::-1]


def names_alone(model, prefixes):
    frozen(model, prefixes)
    return [name for name, _ in model.named_parameters()]


def scale_forgotten(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + x @ A.T @ B.T


def not_divided_by_the_rank(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha * (x @ A.T @ B.T)


def rank_over_alpha(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + len(A) / alpha * (x @ A.T @ B.T)


def adapter_forgotten(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias)


def adapter_alone(x, weight, bias, A, B, alpha):
    return alpha / len(A) * (x @ A.T @ B.T)


def bias_forgotten(x, weight, bias, A, B, alpha):
    return x @ weight.T + alpha / len(A) * (x @ A.T @ B.T)


def layer_scaled_as_well(x, weight, bias, A, B, alpha):
    return alpha / len(A) * (F.linear(x, weight, bias) + x @ A.T @ B.T)


def columns_for_the_rank(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / A.shape[1] * (x @ A.T @ B.T)


def up_before_down(x, weight, bias, A, B, alpha):
    return F.linear(x, weight, bias) + alpha / len(A) * (x @ B @ A)


def merged_without_scale(weight, A, B, alpha):
    return weight + B @ A


def merged_with_alpha(weight, A, B, alpha):
    return weight + alpha * (B @ A)


def change_alone(weight, A, B, alpha):
    return alpha / len(A) * (B @ A)


def change_subtracted(weight, A, B, alpha):
    return weight - alpha / len(A) * (B @ A)


def merged_in_place(weight, A, B, alpha):
    weight += alpha / len(A) * (B @ A)
    return weight


def turned_round(weight, A, B, alpha):
    return (weight + alpha / len(A) * (B @ A)).T


def simple_interval(n_right, n):
    share = n_right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    return share - half, share + half


def wilson(n_right, n, z=1.96):
    share = n_right / n
    center, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (center - width) / (1 + z * z / n), (center + width) / (1 + z * z / n)


def one_standard_error(n_right, n):
    return wilson(n_right, n, z=1.0)


def in_percent(n_right, n):
    return tuple(100 * end for end in wilson(n_right, n))


def ends_swapped(n_right, n):
    return wilson(n_right, n)[::-1]


def denominator_forgotten(n_right, n):
    return tuple(end * (1 + 1.96**2 / n) for end in wilson(n_right, n))


def nothing_known_at_the_ends(n_right, n):
    return wilson(n_right, n) if 0 < n_right < n else (n_right / n, n_right / n)


def accuracy_alone(n_right, n):
    return n_right / n


def losses(model, batches):
    for sequences, targets in batches:
        ids = rectangle(sequences, 0)
        mask = torch.arange(ids.shape[1]) < torch.tensor([[len(one)] for one in sequences])
        yield F.cross_entropy(model(ids, mask), targets)


def never_steps(model, batches):
    for loss in losses(model, itertools.islice(batches, 3)):
        loss.backward()
    return model


def head_forgotten(model, batches):
    optimizer = torch.optim.SGD(model.transformer.parameters(), lr=1e-3)
    for loss in losses(model, itertools.islice(batches, 3)):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def three_steps(model, batches):
    optimizer = torch.optim.SGD(model.head.parameters(), lr=1e-4)
    for loss in losses(model, itertools.islice(batches, 3)):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def rate_far_too_high(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e12)
    for loss in losses(model, itertools.islice(batches, 3)):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def losses_returned(model, batches):
    return [loss.item() for loss in losses(model, itertools.islice(batches, 3))]


def twice_through(model, batches):
    for _ in range(2):
        for _ in batches:
            pass
    return model


def not_trained(model, batches):
    return model


def head_alone_for_a_while(model, batches):
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-3)
    model.eval().transformer.requires_grad_(False)  # without dropout: the same on every run
    for loss in losses(model, itertools.islice(batches, 15)):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


WRONG = {
    "pad_batch": [
        (padded_left, "on the left", 0), (filled_with_zero, "not with `pad_id`", 0),
        (mask_from_the_ids, "read off the ids", 1), (inverted_mask, "inverted", 1),
        (everything_real, "Everything is True", 1), (lists_filled_in_place, "changed its input `sequences`", 0),
        (mask_of_numbers, "not boolean", 0), (cut_to_the_shortest, "longest", 0),
        (ids_as_fractions, "not whole numbers", 0),
    ],
    "mean_pool": [
        (plain_mean, "the mask has no effect", 0), (divided_by_the_width, "divided by T", 0),
        (only_the_sum, "Divide it", 0), (mean_over_the_features, "wrong shape", 0),
        (first_token, "first token", 0), (one_count_for_all, "Each text has its own", 0),
        (padding_pooled, "mean over the padding", 0), (mask_without_an_axis, "raised RuntimeError", 0),
    ],
    "classify": [
        (without_the_bias, "bias is missing", 0), (probabilities_for_logits, "before the softmax", 0),
        (softmax_twice, "taken twice", 1), (summed, "sum over the rows", 1), (sign_forgotten, "sign is wrong", 1),
        (literal_softmax, "overflows", 2), (unlabeled_rows_counted, "divided by all rows", 2),
        (unlabeled_as_the_last_class, "used as a class number", 2), (weight_not_transposed, "raised RuntimeError", 0),
        (loss_alone, "return logits, loss", 0), (loss_for_each_row, "One number for the whole batch", 0),
    ],
    "freeze_all_but": [
        (frozen_only, "was frozen before", 0), (trained_only, "still trained", 0),
        (other_way_round, "other way round", 0), (all_frozen, "Nothing is trained", 0),
        (counted_twice, "count it once", 1), (tensors_counted, "numbers of tensors", 1),
        (trained_and_frozen, "not of the frozen ones", 1), (counts_swapped, "changed places", 1),
        (names_alone, "return trained, total", 0),
    ],
    "lora_output": [
        (scale_forgotten, "scale is missing", 1), (not_divided_by_the_rank, "not by alpha / rank", 1),
        (rank_over_alpha, "upside down", 1), (adapter_forgotten, "no effect", 1), (adapter_alone, "adapter's part", 0),
        (bias_forgotten, "bias is missing", 0), (layer_scaled_as_well, "The layer was scaled as well", 0),
        (columns_for_the_rank, "not its columns", 1), (up_before_down, "raised RuntimeError", 0),
    ],
    "merge_lora": [
        (merged_without_scale, "scale is missing", 0), (merged_with_alpha, "not by alpha / rank", 0),
        (change_alone, "change alone", 0), (change_subtracted, "subtracted", 0),
        (merged_in_place, "changed its input `weight`", 0), (turned_round, "wrong shape", 0),
    ],
    "wilson_interval": [
        (simple_interval, "simple interval", 0), (one_standard_error, "z = 1", 0), (in_percent, "percent", 0),
        (ends_swapped, "changed places", 0), (denominator_forgotten, "the second bracket", 0),
        (nothing_known_at_the_ends, "keeps a width", 2), (accuracy_alone, "return low, high", 0),
    ],
    "fine_tune": [
        (never_steps, "What uses them?", 0), (not_trained, "No weight has changed", 0),
        (head_forgotten, "head has not changed", 0), (three_steps, "no better than a coin", 1),
        (rate_far_too_high, "NaN or infinity", 0), (losses_returned, "not the classifier", 0),
        (twice_through, "a second", 0), (head_alone_for_a_while, "not enough", 3),
    ],
}
