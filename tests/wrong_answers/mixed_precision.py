"""Plausible wrong answers to lab 11, each with words that its card must show and the points that it still earns."""

import math

import torch
import torch.nn.functional as F


def fields(pattern, k, m):
    return pattern >> (k + m) & 1, pattern >> m & (2**k - 1), (pattern % 2**m) / 2**m


def read(pattern, k, m, *, first=1.0, bias=None, signed=True, small=None, special=True):
    """A reader of bits with one mistake at a time."""
    s, e, share = fields(pattern, k, m)
    bias = 2 ** (k - 1) - 1 if bias is None else bias
    sign = (-1.0) ** s if signed else 1.0
    if e == 2**k - 1 and special:
        return math.nan if share else sign * math.inf
    if e == 0:
        return sign * (2.0 ** (1 - bias) * share if small is None else small(bias, share))
    return sign * 2.0 ** (e - bias) * (first + share)


def without_the_one(pattern, k, m):
    return read(pattern, k, m, first=0.0)


def bias_one_too_large(pattern, k, m):
    return read(pattern, k, m, bias=2 ** (k - 1))


def sign_ignored(pattern, k, m):
    return read(pattern, k, m, signed=False)


def fields_swapped(pattern, k, m):
    return read(pattern, m, k)


def subnormal_with_a_one(pattern, k, m):
    return read(pattern, k, m, small=lambda bias, share: 2.0 ** (1 - bias) * (1 + share))


def subnormal_as_normal(pattern, k, m):
    return read(pattern, k, m, small=lambda bias, share: 2.0**-bias * (1 + share))


def subnormal_one_power_too_low(pattern, k, m):
    return read(pattern, k, m, small=lambda bias, share: 2.0**-bias * share)


def flushed_to_zero(pattern, k, m):
    return read(pattern, k, m, small=lambda bias, share: 0.0)


def no_special_numbers(pattern, k, m):
    return read(pattern, k, m, special=False)


def always_infinite(pattern, k, m):
    found = read(pattern, k, m)
    return math.inf if math.isnan(found) else found


def infinity_without_sign(pattern, k, m):
    found = read(pattern, k, m)
    return abs(found) if math.isinf(found) else found


def lowest(k):
    return 2.0 ** (2 - 2 ** (k - 1))


def right_gap(x, k, m):
    return 2.0 ** (x.abs().clamp(min=lowest(k)).log2().floor() - m)


def gap_after_one(x, k, m):
    return torch.full_like(x, 2.0**-m)


def proportional_gap(x, k, m):
    return x.abs().clamp(min=lowest(k)) * 2.0**-m


def half_the_gap(x, k, m):
    return right_gap(x, k, m) / 2


def power_above(x, k, m):
    return 2.0 ** (x.abs().clamp(min=lowest(k)).log2().ceil() - m)


def gap_of_positive_numbers(x, k, m):
    return 2.0 ** (x.clamp(min=lowest(k)).log2().floor() - m)


def gap_without_magnitude(x, k, m):
    return 2.0 ** (x.log2().floor() - m)


def gap_that_always_shrinks(x, k, m):
    return 2.0 ** (x.abs().log2().floor() - m)


def subnormal_gap_one_power_too_low(x, k, m):
    return 2.0 ** (x.abs().clamp(min=lowest(k) / 2).log2().floor() - m)


def rounded(x, k, m, how=torch.round, spacing=right_gap, infinite=True):
    g = spacing(x, k, m)
    nearest = how(x / g) * g
    largest = (2 - 2.0**-m) * 2.0 ** (2 ** (k - 1) - 1)
    return torch.where(nearest.abs() > largest, math.inf * x.sign(), nearest) if infinite else nearest


def cut_off(x, k, m):
    return rounded(x, k, m, torch.trunc)


def rounded_down(x, k, m):
    return rounded(x, k, m, torch.floor)


def number_of_gaps(x, k, m):
    return (x / right_gap(x, k, m)).round()


def ties_up(x, k, m):
    return rounded(x, k, m, lambda y: (y + 0.5).floor())


def ties_away_from_zero(x, k, m):
    return rounded(x, k, m, lambda y: y.sign() * (y.abs() + 0.5).floor())


def never_subnormal(x, k, m):
    return torch.where(x.abs() < lowest(k), torch.zeros_like(x), rounded(x, k, m))


def gap_shrinks_for_ever(x, k, m):
    return torch.where(x == 0, x, rounded(x, k, m, spacing=gap_that_always_shrinks))


def never_infinite(x, k, m):
    return rounded(x, k, m, infinite=False)


def stays_at_the_largest(x, k, m):
    largest = (2 - 2.0**-m) * 2.0 ** (2 ** (k - 1) - 1)
    return rounded(x, k, m, infinite=False).clamp(-largest, largest)


def always_plus_infinity(x, k, m):
    found = rounded(x, k, m)
    return torch.where(found.isinf(), math.inf, found)


def infinite_before_rounding(x, k, m):
    largest = (2 - 2.0**-m) * 2.0 ** (2 ** (k - 1) - 1)
    return torch.where(x.abs() > largest, math.inf * x.sign(), rounded(x, k, m, infinite=False))


def plain_sum(total, lost, x):
    return total + x, torch.zeros_like(lost)


def memory_never_added(total, lost, x):
    new = total + x
    return new, x - (new - total)


def memory_of_all(total, lost, x):
    return total + (x + lost), x + lost


def memory_with_the_wrong_sign(total, lost, x):
    wanted = x + lost
    new = total + wanted
    return new, (new - total) - wanted


def memory_of_x_alone(total, lost, x):
    new = total + (x + lost)
    return new, x - (new - total)


def memory_only_grows(total, lost, x):
    new = total + x
    return new, lost + (x - (new - total))


def memory_in_fp32(total, lost, x):
    wanted = x.float() + lost.float()
    new = (total.float() + wanted).bfloat16()
    return new, wanted - (new.float() - total.float())


def one_result(total, lost, x):
    return total + x + lost


def count_goes_on(scale, good_steps, overflow, growth_interval):
    if overflow:
        return scale / 2, good_steps
    return (2 * scale, 0) if good_steps + 1 == growth_interval else (scale, good_steps + 1)


def overflow_doubles(scale, good_steps, overflow, growth_interval):
    if overflow:
        return scale * 2, 0
    return (scale / 2, 0) if good_steps + 1 == growth_interval else (scale, good_steps + 1)


def never_back(scale, good_steps, overflow, growth_interval):
    if overflow:
        return scale, 0
    return (2 * scale, 0) if good_steps + 1 == growth_interval else (scale, good_steps + 1)


def one_step_late(scale, good_steps, overflow, growth_interval):
    if overflow:
        return scale / 2, 0
    return (2 * scale, 0) if good_steps == growth_interval else (scale, good_steps + 1)


def doubles_at_once(scale, good_steps, overflow, growth_interval):
    return (scale / 2, 0) if overflow else (scale * 2, 0)


def count_not_set_back(scale, good_steps, overflow, growth_interval):
    if overflow:
        return scale / 2, 0
    return (2 * scale if good_steps + 1 == growth_interval else scale), good_steps + 1


def never_grows(scale, good_steps, overflow, growth_interval):
    return (scale / 2, 0) if overflow else (scale, good_steps + 1)


def clipped(gradients, max_norm):
    norm = math.sqrt(sum(one.float().square().sum().item() for one in gradients.values()))
    factor = min(1.0, max_norm / norm) if norm and math.isfinite(norm) else 1.0
    return {name: one.float() * factor for name, one in gradients.items()}


def are_finite(gradients):
    return all(bool(one.isfinite().all()) for one in gradients.values())


def divided_in_fp16(gradients, scale, max_norm):
    return clipped({name: (one / scale).float() for name, one in gradients.items()}, max_norm), are_finite(gradients)


def left_in_fp16(gradients, scale, max_norm):
    return {name: one / scale for name, one in gradients.items()}, are_finite(gradients)


def never_divided(gradients, scale, max_norm):
    return {name: one.float() for name, one in gradients.items()}, are_finite(gradients)


def clipped_first(gradients, scale, max_norm):
    found = clipped(gradients, max_norm)
    return {name: one / scale for name, one in found.items()}, are_finite(gradients)


def never_clipped(gradients, scale, max_norm):
    return {name: one.float() / scale for name, one in gradients.items()}, are_finite(gradients)


def clipped_one_by_one(gradients, scale, max_norm):
    found = {name: clipped({name: one.float() / scale}, max_norm)[name] for name, one in gradients.items()}
    return found, are_finite(gradients)


def looks_at_one_tensor(gradients, scale, max_norm):
    found = {name: one.float() / scale for name, one in gradients.items()}
    return clipped(found, max_norm), bool(found["matrix"].isfinite().all())


def looks_for_nan_alone(gradients, scale, max_norm):
    found = {name: one.float() / scale for name, one in gradients.items()}
    return clipped(found, max_norm), not any(bool(one.isnan().any()) for one in found.values())


def always_finite(gradients, scale, max_norm):
    return clipped({name: one.float() / scale for name, one in gradients.items()}, max_norm), True


def stepped(weights, x, targets, count, scale, rate, dtype=torch.float16, unscale=True, look=True, sign=1.0):
    masters = {name: w.clone().requires_grad_() for name, w in weights.items()}
    low = {name: w.to(dtype) for name, w in masters.items()}
    inner = F.gelu(F.linear(x.to(dtype), low["inner_weight"], low["inner_bias"]))
    logits = F.linear(inner, low["outer_weight"], low["outer_bias"]).float()
    loss = F.cross_entropy(logits, targets, reduction="sum") / count
    found = torch.autograd.grad(scale * loss, list(masters.values()))
    finite = all(bool(one.isfinite().all()) for one in found)
    if look and not finite:
        return dict(weights), False
    divisor = scale if unscale else 1.0
    pairs = zip(weights.items(), found, strict=True)
    return {name: w - sign * rate * one / divisor for (name, w), one in pairs}, finite


def all_in_fp32(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, scale, rate, dtype=torch.float32)


def in_bf16(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, scale, rate, dtype=torch.bfloat16)


def scale_forgotten(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, 1.0, rate)


def never_unscaled(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, scale, rate, unscale=False)


def uphill(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, scale, rate, sign=-1.0)


def steps_into_infinity(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, count, scale, rate, look=False)


def weights_in_fp16(weights, x, targets, count, scale, rate):
    new, finite = stepped(weights, x, targets, count, scale, rate)
    return {name: w.half() for name, w in new.items()}, finite


def count_as_a_mean(weights, x, targets, count, scale, rate):
    return stepped(weights, x, targets, len(targets), scale / 2**10, rate)


def trained(weights, gradients_of, scale, rates, *, interval=6, fixed=False, skip=True, low=False, factor=1.0):
    masters = {name: torch.nn.Parameter(w.clone()) for name, w in weights.items()}
    optimizer, good = torch.optim.AdamW(masters.values(), betas=(0.9, 0.95)), 0
    for step, rate in enumerate(rates):
        found = gradients_of(masters, scale, step)
        finite = are_finite(found)
        if finite or not skip:
            found = found if low else {name: one.float() / scale for name, one in found.items()}
            found = {name: (one / scale).float() for name, one in found.items()} if low else found
            for name, one in clipped(found, 0.001).items():
                masters[name].grad = one
            optimizer.param_groups[0]["lr"] = factor * rate
            optimizer.step()
        if not fixed:
            scale, good = count_right(scale, good, not finite, interval)
    return {name: master.detach() for name, master in masters.items()}


def count_right(scale, good, overflow, interval):
    if overflow:
        return scale / 2, 0
    return (2 * scale, 0) if good + 1 == interval else (scale, good + 1)


def untrained(weights, gradients_of, scale, rates):
    return dict(weights)


def scale_never_changes(weights, gradients_of, scale, rates):
    return trained(weights, gradients_of, scale, rates, fixed=True)


def growth_of_pytorch(weights, gradients_of, scale, rates):
    return trained(weights, gradients_of, scale, rates, interval=2000)


def nothing_skipped(weights, gradients_of, scale, rates):
    return trained(weights, gradients_of, scale, rates, skip=False)


def rate_too_low(weights, gradients_of, scale, rates):
    return trained(weights, gradients_of, scale, rates, factor=0.14)


def weights_in_16_bits(weights, gradients_of, scale, rates):
    return trained({name: w.half() for name, w in weights.items()}, gradients_of, scale, rates)


def one_name_forgotten(weights, gradients_of, scale, rates):
    return dict(list(weights.items())[:-1])


WRONG = {
    "decode": [
        (without_the_one, "The 1 before the fraction is missing", 0),
        (bias_one_too_large, "The bias is one too large", 0),
        (sign_ignored, "is wrong", 0),
        (fields_swapped, "is wrong", 0),
        (subnormal_with_a_one, "has no 1 before its fraction", 1),
        (subnormal_as_normal, "has no 1 before its fraction", 1),
        (subnormal_one_power_too_low, "power of 2 is that of e = 1: 1 - b, not 0 - b", 1),
        (flushed_to_zero, "only f = 0 is", 1),
        (no_special_numbers, "this is infinity", 2),
        (always_infinite, "this is NaN", 2),
        (infinity_without_sign, "with the number's sign", 2),
    ],
    "gap": [
        (gap_after_one, "This is the gap after 1", 0),
        (proportional_gap, "x itself is not one", 0),
        (half_the_gap, "Half the gap", 0),
        (power_above, "the power of 2 above x", 0),
        (gap_of_positive_numbers, "only |x| counts", 1),
        (gap_without_magnitude, "The gap at negative numbers is wrong", 1),
        (gap_that_always_shrinks, "The gap of tiny numbers is wrong", 2),
        (subnormal_gap_one_power_too_low, "The gap of tiny numbers is wrong", 2),
    ],
    "round_to": [
        (cut_off, "The digits behind were cut off", 0),
        (rounded_down, "not the nearest", 0),
        (number_of_gaps, "These are numbers of gaps", 0),
        (ties_up, "Ties went up", 1),
        (ties_away_from_zero, "Ties went up", 1),
        (never_subnormal, "Tiny numbers are rounded wrong", 2),
        (gap_shrinks_for_ever, "Tiny numbers are rounded wrong", 2),
        (never_infinite, "becomes infinity, with its sign", 3),
        (stays_at_the_largest, "not the largest again", 3),
        (always_plus_infinity, "keeps the sign", 3),
        (infinite_before_rounding, "Compare after rounding", 3),
    ],
    "add_with_memory": [
        (plain_sum, "The memory is empty", 0),
        (memory_of_all, "as if nothing had arrived", 0),
        (memory_with_the_wrong_sign, "the wrong sign", 0),
        (memory_in_fp32, "is not in bf16", 0),
        (one_result, "must return 2 results", 0),
        (memory_never_added, "The total has not moved", 1),
        (memory_of_x_alone, "not what fp64 finds", 1),
        (memory_only_grows, "not what fp64 finds", 1),
    ],
    "next_scale": [
        (count_goes_on, "goes on over an overflow", 0),
        (overflow_doubles, "the scale was too large", 0),
        (never_back, "The scale stays as it was", 0),
        (one_step_late, "one step too late", 1),
        (doubles_at_once, "comes too early", 1),
        (count_not_set_back, "the count goes on", 1),
        (never_grows, "one step too late", 1),
    ],
    "unscale_and_clip": [
        (left_in_fp16, "is not in fp32", 0),
        (divided_in_fp16, "divided in fp16", 0),
        (never_divided, "still scaled", 0),
        (clipped_first, "clipped before they were unscaled", 0),
        (never_clipped, "They are not clipped", 1),
        (clipped_one_by_one, "by a norm of its own", 1),
        (looks_at_one_tensor, "One entry that is infinite or NaN", 2),
        (looks_for_nan_alone, "One entry that is infinite or NaN", 2),
        (always_finite, "this step must be skipped", 2),
    ],
    "mixed_step": [
        (all_in_fp32, "Nothing was computed in fp16", 0),
        (in_bf16, "not those of autocast", 0),
        (scale_forgotten, "The loss was not scaled", 0),
        (never_unscaled, "still scaled", 0),
        (uphill, "uphill", 0),
        (weights_in_fp16, "is not in fp32", 0),
        (count_as_a_mean, "not those of autocast", 0),
        (steps_into_infinity, "yet the weights have changed", 3),
    ],
    "train": [
        (one_name_forgotten, "does not have the weights' names", 0),
        (weights_in_16_bits, "expected the master weights, in fp32", 0),
        (untrained, "hardly learned anything", 0),
        (scale_never_changes, "hardly learned anything", 0),
        (growth_of_pytorch, "hardly learned anything", 0),
        (nothing_skipped, "NaN or infinity", 0),
        (rate_too_low, "not as well as in fp32", 2),
    ],
}
