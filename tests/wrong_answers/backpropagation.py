"""Plausible wrong answers to lab 03, each with words that its card must show and the points that it still earns."""

import itertools

import torch
import torch.nn.functional as F


def bell(z):
    return torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5


def slopes(z, **changed):
    """The four right slopes, but for those given."""
    s, t = torch.sigmoid(z), torch.tanh(z)
    right = dict(sigmoid=s * (1 - s), tanh=1 - t**2, relu=(z > 0).double(), gelu=torch.special.ndtr(z) + z * bell(z))
    return tuple((right | changed).values())


def sigmoid_of_z_itself(z):
    return slopes(z, sigmoid=z * (1 - z))


def sigmoid_not_differentiated(z):
    return slopes(z, sigmoid=torch.sigmoid(z))


def sigmoid_that_overflows(z):
    return slopes(z, sigmoid=torch.exp(20 * z) * torch.exp(-20 * z) * torch.sigmoid(z) * (1 - torch.sigmoid(z)))


def tanh_not_squared(z):
    return slopes(z, tanh=1 - torch.tanh(z))


def relu_not_differentiated(z):
    return slopes(z, relu=z.clamp(min=0))


def relu_one_at_zero(z):
    return slopes(z, relu=(z >= 0).double())


def gelu_without_second_term(z):
    return slopes(z, gelu=torch.special.ndtr(z))


def gelu_without_z(z):
    return slopes(z, gelu=torch.special.ndtr(z) + bell(z))


def slopes_stacked(z):
    return torch.stack(slopes(z))


def linear_averaged(grad_z, x, W):
    return grad_z @ W, grad_z.T @ x / len(x), grad_z.mean(0)


def linear_transposed(grad_z, x, W):
    return grad_z @ W, x.T @ grad_z, grad_z.sum(0)


def linear_biases_not_added(grad_z, x, W):
    return grad_z @ W, grad_z.T @ x, grad_z


def linear_biases_averaged(grad_z, x, W):
    return grad_z @ W, grad_z.T @ x, grad_z.mean(0)


def linear_inputs_without_gradient(grad_z, x, W):
    return W.sum(0).expand_as(x), grad_z.T @ x, grad_z.sum(0)


def linear_elementwise(grad_z, x, W):
    return grad_z @ W, grad_z * x.T, grad_z.sum(0)  # as a source document prints it


def probabilities(logits):
    return logits.softmax(-1)


def truth(logits, targets):
    return F.one_hot(targets, logits.shape[1]).to(logits.dtype)


def entropy_summed(logits, targets):
    return probabilities(logits) - truth(logits, targets)


def entropy_turned_round(logits, targets):
    return (truth(logits, targets) - probabilities(logits)) / len(logits)


def entropy_without_truth(logits, targets):
    return probabilities(logits) / len(logits)


def entropy_over_classes(logits, targets):
    return (probabilities(logits) - truth(logits, targets)) / logits.shape[1]


def entropy_that_overflows(logits, targets):
    powers = torch.exp(logits)
    return (powers / powers.sum(-1, keepdim=True) - truth(logits, targets)) / len(logits)


def network(x, targets, weights, phi=torch.relu, slope=lambda z: (z > 0).double(), mean=True, again=False, scale=1.0):
    """The loss and gradients, right with the defaults."""
    z1 = x @ weights["W1"].T + weights["b1"]
    a1 = phi(z1)
    z2 = a1 @ weights["W2"].T + weights["b2"]
    delta = (probabilities(z2) - truth(z2, targets)) / (len(x) if mean else 1)
    below = delta @ weights["W2"] * slope(z1) * scale / (len(x) if again else 1)
    loss = F.cross_entropy(z2, targets)
    return loss, {"W1": below.T @ x, "b1": below.sum(0), "W2": delta.T @ a1, "b2": delta.sum(0)}


def network_without_slope(x, targets, weights):
    return network(x, targets, weights, slope=torch.ones_like)


def network_without_relu(x, targets, weights):
    return network(x, targets, weights, phi=lambda z: z, slope=torch.ones_like)


def network_of_the_sum(x, targets, weights):
    return network(x, targets, weights, mean=False)


def network_divided_twice(x, targets, weights):
    return network(x, targets, weights, again=True)


def network_turned_round(x, targets, weights):
    return network(x, targets, weights, scale=-1.0)


def network_loss_summed(x, targets, weights):
    loss, gradients = network(x, targets, weights)
    return loss * len(x), gradients


def network_as_a_list(x, targets, weights):
    loss, gradients = network(x, targets, weights)
    return loss, list(gradients.values())


def network_hidden_gets_the_inputs_slope(x, targets, weights):
    loss, gradients = network(x, targets, weights)
    return loss, gradients | {"b1": gradients["b1"].sum()}


def numeric(f, x, h=1e-5, back=1.0, over=2.0):
    """Differences of f over h to the right and `back` times h to the left, divided by `over` times h."""
    slopes = torch.zeros_like(x)
    for i in range(x.numel()):
        step = torch.zeros_like(x)
        step.view(-1)[i] = h
        slopes.view(-1)[i] = (f(x + step) - f(x - back * step)) / (over * h)
    return slopes


def numeric_one_sided(f, x):
    return numeric(f, x, back=0.0, over=1.0)


def numeric_over_h(f, x):
    return numeric(f, x, over=1.0)


def numeric_one_sided_over_two_h(f, x):
    return numeric(f, x, back=0.0)


def numeric_tiny_step(f, x):
    return numeric(f, x, h=1e-13)


def numeric_coarse(f, x):
    return numeric(f, x, h=1e-2)


def numeric_writes_into_x(f, x):
    before = f(x).clone()
    x.view(-1)[0] += 1e-5
    return torch.full_like(x, float((f(x) - before) / 1e-5))


def numeric_one_slope_for_all(f, x):
    return (f(x + 1e-5) - f(x - 1e-5)) / 2e-5


def weights_of(widths, generator, draw):
    """Weights of each layer from draw(out, in), biases 0."""
    weights = {}
    for number, (d_in, d_out) in enumerate(itertools.pairwise(widths), start=1):
        weights |= {f"W{number}": draw(d_out, d_in), f"b{number}": torch.zeros(d_out)}
    return weights


def he_for_tanh(widths, generator):
    return weights_of(widths, generator, lambda m, n: torch.randn(m, n, generator=generator) / n**0.5)


def he_variance_as_deviation(widths, generator):
    return weights_of(widths, generator, lambda m, n: torch.randn(m, n, generator=generator) * 2 / n)


def he_by_outputs(widths, generator):
    return weights_of(widths, generator, lambda m, n: torch.randn(m, n, generator=generator) * (2 / m) ** 0.5)


def he_uniform_too_narrow(widths, generator):
    return weights_of(
        widths, generator, lambda m, n: (2 * torch.rand(m, n, generator=generator) - 1) * (2 / n) ** 0.5)


def he_with_own_seed(widths, generator):
    own = torch.Generator().manual_seed(0)
    return weights_of(widths, generator, lambda m, n: torch.randn(m, n, generator=own) * (2 / n) ** 0.5)


def he_without_generator(widths, generator):
    return weights_of(widths, generator, lambda m, n: torch.randn(m, n) * (2 / n) ** 0.5)


def he_transposed(widths, generator):
    return weights_of(widths, generator, lambda m, n: torch.randn(n, m, generator=generator) * (2 / n) ** 0.5)


def he_random_biases(widths, generator):
    return {name: one if name.startswith("W") else torch.randn(one.shape, generator=generator)
            for name, one in he_for_tanh(widths, generator).items()}


def trained(x, targets, weights, rate=0.05, rounds=4, mean=True, only=("W1", "b1", "W2", "b2")):
    for _ in range(rounds):
        for rows in torch.arange(len(x)).split(50):
            _, gradients = network(x[rows], targets[rows], weights, slope=lambda z: (z > 0).float(), mean=mean)
            weights = {name: one - rate * gradients[name] * (name in only) for name, one in weights.items()}
    return weights


def train_uphill(x, targets, weights):
    return trained(x, targets, weights, rate=-0.05, rounds=1)


def train_summed(x, targets, weights):
    return trained(x, targets, weights, mean=False, rate=1.0)


def train_not_at_all(x, targets, weights):
    trained(x, targets, weights, rounds=1)
    return weights


def train_output_layer_alone(x, targets, weights):
    return trained(x, targets, weights, only=("W2", "b2"))


def train_one_step(x, targets, weights):
    _, gradients = network(x, targets, weights, slope=lambda z: (z > 0).float())
    return {name: one - 0.05 * gradients[name] for name, one in weights.items()}


def train_by_heart(x, targets, weights):
    """Least squares on hardly more reviews than words: right on these, and little better than a coin elsewhere."""
    few, side = x[:1050].double(), 2.0 * targets[:1050].double() - 1
    direction = torch.linalg.lstsq(few, side[:, None]).solution[:, 0].float()
    W1 = torch.stack([direction, -direction, *[1e-6 * torch.ones_like(direction)] * 14])
    W2 = 1e-6 * torch.ones(2, 16)
    W2[0, 1] = W2[1, 0] = 1.0
    return {"W1": W1, "b1": torch.full((16,), 1e-6), "W2": W2, "b2": torch.tensor([1e-6, 0.0])}


WRONG = {
    "activation_slopes": [
        (sigmoid_of_z_itself, "the value of the sigmoid, not z", 0), (sigmoid_not_differentiated, "sigmoid itself", 0),
        (sigmoid_that_overflows, "not finite far out", 0), (tanh_not_squared, "t is squared", 1),
        (relu_not_differentiated, "ReLU itself", 2), (relu_one_at_zero, "At z = 0 itself", 2),
        (gelu_without_second_term, "second one", 3), (gelu_without_z, "the bell curve times z", 3),
        (slopes_stacked, "must return 4 results", 0),
    ],
    "linear_backward": [
        (linear_averaged, "not averaged", 0), (linear_transposed, "transposed", 0),
        (linear_biases_not_added, "add their gradients up", 0), (linear_biases_averaged, "not averaged", 1),
        (linear_inputs_without_gradient, "from above is missing", 2), (linear_elementwise, "raised RuntimeError", 0),
    ],
    "cross_entropy_backward": [
        (entropy_summed, "summed loss", 0), (entropy_turned_round, "sign is wrong", 0),
        (entropy_without_truth, "do not sum to 0", 0), (entropy_over_classes, "not by the number of classes", 0),
        (entropy_that_overflows, "overflow", 2),
    ],
    "network_gradients": [
        (network_without_slope, "slope of ReLU is missing", 2), (network_without_relu, "ReLU after the hidden", 0),
        (network_of_the_sum, "divide by the batch size once", 1), (network_divided_twice, "batch size twice", 2),
        (network_turned_round, "sign is turned", 2), (network_loss_summed, "sum over the batch", 0),
        (network_as_a_list, "must be a dictionary", 0), (network_hidden_gets_the_inputs_slope, "wrong shape", 0),
    ],
    "numeric_gradient": [
        (numeric_one_sided, "Step to both sides", 1), (numeric_over_h, "way of 2 h", 0),
        (numeric_one_sided_over_two_h, "way of h", 0), (numeric_tiny_step, "drowns in rounding", 0),
        (numeric_coarse, "Step to both sides", 1), (numeric_writes_into_x, "changed its input `x`", 0),
        (numeric_one_slope_for_all, "wrong shape", 0),
    ],
    "he_weights": [
        (he_for_tanh, "suits tanh", 0), (he_variance_as_deviation, "deviation is its root", 0),
        (he_by_outputs, "what goes into a neuron", 0), (he_uniform_too_narrow, "a² / 3", 0),
        (he_with_own_seed, "Another seed", 2), (he_without_generator, "The same seed", 2),
        (he_transposed, "wrong shape", 0), (he_random_biases, "is not 0", 0),
    ],
    "train": [
        (train_uphill, "against the gradient", 0), (train_summed, "too large", 0),
        (train_not_at_all, "did not move", 0), (train_output_layer_alone, "did not move", 0),
        (train_one_step, "take more steps", 0), (train_by_heart, "held-out reviews are right", 2),
    ],
}
