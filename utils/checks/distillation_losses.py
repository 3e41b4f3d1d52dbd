"""Properties for lab 15: the losses of distillation, beside PyTorch's and autograd, and agreement with an interval."""

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.calls import NotYet
from utils.checks.plain_values import is_close, is_number
from utils.checks.properties import are_results, is_equal, is_finite, is_tensor

ONE_NUMBER = "One number for the whole batch: the mean over its rows."


def _logits(draw, rows: int = 0) -> tuple[Tensor, Tensor]:
    """Logits of a student and of a teacher (B, C), in fp64."""
    shape = rows or draw.number(5, 7), draw.number(3, 5)  # no number of rows is a T²
    return tuple(2 * draw.normal(*shape, dtype=torch.float64) for _ in range(2))


def _temperature(draw) -> float:
    return (1.5, 2.0, 3.0, 4.0)[draw.number(0, 3)]


def _kl(student: Tensor, teacher: Tensor, temperature: float, reduction: str = "batchmean") -> Tensor:
    """PyTorch's KL divergence of the student's softened probabilities from the teacher's, without a factor."""
    logs = [(one / temperature).log_softmax(1) for one in (student, teacher)]
    return F.kl_div(*logs, reduction=reduction, log_target=True)


def _loss(got, hint: str = ONE_NUMBER) -> Tensor:
    return is_tensor(got, (), name="the loss", hint=hint)


# Exercise 1: the loss and its gradient


def loss_shape(answer, draw):
    """One number."""
    _loss(answer(*_logits(draw), 2.0))


def loss_plain(answer, draw):
    """At temperature 1, the mean KL divergence."""
    student, teacher = _logits(draw)
    p, q = teacher.softmax(1), student.softmax(1)
    right = _kl(student, teacher, 1.0)
    is_equal(_loss(answer(student, teacher, 1.0)), right, tolerance=1e-9,
             problem="At temperature 1, this is not PyTorch's KL divergence.",
             hint="For each row, the sum over the classes of p times the difference of log p and log q.",
             slips={"The divergence points the other way: weigh with the teacher's p.": _kl(teacher, student, 1.0),
                    "The rows were added up: take their mean.": right * len(student),
                    "The mean runs over the classes, too: add them up, and take the mean of the rows.":
                        right / student.shape[1],
                    "This is the cross-entropy. The teacher's own entropy has not been taken off.":
                        -(p * q.log()).sum(1).mean(),
                    "The sign is wrong: a divergence is never below 0.": -right,
                    "These are squared differences of the logits.": (student - teacher).square().mean(),
                    "Only the teacher's likeliest class counts here. Its other probabilities are what it has to tell.":
                        F.cross_entropy(student, teacher.argmax(1))})


def loss_soft(answer, draw):
    """At other temperatures: softened, and times the temperature squared."""
    student, teacher = _logits(draw)
    T = _temperature(draw)
    one = teacher / T, student / T
    worst = is_equal(
        _loss(answer(student, teacher, T)), T**2 * _kl(student, teacher, T), tolerance=1e-9,
        problem=f"At temperature {T:g}, this is not T² times the divergence of the softened probabilities.",
        hint="Divide both models' logits by T, before the softmax. Then multiply the divergence by T².",
        slips={"The factor T² is missing.": _kl(student, teacher, T),
               "The factor is T², not T.": T * _kl(student, teacher, T),
               "The temperature has no effect on the probabilities.": T**2 * _kl(student, teacher, 1.0),
               "The temperature has no effect.": _kl(student, teacher, 1.0),
               "Only the teacher's logits were divided by T: the student's are, too.":
                   T**2 * _kl(student, one[0], 1.0),
               "Only the student's logits were divided by T: the teacher's are, too.":
                   T**2 * _kl(one[1], teacher, 1.0),
               "The logits were multiplied by the temperature.": T**2 * _kl(student, teacher, 1 / T)})
    return f"Difference to PyTorch's: {worst:.1e}."


def loss_large(answer, draw):
    """Logits in the thousands give a finite loss."""
    student, teacher = (500 * one.round() for one in _logits(draw))
    got = is_finite(_loss(answer(student, teacher, 1.0)),
                    problem="With logits in the thousands, the loss is not finite.",
                    hint="A probability becomes 0, and its logarithm infinite. `log_softmax` never takes the "
                         "logarithm of 0.")
    is_equal(got, _kl(student, teacher, 1.0), tolerance=1e-6,
             problem="With logits in the thousands, the loss is wrong.",
             hint="A small number added to the probabilities cuts large losses off. Use `log_softmax`.")


def gradient_shape(answer, draw):
    """A number for each logit of the student."""
    student, teacher = _logits(draw)
    is_tensor(answer(student, teacher, 2.0), student.shape, letters="(B, C)", name="the gradient",
              hint="One number for each of the student's logits.")


def _autograd(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    leaf = student.clone().requires_grad_()
    return torch.autograd.grad(T**2 * _kl(leaf, teacher, T), leaf)[0]


def gradient_autograd(answer, draw):
    """The gradient by autograd, at several temperatures."""
    student, teacher = _logits(draw)
    T = _temperature(draw)
    got = is_tensor(answer(student, teacher, T), student.shape, letters="(B, C)", name="the gradient")
    right = _autograd(student, teacher, T)
    hard = student.softmax(1) - F.one_hot(teacher.argmax(1), student.shape[1])
    worst = is_equal(
        got, right, tolerance=1e-12, problem=f"At T = {T:g}, this is not the gradient that autograd finds.",
        hint="T² times the gradient of a softened divergence: (q - p) / T for each row, and a mean over the rows.",
        slips={"The sign is wrong: it is the student's q minus the teacher's p.": -right,
               "The mean over the rows is missing: each row has a share of 1 / B.": right * len(student),
               "The factor T is missing: T² from the loss, 1 / T from the softened logits.": right / T,
               "The factor is T² over T, which is T.": right * T,
               "One factor of 1 / T is too many.": right / T**2,
               "p and q were not softened.": T * (student.softmax(1) - teacher.softmax(1)) / len(student),
               "This is the gradient of the cross-entropy with the teacher's decisions as labels.":
                   hard / len(student)})
    return f"Largest difference to autograd: {worst:.1e}."


# Exercise 2: hard labels, too


def _mixed(answer, draw, share: float):
    student, teacher = _logits(draw)
    labels = torch.stack([torch.tensor(draw.number(0, student.shape[1] - 1)) for _ in student])
    T = _temperature(draw)
    return _loss(answer(student, teacher, labels, T, share)), student, teacher, labels, T


def mixed_ends(answer, draw):
    """Share 0 is the cross-entropy with the labels, share 1 is the distillation loss."""
    got, student, _, labels, T = _mixed(answer, draw, 0.0)
    hard = F.cross_entropy(student, labels)
    is_equal(got, hard, tolerance=1e-9, problem="With a soft share of 0, this is not the cross-entropy of the labels.",
             hint="The hard part looks at the student's plain logits and the labels, nothing else.",
             slips={"The labels' part has a temperature, too. It should not: T = 1.":
                        F.cross_entropy(student / T, labels),
                    "The factor T² went to the labels' part, too.": T**2 * hard,
                    "The rows were added up: take their mean.": hard * len(student)})
    got, student, teacher, labels, T = _mixed(answer, draw, 1.0)
    is_equal(got, T**2 * _kl(student, teacher, T), tolerance=1e-9,
             problem="With a soft share of 1, this is not the distillation loss.", hint="Your function of 1a.",
             slips={"The shares have changed places.": F.cross_entropy(student, labels)})


def mixed_between(answer, draw):
    """Between, the weighted mean of both."""
    share = draw.number(2, 8) / 10
    share += 0.05  # never one half: swapped shares would go unseen
    got, student, teacher, labels, T = _mixed(answer, draw, share)
    soft, hard = T**2 * _kl(student, teacher, T), F.cross_entropy(student, labels)
    is_equal(got, share * soft + (1 - share) * hard, tolerance=1e-9,
             problem=f"With a soft share of {share:g}, this is not the weighted mean of both losses.",
             hint="soft_share of the one, and what is left to 1 of the other.",
             slips={"The shares have changed places.": share * hard + (1 - share) * soft,
                    "The labels' part has no weight.": share * soft + hard,
                    "The soft part has no weight.": soft + (1 - share) * hard,
                    "The two were simply added up.": soft + hard,
                    "The logits were mixed, not the losses.": soft * share})


# Exercise 3: agreement


def _pair(draw) -> tuple[Tensor, Tensor, int]:
    """Logits of two models of 30 to 80 texts, who agree on some, and on how many."""
    student, teacher = _logits(draw, draw.number(30, 80))
    same = draw.number(15, 25)
    rows = torch.randperm(len(student), generator=draw.generator)[:same]
    student[rows] = 1.7 * teacher[rows] + draw.normal(same, 1, dtype=torch.float64)
    return student, teacher, int((student.argmax(1) == teacher.argmax(1)).sum())


def _agreement(answer, student: Tensor, teacher: Tensor) -> list[float]:
    got = are_results(answer(student, teacher), 3, "share, low, high")
    return [is_number(one, name=f"`{name}`") for name, one in zip(("share", "low", "high"), got, strict=True)]


def agreement_share(answer, draw):
    """The share of equal decisions."""
    student, teacher, same = _pair(draw)
    share, n = _agreement(answer, student, teacher)[0], len(student)
    is_close(share, same / n, tolerance=1e-6, problem=f"They agree on {same} of {n} texts.",
             hint="A model decides for its largest logit. How often do both decide alike?",
             slips={"That is their number: divide by the number of texts.": float(same),
                    "That is the share of texts on which they disagree.": 1 - same / n})


def agreement_interval(answer, draw):
    """Wilson's interval, as SciPy computes it; also where all agree."""
    from scipy.stats import binomtest

    student, teacher, same = _pair(draw)
    for pair, k in (((student, teacher), same), ((student, student), len(student))):
        _, low, high = _agreement(answer, *pair)
        n, share = len(student), k / len(student)
        right = binomtest(k, n).proportion_ci(0.95, method="wilson")
        plain = 1.959963984540054 * (share * (1 - share) / n) ** 0.5
        for name, got, expected, naive in (("lower", low, right.low, share - plain),
                                           ("upper", high, right.high, share + plain)):
            is_close(got, expected, tolerance=1e-5,
                     problem=f"With {k} of {n}, the {name} end is not that of Wilson's interval.",
                     hint="Compare with the formula, term by term: the center, then the half width.",
                     slips={"This is the plain interval. With all or none it has no width at all.": naive})
    if low > high:
        raise NotYet("The ends have changed places.", {"expected": "low, then high", "got": f"{low}, {high}"})
