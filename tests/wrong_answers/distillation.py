"""Plausible wrong answers to lab 15, each with words that its card must show and the points that it still earns."""

import torch
import torch.nn.functional as F


def loss(student_logits, teacher_logits, temperature, reduction="batchmean"):
    return temperature**2 * divergence(student_logits / temperature, teacher_logits / temperature, reduction)


def divergence(student_logits, teacher_logits, reduction="batchmean"):
    return F.kl_div(student_logits.log_softmax(-1), teacher_logits.log_softmax(-1), reduction=reduction,
                    log_target=True)


def other_direction(student_logits, teacher_logits, temperature):
    return loss(teacher_logits, student_logits, temperature)


def rows_added_up(student_logits, teacher_logits, temperature):
    return loss(student_logits, teacher_logits, temperature, "sum")


def mean_of_all_entries(student_logits, teacher_logits, temperature):
    return loss(student_logits, teacher_logits, temperature, "mean")


def cross_entropy_left(student_logits, teacher_logits, temperature):
    p = (teacher_logits / temperature).softmax(-1)
    return -temperature**2 * (p * (student_logits / temperature).log_softmax(-1)).sum(-1).mean()


def mean_squares(student_logits, teacher_logits, temperature):
    return (student_logits - teacher_logits).square().mean()


def hard_decisions(student_logits, teacher_logits, temperature):
    return F.cross_entropy(student_logits, teacher_logits.argmax(-1))


def kl_div_of_probabilities(student_logits, teacher_logits, temperature):
    p, q = (teacher_logits / temperature).softmax(-1), (student_logits / temperature).softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean")


def factor_missing(student_logits, teacher_logits, temperature):
    return divergence(student_logits / temperature, teacher_logits / temperature)


def factor_of_one_temperature(student_logits, teacher_logits, temperature):
    return temperature * factor_missing(student_logits, teacher_logits, temperature)


def teacher_softened_alone(student_logits, teacher_logits, temperature):
    return temperature**2 * divergence(student_logits, teacher_logits / temperature)


def temperature_multiplied(student_logits, teacher_logits, temperature):
    return temperature**2 * divergence(student_logits * temperature, teacher_logits * temperature)


def log_of_zero(student_logits, teacher_logits, temperature):
    p, q = (teacher_logits / temperature).softmax(-1), (student_logits / temperature).softmax(-1)
    return temperature**2 * (p * (p.log() - q.log())).sum(-1).mean()


def log_cut_off(student_logits, teacher_logits, temperature):
    p, q = (teacher_logits / temperature).softmax(-1), (student_logits / temperature).softmax(-1)
    return temperature**2 * (p * ((p + 1e-15).log() - (q + 1e-15).log())).sum(-1).mean()


def a_loss_for_each_row(student_logits, teacher_logits, temperature):
    return loss(student_logits, teacher_logits, temperature, "none").sum(-1)


def slope(student_logits, teacher_logits, temperature):
    difference = (student_logits / temperature).softmax(-1) - (teacher_logits / temperature).softmax(-1)
    return difference / len(student_logits)


def slope_without_factor(student_logits, teacher_logits, temperature):
    return slope(student_logits, teacher_logits, temperature)


def slope_uphill(student_logits, teacher_logits, temperature):
    return -temperature * slope(student_logits, teacher_logits, temperature)


def slope_squared(student_logits, teacher_logits, temperature):
    return temperature**2 * slope(student_logits, teacher_logits, temperature)


def slope_over(student_logits, teacher_logits, temperature):
    return slope(student_logits, teacher_logits, temperature) / temperature


def slope_of_the_sum(student_logits, teacher_logits, temperature):
    return temperature * len(student_logits) * slope(student_logits, teacher_logits, temperature)


def slope_not_softened(student_logits, teacher_logits, temperature):
    return temperature * slope(student_logits, teacher_logits, 1.0)


def slope_of_decisions(student_logits, teacher_logits, temperature):
    one_hot = F.one_hot(teacher_logits.argmax(-1), student_logits.shape[-1])
    return (student_logits.softmax(-1) - one_hot) / len(student_logits)


def shares_swapped(student_logits, teacher_logits, labels, temperature, soft_share):
    soft, hard = loss(student_logits, teacher_logits, temperature), F.cross_entropy(student_logits, labels)
    return soft_share * hard + (1 - soft_share) * soft


def hard_softened(student_logits, teacher_logits, labels, temperature, soft_share):
    hard = F.cross_entropy(student_logits / temperature, labels)
    return soft_share * loss(student_logits, teacher_logits, temperature) + (1 - soft_share) * hard


def hard_with_the_factor(student_logits, teacher_logits, labels, temperature, soft_share):
    hard = temperature**2 * F.cross_entropy(student_logits, labels)
    return soft_share * loss(student_logits, teacher_logits, temperature) + (1 - soft_share) * hard


def hard_added_up(student_logits, teacher_logits, labels, temperature, soft_share):
    hard = F.cross_entropy(student_logits, labels, reduction="sum")
    return soft_share * loss(student_logits, teacher_logits, temperature) + (1 - soft_share) * hard


def soft_not_softened(student_logits, teacher_logits, labels, temperature, soft_share):
    soft = loss(student_logits, teacher_logits, 1.0)
    return soft_share * soft + (1 - soft_share) * F.cross_entropy(student_logits, labels)


def never_half(student_logits, teacher_logits, labels, temperature, soft_share):
    soft, hard = loss(student_logits, teacher_logits, temperature), F.cross_entropy(student_logits, labels)
    return soft * soft_share + hard * (1 if 0 < soft_share < 1 else 1 - soft_share)


def just_added(student_logits, teacher_logits, labels, temperature, soft_share):
    soft, hard = loss(student_logits, teacher_logits, temperature), F.cross_entropy(student_logits, labels)
    return soft + hard if 0 < soft_share < 1 else soft * soft_share + hard * (1 - soft_share)


def interval(same, n, share):
    z = 1.959963984540054
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / (1 + z**2 / n)
    return share, center - half, center + half


def equal(student_logits, teacher_logits):
    return student_logits.argmax(-1) == teacher_logits.argmax(-1)


def wald(student_logits, teacher_logits):
    same = equal(student_logits, teacher_logits).double().mean().item()
    half = 1.959963984540054 * (same * (1 - same) / len(student_logits)) ** 0.5
    return same, same - half, same + half


def how_many(student_logits, teacher_logits):
    same, n = equal(student_logits, teacher_logits).sum().item(), len(student_logits)
    return same, *interval(same, n, same / n)[1:]


def disagreement(student_logits, teacher_logits):
    n = len(student_logits)
    different = n - equal(student_logits, teacher_logits).sum().item()
    return interval(different, n, different / n)


def entries_compared(student_logits, teacher_logits):
    close = (student_logits - teacher_logits).abs() < 0.5
    return interval(0, len(student_logits), close.double().mean().item())


def one_standard_error(student_logits, teacher_logits):
    share, low, high = wald(student_logits, teacher_logits)
    return share, share - (share - low) / 1.96, share + (high - share) / 1.96


def ends_swapped(student_logits, teacher_logits):
    same, n = equal(student_logits, teacher_logits).sum().item(), len(student_logits)
    share, low, high = interval(same, n, same / n)
    return share, high, low


def share_alone(student_logits, teacher_logits):
    return equal(student_logits, teacher_logits).double().mean().item()


def rows_scaled(weight, levels=127):
    scales = weight.abs().amax(1) / levels
    return torch.where(scales > 0, scales, 1.0)


def codes_of(weight, scales):
    return (weight / scales[:, None]).round().to(torch.int8)


def one_scale_for_all(weight):
    scales = (weight.abs().max() / 127).expand(len(weight)).clone()
    return codes_of(weight, scales), scales


def one_number_for_all(weight):
    scale = weight.abs().max() / 127
    return (weight / scale).round().to(torch.int8), scale


def columns_scaled(weight):
    scales = weight.abs().amax(0) / 127
    return (weight / scales).round().to(torch.int8), scales


def by_128(weight):
    scales = rows_scaled(weight, 128)
    return (weight / scales[:, None]).round().clamp(-128, 127).to(torch.int8), scales


def by_255(weight):
    scales = rows_scaled(weight, 255)
    return (weight / scales[:, None]).round().clamp(-128, 127).to(torch.int8), scales


def cut_off(weight):
    scales = rows_scaled(weight)
    return (weight / scales[:, None]).to(torch.int8), scales


def rounded_down(weight):
    scales = rows_scaled(weight)
    return (weight / scales[:, None]).floor().to(torch.int8), scales


def codes_as_floats(weight):
    scales = rows_scaled(weight)
    return (weight / scales[:, None]).round(), scales


def zero_over_zero(weight):
    scales = weight.abs().amax(1) / 127
    return codes_of(weight, scales), scales


def inverse_scales(weight):
    scales = rows_scaled(weight)
    return codes_of(weight, scales), 1 / scales


def keeps_a_column(weight):
    scales = rows_scaled(weight)
    return codes_of(weight, scales), scales[:, None]


def sign_spoils(codes):
    low, high = codes[:, ::2].int(), codes[:, 1::2].int()
    return (low | (high << 4)).to(torch.uint8)


def sign_is_added(codes):
    return (codes[:, ::2].int() + 16 * codes[:, 1::2].int()).to(torch.uint8)


def halves_swapped(codes):
    codes = codes.int() & 15
    return (codes[:, 1::2] | (codes[:, ::2] << 4)).to(torch.uint8)


def far_columns_paired(codes):
    left, right = (codes.int() & 15).chunk(2, dim=1)
    return (left | (right << 4)).to(torch.uint8)


def moved_up_by_eight(codes):
    codes = codes.int() + 8
    return (codes[:, ::2] | (codes[:, 1::2] << 4)).to(torch.uint8)


def up_only_where_negative(codes):
    moved = torch.where(codes.int() < 0, codes.int() + 8, codes.int())
    return (moved[:, ::2] | (moved[:, 1::2] << 4)).to(torch.uint8)


def not_halved(codes):
    return (codes.int() & 15).to(torch.uint8)


def bytes_with_a_sign(codes):
    codes = codes.int() & 15
    return (codes[:, ::2] | (codes[:, 1::2] << 4)).to(torch.int8)


def halves_of(packed):
    return packed.int() & 15, packed.int() >> 4


def paired(low, high):
    return torch.stack([low, high], dim=-1).flatten(1).to(torch.int8)


def no_sign(packed):
    return paired(*halves_of(packed))


def eight_off_all(packed):
    low, high = halves_of(packed)
    return paired(low - 8, high - 8)


def high_half_first(packed):
    low, high = ((half ^ 8) - 8 for half in halves_of(packed))
    return paired(high, low)


def lows_then_highs(packed):
    return torch.cat([(half ^ 8) - 8 for half in halves_of(packed)], dim=1).to(torch.int8)


def eight_off_negative(packed):
    low, high = (torch.where(half > 7, half - 8, half) for half in halves_of(packed))
    return paired(low, high)


def high_half_not_shifted(packed):
    low, high = packed.int() & 15, packed.int() & 240
    return paired((low ^ 8) - 8, high)


def low_sign_alone(packed):
    low, high = halves_of(packed)
    return paired((low ^ 8) - 8, high)


def cut(weight, order, count):
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[:count]] = False
    return mask.reshape(weight.shape)


def by_size(weight):
    return weight.abs().flatten().argsort()


def mask_upside_down(weight, sparsity):
    return ~cut(weight, by_size(weight), round(sparsity * weight.numel()))


def with_the_sign(weight, sparsity):
    return cut(weight, weight.flatten().argsort(), round(sparsity * weight.numel()))


def largest_cut(weight, sparsity):
    return cut(weight, by_size(weight).flip(0), round(sparsity * weight.numel()))


def not_rounded(weight, sparsity):
    return cut(weight, by_size(weight), int(sparsity * weight.numel()))


def one_more_cut(weight, sparsity):
    return cut(weight, by_size(weight), round(sparsity * weight.numel()) + 1)


def by_a_threshold(weight, sparsity):
    count = round(sparsity * weight.numel())
    return weight.abs() > weight.abs().flatten().sort().values[count - 1]


def by_a_quantile(weight, sparsity):
    return weight.abs() >= weight.abs().flatten().sort().values[round(sparsity * weight.numel())]


def in_each_row(weight, sparsity):
    places = weight.abs().argsort(dim=1)[:, : round(sparsity * weight.shape[1])]
    return torch.ones_like(weight, dtype=torch.bool).scatter(1, places, False)


def pruned_weight(weight, sparsity):
    return weight * cut(weight, by_size(weight), round(sparsity * weight.numel()))


def number_of(name):
    return int(name.split(".")[2])


def chosen(weights, keep, new_number):
    """Tensors of the blocks for which `keep` holds, renumbered, and all that is in no block."""
    found = {}
    for name, one in weights.items():
        if ".blocks." not in name:
            found[name] = one
        elif keep(number_of(name)):
            parts = name.split(".")
            found[".".join([*parts[:2], str(new_number(number_of(name))), *parts[3:]])] = one
    return found


def first_half(weights, n_layers):
    return chosen(weights, lambda layer: layer < n_layers // 2, lambda layer: layer)


def odd_layers(weights, n_layers):
    return chosen(weights, lambda layer: layer % 2 == 1, lambda layer: layer // 2)


def old_numbers(weights, n_layers):
    return chosen(weights, lambda layer: layer % 2 == 0, lambda layer: layer)


def blocks_alone(weights, n_layers):
    found = chosen(weights, lambda layer: layer % 2 == 0, lambda layer: layer // 2)
    return {name: one for name, one in found.items() if ".blocks." in name}


def by_the_first_letters(weights, n_layers):
    found = {name: one for name, one in weights.items() if ".blocks." not in name}
    for new in range(n_layers // 2):
        old = f"transformer.blocks.{2 * new}"
        found |= {name.replace(old, f"transformer.blocks.{new}"): one
                  for name, one in weights.items() if name.startswith(old)}
    return found


def one_digit(weights, n_layers):
    found = {name: one for name, one in weights.items() if ".blocks." not in name}
    for name, one in weights.items():
        if ".blocks." in name and int(name.split(".blocks.")[1][0]) % 2 == 0:
            number = name.split(".blocks.")[1][0]
            found[name.replace(f"blocks.{number}", f"blocks.{int(number) // 2}", 1)] = one
    return found


def last_half(weights, n_layers):
    return chosen(weights, lambda layer: layer >= n_layers // 2, lambda layer: layer - n_layers // 2)


def names_alone(weights, n_layers):
    return list(odd_layers(weights, n_layers))


class Student(torch.nn.Module):
    """The mean of the tokens' vectors, and a linear layer."""

    def __init__(self, vocab_size, width, n_classes=2):
        super().__init__()
        self.vectors = torch.nn.EmbeddingBag(vocab_size, width, mode="mean")
        self.layer = torch.nn.Linear(width, n_classes)
        torch.nn.init.normal_(self.vectors.weight, std=0.1)

    def forward(self, tokens, starts):
        return self.layer(self.vectors(tokens, starts))


def taught(lessons, vocab_size, rate=0.01, passes=8, width=16, sign=1, n_classes=2, loss_of=loss, batches=30):
    torch.manual_seed(0)  # a lucky start is worth a few points in a hundred
    student = Student(vocab_size, width, n_classes)
    optimizer = torch.optim.Adam(student.parameters(), lr=rate)
    for _ in range(passes):
        for number, (tokens, starts, teacher_logits) in enumerate(lessons):
            if number < batches:
                optimizer.zero_grad()
                (sign * loss_of(student(tokens, starts), teacher_logits, 2.0)).backward()
                optimizer.step()
    return student


def not_taught(lessons, vocab_size):
    return taught(lessons, vocab_size, passes=0)


def rate_too_low(lessons, vocab_size):
    return taught(lessons, vocab_size, rate=1e-5)


def rate_a_little_low(lessons, vocab_size):
    return taught(lessons, vocab_size, rate=1.2e-3)


def one_pass(lessons, vocab_size):
    return taught(lessons, vocab_size, rate=1e-3, passes=1)


def too_many_passes(lessons, vocab_size):
    return taught(lessons, vocab_size, passes=9)


def too_wide(lessons, vocab_size):
    return taught(lessons, vocab_size, passes=0, width=1200)


def uphill(lessons, vocab_size):
    return taught(lessons, vocab_size, sign=-1)


def one_logit(lessons, vocab_size):
    return taught(lessons, vocab_size, passes=0, n_classes=1)


def never_stepped(lessons, vocab_size):
    student = Student(vocab_size, 16)
    for tokens, starts, teacher_logits in lessons:
        loss(student(tokens, starts), teacher_logits, 2.0).backward()
    return student


def imitates_itself(lessons, vocab_size):
    return taught(lessons, vocab_size, loss_of=lambda logits, _, T: loss(logits, logits.detach(), T))


def its_weights(lessons, vocab_size):
    return taught(lessons, vocab_size, passes=0).state_dict()


WRONG = {
    "distillation_loss": [
        (other_direction, "the other way", 0), (rows_added_up, "rows were added up", 0),
        (mean_of_all_entries, "over the classes, too", 0), (cross_entropy_left, "cross-entropy", 0),
        (mean_squares, "squared differences", 0), (hard_decisions, "likeliest class counts", 0),
        (kl_div_of_probabilities, "not PyTorch's KL", 0), (factor_missing, "factor T² is missing", 1),
        (factor_of_one_temperature, "T², not T", 1), (teacher_softened_alone, "Only the teacher's logits", 1),
        (temperature_multiplied, "were multiplied", 1), (log_of_zero, "not finite", 3), (log_cut_off, "cuts large", 3),
        (a_loss_for_each_row, "wrong shape", 0),
    ],
    "distillation_gradient": [
        (slope_without_factor, "factor T is missing", 0), (slope_uphill, "sign is wrong", 0),
        (slope_squared, "which is T", 0), (slope_over, "too many", 0), (slope_of_the_sum, "share of 1 / B", 0),
        (slope_not_softened, "not softened", 0), (slope_of_decisions, "decisions as labels", 0),
    ],
    "mixed_loss": [
        (shares_swapped, "of 0, this is not", 0), (hard_softened, "T = 1", 0),
        (hard_with_the_factor, "went to the labels", 0), (hard_added_up, "take their mean", 0),
        (soft_not_softened, "of 1, this is not", 0), (never_half, "no weight", 1), (just_added, "simply added up", 1),
    ],
    "agreement": [
        (wald, "plain interval", 1), (how_many, "divide by the number", 0), (disagreement, "disagree", 0),
        (entries_compared, "They agree on", 0), (one_standard_error, "Wilson", 1), (ends_swapped, "Wilson", 1),
        (share_alone, "3 results", 0),
    ],
    "quantize": [
        (one_scale_for_all, "whole matrix", 0), (one_number_for_all, "too coarse", 0),
        (columns_scaled, "scales of the columns", 0), (by_128, "not 128", 0), (by_255, "With 255", 0),
        (cut_off, "not the codes that PyTorch", 1),
        (rounded_down, "not the codes that PyTorch", 1), (codes_as_floats, "int8", 0),
        (zero_over_zero, "scale of 0", 3), (inverse_scales, "largest size over 127", 0),
        (keeps_a_column, "Leave the axis", 0),
    ],
    "pack": [
        (sign_spoils, "ones in its upper bits", 1), (sign_is_added, "With negative codes", 1),
        (halves_swapped, "changed places", 0), (far_columns_paired, "Neighbors", 0),
        (moved_up_by_eight, "wrong byte", 0), (up_only_where_negative, "With negative codes", 1),
        (not_halved, "wrong shape", 0), (bytes_with_a_sign, "uint8", 0),
    ],
    "unpack": [
        (no_sign, "sign is lost", 1), (eight_off_all, "wrong two codes", 0), (high_half_first, "changed places", 0),
        (lows_then_highs, "side by side", 0), (eight_off_negative, "Negative codes", 1),
        (high_half_not_shifted, "wrong two codes", 0), (low_sign_alone, "Negative codes", 1),
    ],
    "magnitude_mask": [
        (mask_upside_down, "not where it goes", 0), (with_the_sign, "without the sign", 0),
        (largest_cut, "largest ones are gone", 0), (not_rounded, "too few", 0), (one_more_cut, "too many", 0),
        (by_a_threshold, "A threshold", 2), (by_a_quantile, "A threshold", 2), (in_each_row, "each row", 0),
        (pruned_weight, "not boolean", 0),
    ],
    "every_other_layer": [
        (first_half, "every other one", 1), (odd_layers, "take 0, 2, 4", 1), (old_numbers, "number the layers anew", 0),
        (blocks_alone, "belong to the student", 0), (by_the_first_letters, "compare the number", 1),
        (one_digit, "22 layers", 1), (last_half, "right layer", 1), (names_alone, "not a dictionary", 0),
    ],
    "distil": [
        (not_taught, "not learned", 0), (rate_too_low, "not learned", 0), (rate_a_little_low, "not enough", 2),
        (one_pass, "not", 0), (too_many_passes, "at most 8 passes", 0), (too_wide, "too large", 0),
        (uphill, "not learned", 0), (one_logit, "wrong shape", 0), (never_stepped, "not learned", 0),
        (imitates_itself, "not learned", 0), (its_weights, "not a model", 0),
    ],
}
