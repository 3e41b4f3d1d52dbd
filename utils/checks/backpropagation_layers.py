"""Properties for lab 03: slopes of activations, a linear layer, softmax with cross-entropy."""

import torch
import torch.nn.functional as F

from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

EXACT = 1e-12  # for fp64

# Exercise 1: slopes

NAMES = ("sigmoid", "tanh", "relu", "gelu")
FUNCTIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "gelu": F.gelu}


def slope_by_autograd(function, z):
    """The derivative of an element-wise function at each entry of z."""
    point = z.clone().requires_grad_()
    return torch.autograd.grad(function(point).sum(), point)[0]


def _inputs(draw):
    """Numbers of ordinary size, with a 0 and two far out."""
    z = 2 * draw.normal(*draw.sizes(2, of=(5, 7, 11)), dtype=torch.float64)
    z[0, :3] = torch.tensor([0.0, -40.0, 40.0], dtype=torch.float64)
    return z


def _slopes(answer, z):
    got = are_results(answer(z), 4, ", ".join(NAMES))
    return {name: is_tensor(one, z.shape, name=f"the slope of {name}", hint="One slope for each entry of z.")
            for name, one in zip(NAMES, got, strict=True)}


def slopes_shape(answer, draw):
    """Four tensors of the input's shape."""
    _slopes(answer, _inputs(draw))


def _slope(answer, draw, name, hint, slips):
    z = _inputs(draw)
    got = is_finite(_slopes(answer, z)[name], problem=f"The slope of {name} is not finite far out.",
                    hint="Write it with the function's own value, which stays between its bounds.")
    worst = is_equal(got, slope_by_autograd(FUNCTIONS[name], z), tolerance=EXACT,
                     problem=f"This is not the slope of {name}.", hint=hint, slips=slips(z))
    return f"{name}: largest difference to autograd {worst:.1e}."


def slope_sigmoid(answer, draw):
    """Equal to autograd's in fp64."""
    return _slope(answer, draw, "sigmoid", "Write it with the value s of the sigmoid: a product of s and something.",
                  lambda z: {
                      "That is the sigmoid itself. Its slope is asked for.": torch.sigmoid(z),
                      "Into s (1 - s) goes the value of the sigmoid, not z.": z * (1 - z),
                      "The slope has its peak at z = 0, and is 1/4 there: a factor is missing.": 1 - torch.sigmoid(z)})


def slope_tanh(answer, draw):
    """Equal to autograd's in fp64."""
    return _slope(answer, draw, "tanh", "Write it with the value t of tanh; at z = 0, where t = 0, the slope is 1.",
                  lambda z: {
                      "That is tanh itself. Its slope is asked for.": torch.tanh(z),
                      "Into 1 - t² goes the value of tanh, not z.": 1 - z**2,
                      "t is squared: 1 - t².": 1 - torch.tanh(z),
                      "t (1 - t) is the sigmoid's rule; tanh has its own.": torch.tanh(z) * (1 - torch.tanh(z))})


def slope_relu(answer, draw):
    """Equal to autograd's in fp64, 0 at 0."""
    return _slope(answer, draw, "relu", "ReLU is 0 left of 0 and z right of it. How steep are these two lines?",
                  lambda z: {
                      "That is ReLU itself. Its slope is asked for.": z.clamp(min=0),
                      "At z = 0 itself the libraries take the slope 0.": (z >= 0).double(),
                      "Left of 0 the slope is 0, not -1.": torch.sign(z)})


def slope_gelu(answer, draw):
    """Equal to autograd's in fp64."""
    def slips(z):
        share = torch.special.ndtr(z)
        density = torch.exp(-(z**2) / 2) / torch.pi**0.5 / 2**0.5
        return {
            "A product has two terms in its slope: the second one, z times the bell curve, is missing.": share,
            "The second term is the bell curve times z.": share + density,
            "The bell curve is divided by the root of 2 pi.": share + z * torch.exp(-(z**2) / 2),
            "That is GELU itself. Its slope is asked for.": F.gelu(z),
            "That is the slope of the other form, the one with tanh. Here Φ is asked for: torch.special.ndtr.":
                slope_by_autograd(lambda one: F.gelu(one, approximate="tanh"), z)}
    return _slope(answer, draw, "gelu", "Product rule on z Φ(z); the slope of Φ is the bell curve.", slips)


# Exercise 2: a linear layer


def _linear(answer, draw):
    """What the answer gives by name, what autograd gives, and the inputs."""
    batch_size, d_in, d_out = draw.sizes(3)
    x, W = (draw.normal(*shape, dtype=torch.float64) for shape in ((batch_size, d_in), (d_out, d_in)))
    b, grad_z = draw.normal(d_out, dtype=torch.float64), draw.normal(batch_size, d_out, dtype=torch.float64)
    got = are_results(answer(grad_z, x, W), 3, "grad_x, grad_W, grad_b")
    leaves = [one.clone().requires_grad_() for one in (x, W, b)]
    expected = torch.autograd.grad(F.linear(*leaves), leaves, grad_z)
    kinds = (("grad_x", "(B, D)", "x"), ("grad_W", "(F, D)", "W"), ("grad_b", "(F,)", "b"))
    checked = {}
    for one, wanted, (name, letters, of) in zip(got, expected, kinds, strict=True):
        turned = {tuple(wanted.shape[::-1]): "It is transposed: swap the two factors' roles."} if of == "W" else {}
        alone = {(batch_size, d_out): "All examples move the same biases: add their gradients up."} if of == "b" else {}
        checked[name] = is_tensor(one, wanted.shape, name=name, letters=letters, slips={**turned, **alone},
                                  hint=f"A gradient has the shape of what it belongs to: {of}.")
    return checked, dict(zip(checked, expected, strict=True)), grad_z, x, W


def linear_shapes(answer, draw):
    """Three gradients of the right shapes."""
    _linear(answer, draw)


def linear_weights(answer, draw):
    """Equal to autograd's in fp64."""
    got, expected, grad_z, x, _ = _linear(answer, draw)
    is_equal(got["grad_W"], expected["grad_W"], tolerance=EXACT, problem="The gradient by the weights is wrong.",
             hint="dL/dw_ij is the sum over the examples of (dL/dz_i) x_j.",
             slips={"The gradients of the examples are added up, not averaged: the mean is the loss's business.":
                        expected["grad_W"] / len(x),
                    "The gradient that arrives from above is missing.": torch.ones_like(grad_z).T @ x})


def linear_biases(answer, draw):
    """Equal to autograd's in fp64."""
    got, expected, grad_z, x, _ = _linear(answer, draw)
    is_equal(got["grad_b"], expected["grad_b"], tolerance=EXACT, problem="The gradient by the biases is wrong.",
             hint="dz_i/db_i is 1, for every example.",
             slips={"The gradients of the examples are added up, not averaged.": expected["grad_b"] / len(x),
                    "The gradient that arrives from above is missing.": torch.full_like(expected["grad_b"], len(x))})


def linear_inputs(answer, draw):
    """Equal to autograd's in fp64."""
    got, expected, grad_z, _, W = _linear(answer, draw)
    worst = is_equal(got["grad_x"], expected["grad_x"], tolerance=EXACT, problem="The gradient by the inputs is wrong.",
                     hint="x_j acts through every z_i of its example: sum (dL/dz_i) w_ij over i.",
                     slips={"The gradient that arrives from above is missing.": W.sum(0).expand_as(expected["grad_x"])})
    return f"Largest difference to autograd: {worst:.1e}."


# Exercise 3: softmax and cross-entropy


def _entropy(answer, draw, scale=1.0):
    batch_size, n_classes = draw.sizes(2, of=(3, 5, 7, 11))
    logits = scale * draw.normal(batch_size, n_classes, dtype=torch.float64)
    targets = torch.randint(n_classes, (batch_size,), generator=draw.generator)
    got = is_tensor(answer(logits, targets), logits.shape, name="the gradient", letters="(B, K)",
                    hint="There is one gradient a logit.")
    point = logits.clone().requires_grad_()
    return got, torch.autograd.grad(F.cross_entropy(point, targets), point)[0], logits, targets


def entropy_rows(answer, draw):
    """Rows that sum to 0: adding a number to all logits changes nothing."""
    got, expected, *_ = _entropy(answer, draw)
    is_equal(got.sum(-1), torch.zeros(len(got), dtype=torch.float64), tolerance=EXACT,
             problem="The entries of a row do not sum to 0.",
             hint="Probabilities sum to 1, and so does the truth: one class has 1, all others 0.")


def entropy_autograd(answer, draw):
    """Equal to autograd's gradient of the mean loss."""
    got, expected, logits, targets = _entropy(answer, draw)
    truth = F.one_hot(targets, logits.shape[1]).double()
    worst = is_equal(got, expected, tolerance=EXACT, problem="This is not autograd's gradient.",
                     hint="What the model believes minus what is true, over the batch size.",
                     slips={"That is the gradient of the summed loss; the loss is the mean over the batch.":
                                expected * len(got),
                            "The sign is wrong: raising the right logit lowers the loss.": -expected,
                            "Both at once: the sign, and the mean over the batch.": -expected * len(got),
                            "Divide by the batch size, not by the number of classes.":
                                expected * len(got) / logits.shape[1],
                            "The softmax runs over the classes, the last axis.":
                                (logits.softmax(0) - truth) / len(got)})
    return f"Largest difference to autograd: {worst:.1e}."


def entropy_overflow(answer, draw):
    """Finite and right for logits in the hundreds."""
    got, expected, *_ = _entropy(answer, draw, scale=600.0)
    is_finite(got, problem="Large logits overflow.",
              hint="exp(710) is infinite. Take each row's largest logit off first, or use a softmax that does.")
    is_equal(got, expected, tolerance=EXACT, problem="For large logits the gradient is wrong.",
             hint="Take each row's own largest logit off before the exponential.")
