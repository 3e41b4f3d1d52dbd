"""Plausible wrong answers to lab 10, each with words that its card must show and the points that it still earns."""

import math

import torch


def uphill(w, m, gradient, learning_rate, beta):
    m = beta * m + gradient
    return w + learning_rate * m, m


def memory_forgotten(w, m, gradient, learning_rate, beta):
    return w - learning_rate * gradient, gradient


def rate_in_the_memory(w, m, gradient, learning_rate, beta):
    m = beta * m + learning_rate * gradient
    return w - m, m


def mean_in_place_of_the_sum(w, m, gradient, learning_rate, beta):
    m = beta * m + (1 - beta) * gradient
    return w - learning_rate * m, m


def old_memory_used(w, m, gradient, learning_rate, beta):
    return w - learning_rate * m, beta * m + gradient


def memory_not_returned(w, m, gradient, learning_rate, beta):
    return w - learning_rate * (beta * m + gradient)


def written_in_place(w, m, gradient, learning_rate, beta):
    m *= beta
    m += gradient
    return w - learning_rate * m, m


def rate_missing(w, m, gradient, learning_rate, beta):
    m = beta * m + gradient
    return w - m, m


def plain_momentum(w, m, gradient, learning_rate, beta):
    return w - learning_rate * (gradient + beta * m), beta * m + gradient


def beta_missing(w, m, gradient, learning_rate, beta):
    m = beta * m + gradient
    return w - learning_rate * (gradient + m), m


def gradient_missing(w, m, gradient, learning_rate, beta):
    m = beta * m + gradient
    return w - learning_rate * beta * m, m


def looked_ahead_in_the_memory(w, m, gradient, learning_rate, beta):
    m = beta * m + gradient
    step = gradient + beta * m
    return w - learning_rate * step, step


def rmsprop(w, s, gradient, learning_rate, epsilon):
    return w - learning_rate * gradient / (s.sqrt() + epsilon), s


def sum_of_all_squares(w, s, gradient, learning_rate, beta, epsilon):
    return rmsprop(w, s + gradient**2, gradient, learning_rate, epsilon)


def never_quite_a_mean(w, s, gradient, learning_rate, beta, epsilon):
    return rmsprop(w, beta * s + gradient**2, gradient, learning_rate, epsilon)


def not_squared(w, s, gradient, learning_rate, beta, epsilon):
    return rmsprop(w, beta * s + (1 - beta) * gradient, gradient, learning_rate, epsilon)


def without_the_root(w, s, gradient, learning_rate, beta, epsilon):
    s = beta * s + (1 - beta) * gradient**2
    return w - learning_rate * gradient / (s + epsilon), s


def epsilon_inside_the_root(w, s, gradient, learning_rate, beta, epsilon):
    s = beta * s + (1 - beta) * gradient**2
    return w - learning_rate * gradient / (s + epsilon).sqrt(), s


def without_epsilon(w, s, gradient, learning_rate, beta, epsilon):
    return rmsprop(w, beta * s + (1 - beta) * gradient**2, gradient, learning_rate, 0)


def one_size_for_all(w, s, gradient, learning_rate, beta, epsilon):
    s = beta * s + (1 - beta) * gradient.norm() ** 2
    return w - learning_rate * gradient / (s.sqrt() + epsilon), s


def memory_alone(w, s, gradient, learning_rate, beta, epsilon):
    return w, beta * s + (1 - beta) * gradient**2


def moments(m, v, gradient, betas):
    return betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient**2


def uncorrected(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    return w - learning_rate * m / (v.sqrt() + epsilon), m, v


def as_printed(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    factor = learning_rate / (math.sqrt(1 - betas[1] ** t) * (1 - betas[0] ** t))
    return w - factor * m / v, m, v


def root_forgotten(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    return w - learning_rate * (m / (1 - betas[0] ** t)) / (v / (1 - betas[1] ** t) + epsilon), m, v


def corrected_values_kept(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    m, v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return w - learning_rate * m / (v.sqrt() + epsilon), m, v


def betas_swapped(w, m, v, t, gradient, learning_rate, betas, epsilon):
    return adam(w, m, v, t, gradient, learning_rate, betas[::-1], epsilon)


def always_the_first_step(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    return w - learning_rate * (m / (1 - betas[0])) / ((v / (1 - betas[1])).sqrt() + epsilon), m, v


def first_mean_alone(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    return w - learning_rate * (m / (1 - betas[0] ** t)) / (v.sqrt() + epsilon), m, v


def counted_from_zero(w, m, v, t, gradient, learning_rate, betas, epsilon):
    return adam(w, m, v, t + 1, gradient, learning_rate, betas, epsilon)


def climbing_adam(w, m, v, t, gradient, learning_rate, betas, epsilon):
    return adam(w, m, v, t, gradient, -learning_rate, betas, epsilon)


def adam(w, m, v, t, gradient, learning_rate, betas, epsilon):
    m, v = moments(m, v, gradient, betas)
    return w - learning_rate * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + epsilon), m, v


def penalty_in_the_gradient(w, m, v, t, gradient, learning_rate, betas, epsilon, decay):
    return adam(w, m, v, t, gradient + decay * w, learning_rate, betas, epsilon)


def decay_without_the_rate(w, m, v, t, gradient, learning_rate, betas, epsilon, decay):
    return adam(w * (1 - decay), m, v, t, gradient, learning_rate, betas, epsilon)


def decay_ignored(w, m, v, t, gradient, learning_rate, betas, epsilon, decay):
    return adam(w, m, v, t, gradient, learning_rate, betas, epsilon)


def growing(w, m, v, t, gradient, learning_rate, betas, epsilon, decay):
    return adam(w * (1 + learning_rate * decay), m, v, t, gradient, learning_rate, betas, epsilon)


def shrunk_afterwards(w, m, v, t, gradient, learning_rate, betas, epsilon, decay):
    w, m, v = adam(w, m, v, t, gradient, learning_rate, betas, epsilon)
    return w * (1 - learning_rate * decay), m, v


def from_zero(step, n_steps, warmup_steps, peak):
    return peak * step / warmup_steps if step < warmup_steps else cosine(step, n_steps, warmup_steps, peak)


def without_warm_up(step, n_steps, warmup_steps, peak):
    return peak * (1 + math.cos(math.pi * step / n_steps)) / 2


def share_of_the_peak(step, n_steps, warmup_steps, peak):
    return (step + 1) / warmup_steps if step < warmup_steps else cosine(step, n_steps, warmup_steps, peak)


def cosine(step, n_steps, warmup_steps, peak):
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / (n_steps - warmup_steps))) / 2


def warm(step, warmup_steps, peak):
    return peak * (step + 1) / warmup_steps


def angle_from_the_start(step, n_steps, warmup_steps, peak):
    if step < warmup_steps:
        return warm(step, warmup_steps, peak)
    return peak * (1 + math.cos(math.pi * step / n_steps)) / 2


def straight_line(step, n_steps, warmup_steps, peak):
    return min(peak * (step + 1) / max(1, warmup_steps), peak * (n_steps - step) / (n_steps - warmup_steps))


def below_zero(step, n_steps, warmup_steps, peak):
    if step < warmup_steps:
        return warm(step, warmup_steps, peak)
    return peak * math.cos(math.pi * (step - warmup_steps) / (n_steps - warmup_steps))


def over_the_whole_run(step, n_steps, warmup_steps, peak):
    if step < warmup_steps:
        return warm(step, warmup_steps, peak)
    return peak * (1 + math.cos(math.pi * (step - warmup_steps) / n_steps)) / 2


def divided_by_no_warm_up(step, n_steps, warmup_steps, peak):
    return min(peak * (step + 1) / warmup_steps, cosine(max(step, warmup_steps), n_steps, warmup_steps, peak))


def all_rates(step, n_steps, warmup_steps, peak):
    return [peak] * n_steps


def each_by_its_own_norm(gradients, max_norm):
    return {name: one * min(1.0, max_norm / one.norm().item()) for name, one in gradients.items()}


def equal_shares(gradients, max_norm):
    share = max_norm / math.sqrt(len(gradients))
    return {name: one * (share / one.norm()) for name, one in gradients.items()}


def cut_at_the_value(gradients, max_norm):
    return {name: one.clamp(-max_norm, max_norm) for name, one in gradients.items()}


def always_scaled(gradients, max_norm):
    norm = torch.cat([one.flatten() for one in gradients.values()]).norm()
    return {name: one * max_norm / norm for name, one in gradients.items()}


def zero_over_zero(gradients, max_norm):
    norm = torch.cat([one.flatten() for one in gradients.values()]).norm()
    return {name: one * (max_norm / norm).clamp(max=1) if norm else one / norm for name, one in gradients.items()}


def sum_of_norms(gradients, max_norm):
    norm = sum(one.norm().item() for one in gradients.values())
    return {name: one * min(1.0, max_norm / norm) for name, one in gradients.items()}


def tensors_alone(gradients, max_norm):
    return list(gradients.values())


def not_trained(weights, gradients_of, n_steps):
    return weights


def trained(weights, gradients_of, n_steps, peak=0.03, clip=1.0, steps=1.0, memory=True):
    weights, m, v = dict(weights), {}, {}
    for step in range(int(steps * n_steps)):
        gradients = gradients_of(weights, step)
        norm = math.sqrt(sum(one.square().sum().item() for one in gradients.values()))
        for name, gradient in gradients.items():
            before = (m[name], v[name]) if memory and name in m else 2 * (torch.zeros_like(gradient),)
            gradient = gradient * min(1.0, clip / max(norm, 1e-9))
            weights[name], m[name], v[name] = adam(
                weights[name], *before, step + 1, gradient, peak * (1 - step / n_steps), (0.9, 0.999), 1e-8)
    return weights


def not_clipped(weights, gradients_of, n_steps):
    return trained(weights, gradients_of, n_steps, clip=math.inf)


def stopped_early(weights, gradients_of, n_steps):
    return trained(weights, gradients_of, n_steps, steps=0.1)


def rate_too_small(weights, gradients_of, n_steps):
    return trained(weights, gradients_of, n_steps, peak=1e-4)


def plain_descent(weights, gradients_of, n_steps):
    for step in range(n_steps):
        gradients = gradients_of(weights, step)
        norm = math.sqrt(sum(one.square().sum().item() for one in gradients.values()))
        weights = {name: w - min(1.0, 1 / norm) * gradients[name] for name, w in weights.items()}
    return weights


def one_batch_too_many(weights, gradients_of, n_steps):
    for step in range(n_steps + 1):
        gradients_of(weights, step)
    return weights


def descent_without_clipping(weights, gradients_of, n_steps):
    for step in range(n_steps):
        gradients = gradients_of(weights, step)
        weights = {name: w - gradients[name] for name, w in weights.items()}
    return weights


def one_tensor_alone(weights, gradients_of, n_steps):
    return {"words": weights["words"]}


WRONG = {
    "momentum_step": [
        (uphill, "uphill", 0), (memory_forgotten, "memory is not used", 1),
        (rate_in_the_memory, "belongs to the step alone", 0), (mean_in_place_of_the_sum, "are not PyTorch's", 1),
        (old_memory_used, "After step 1", 0), (memory_not_returned, "return w, m", 0),
        (written_in_place, "changed its input `m`", 0), (rate_missing, "learning rate is missing", 0),
    ],
    "nesterov_step": [
        (plain_momentum, "plain momentum", 0), (beta_missing, "Beta is missing", 0),
        (gradient_missing, "gradient itself is missing", 0),
        (looked_ahead_in_the_memory, "not PyTorch's", 0),
    ],
    "rmsprop_step": [
        (sum_of_all_squares, "AdaGrad", 0), (never_quite_a_mean, "not a mean", 0), (not_squared, "not squared", 0),
        (without_the_root, "Take its root", 1), (epsilon_inside_the_root, "outside the root", 2),
        (without_epsilon, "0/0", 1), (one_size_for_all, "not PyTorch's", 0), (memory_alone, "do not move", 1),
    ],
    "adam_step": [
        (uncorrected, "Nothing corrects", 1), (as_printed, "0/0", 1), (root_forgotten, "root is missing", 1),
        (corrected_values_kept, "corrected value was returned", 0), (betas_swapped, "changed places", 0),
        (always_the_first_step, "fits the first step only", 2), (first_mean_alone, "Only the first mean", 1),
        (counted_from_zero, "not as long as the learning rate", 1), (climbing_adam, "uphill", 1),
    ],
    "adamw_step": [
        (penalty_in_the_gradient, "L2 penalty", 1), (decay_without_the_rate, "learning rate is missing", 1),
        (decay_ignored, "no effect", 1), (growing, "wrong sign", 1), (shrunk_afterwards, "Shrink the OLD", 2),
    ],
    "rate_at": [
        (from_zero, "count from 1", 0), (without_warm_up, "the whole peak", 0), (share_of_the_peak, "share", 0),
        (angle_from_the_start, "counts from step 0", 1), (straight_line, "straight line", 1),
        (below_zero, "Add 1, and halve", 1), (over_the_whole_run, "steps that are left", 1),
        (divided_by_no_warm_up, "raised ZeroDivisionError", 2), (all_rates, "not a number", 0),
    ],
    "clip_by_norm": [
        (each_by_its_own_norm, "One norm over the entries", 0), (equal_shares, "a norm of its own", 1),
        (cut_at_the_value, "One norm over the entries", 0), (always_scaled, "longer or shorter", 2),
        (zero_over_zero, "become NaN", 2), (sum_of_norms, "One norm over", 0), (tensors_alone, "dictionary", 0),
    ],
    "train": [
        (not_trained, "has not learned", 0), (not_clipped, "unless it is clipped", 2),
        (stopped_early, "not enough", 2), (rate_too_small, "not learned", 0), (plain_descent, "not learned", 0),
        (one_batch_too_many, "expected each step", 0), (descent_without_clipping, "has not learned", 0),
        (one_tensor_alone, "does not have the weights' names", 0),
    ],
}
