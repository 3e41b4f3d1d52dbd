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
