"""Plausible wrong answers to lab 18, each with words that its card must show and the points that it still earns."""

import itertools
import math

import torch

from utils.data import audio
from utils.models import ctc_search


def hann(window):
    return 0.5 - 0.5 * torch.cos(2 * torch.pi * torch.arange(window) / window)


def without_window(x, window, hop):
    return x.unfold(0, window, hop)


def symmetric_window(x, window, hop):
    return x.unfold(0, window, hop) * torch.hann_window(window, periodic=False)


def hamming(x, window, hop):
    return x.unfold(0, window, hop) * torch.hamming_window(window)


def faded_twice(x, window, hop):
    return x.unfold(0, window, hop) * hann(window) ** 2


def one_frame_too_many(x, window, hop):
    return torch.nn.functional.pad(x, (0, hop)).unfold(0, window, hop) * hann(window)


def frames_in_columns(x, window, hop):
    return (x.unfold(0, window, hop) * hann(window)).T


def without_overlap(x, window, hop):
    count = (len(x) - window) // hop + 1
    return x.repeat(window)[: count * window].view(count, window) * hann(window)


def magnitudes(frames):
    return torch.fft.rfft(frames).abs()


def cosines_alone(frames):
    return torch.fft.rfft(frames).real ** 2


def all_tones(frames):
    return torch.fft.fft(frames).abs() ** 2


def last_tone_missing(frames):
    return torch.fft.rfft(frames).abs()[:, : frames.shape[1] // 2] ** 2


def divided_by_the_width(frames):
    return torch.fft.rfft(frames).abs() ** 2 / frames.shape[1]


def added_before_squaring(frames):
    spectrum = torch.fft.rfft(frames)
    return (spectrum.real - spectrum.imag) ** 2


def triangles(corners, window, rate):
    hertz = torch.arange(window // 2 + 1) * rate / window
    left, center, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return torch.minimum((hertz - left) / (center - left), (right - hertz) / (right - center))


def mel_corners(n_mels, rate):
    mels = torch.linspace(0, 2595 * math.log10(1 + rate / 1400), n_mels + 2, dtype=torch.float64)
    return 700 * (10 ** (mels / 2595) - 1)


def spaced_in_hertz(n_mels, window, rate):
    return triangles(torch.linspace(0, rate / 2, n_mels + 2), window, rate).clamp(min=0)


def below_zero(n_mels, window, rate):
    return triangles(mel_corners(n_mels, rate), window, rate)


def tones_in_rows(n_mels, window, rate):
    return triangles(mel_corners(n_mels, rate), window, rate).clamp(min=0).T


def natural_logarithm_without_its_factor(n_mels, window, rate):
    mels = torch.linspace(0, 2595 * math.log(1 + rate / 1400), n_mels + 2, dtype=torch.float64)
    return triangles(700 * (10 ** (mels / 2595) - 1), window, rate).clamp(min=0)


def equal_areas(n_mels, window, rate):
    corners = mel_corners(n_mels, rate)
    return 2 / (corners[2:] - corners[:-2])[:, None] * triangles(corners, window, rate).clamp(min=0)


def blanks_first(path, blank):
    return [label for label, _ in itertools.groupby(label for label in path if label != blank)]


def not_merged(path, blank):
    return [label for label in path if label != blank]


def blanks_kept(path, blank):
    return [label for label, _ in itertools.groupby(path)]


def each_once(path, blank):
    return list(dict.fromkeys(label for label in path if label != blank))


def first_must_be_there(path, blank):
    merged = [path[0]] + [b for a, b in itertools.pairwise(path) if a != b]
    return [label for label in merged if label != blank]


def collapse(path, blank):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def best_frame_of_each_class(log_probs, blank):
    return log_probs.argmax(dim=0).tolist()


def path_itself(log_probs, blank):
    return log_probs.argmax(dim=-1).tolist()


def last_class_is_blank(log_probs, blank):
    return collapse(log_probs.argmax(dim=-1).tolist(), log_probs.shape[1] - 1)


def greedy_blanks_first(log_probs, blank):
    return blanks_first(log_probs.argmax(dim=-1).tolist(), blank)


def unlikeliest_path(log_probs, blank):
    return collapse(log_probs.argmin(dim=-1).tolist(), blank)


def forward(log_probs, labels, blank, skips="right", total=None, plain=False, ends=2):
    total = total or (lambda ways: torch.stack(ways).logsumexp(dim=0))
    places = [blank, *(c for label in labels for c in (label, blank))]
    never = torch.tensor(-math.inf, dtype=log_probs.dtype)
    alpha = [log_probs[0, c] if s < 2 else never for s, c in enumerate(places)]
    for row in log_probs[1:]:
        new = []
        for s, c in enumerate(places):
            ways = [alpha[s]] + ([alpha[s - 1]] if s else [])
            if s > 1 and c != blank and (skips == "always" or skips == "right" and c != places[s - 2]):
                ways.append(alpha[s - 2])
            new.append(row[c] + total(ways))
        alpha = new
    return total(alpha[-ends:])


def skips_between_equal_labels(log_probs, labels, blank):
    return forward(log_probs, labels, blank, skips="always")


def never_skips(log_probs, labels, blank):
    return forward(log_probs, labels, blank, skips="never")


def likeliest_path_alone(log_probs, labels, blank):
    return forward(log_probs, labels, blank, total=lambda ways: torch.stack(ways).amax(dim=0))


def must_end_in_a_blank(log_probs, labels, blank):
    return forward(log_probs, labels, blank, ends=1)


def the_loss(log_probs, labels, blank):
    return -forward(log_probs, labels, blank)


def the_probability(log_probs, labels, blank):
    return forward(log_probs, labels, blank).exp()


def plain_probabilities(log_probs, labels, blank):
    def total(ways):
        return torch.stack(ways).exp().sum().log()

    return forward(log_probs, labels, blank, total=total)


def needs_a_label(log_probs, labels, blank):
    places = [blank, *(c for label in labels for c in (label, blank))]
    assert places[1] != blank
    return forward(log_probs, labels, blank)


def search(log_probs, width, language=None, weight=0.0):
    def numbers(prefix):
        return language(prefix).numpy()

    blank = log_probs.shape[1] - 1
    return ctc_search.beam_search(log_probs, blank, width, language and numbers, weight, threshold=-math.inf)


def greedy_beam(log_probs, width, language, weight):
    return collapse(log_probs.argmax(dim=-1).tolist(), log_probs.shape[1] - 1)


def deaf_to_language(log_probs, width, language, weight):
    return list(search(log_probs, width)[0].labels)


def weight_ignored(log_probs, width, language, weight):
    return list(search(log_probs, width, language, 1.0 if weight else 0.0)[0].labels)


def end_forgotten(log_probs, width, language, weight):
    def endless(prefix):
        return torch.cat([language(prefix)[:-1], torch.zeros(1, dtype=torch.float64)])

    return list(search(log_probs, width, endless, weight)[0].labels)


def doubles_lost(log_probs, width, language, weight):
    return [label for label, _ in itertools.groupby(search(log_probs, width, language, weight)[0].labels)]


def worst_of_the_beam(log_probs, width, language, weight):
    return list(search(log_probs, width, language, weight)[-1].labels)


def with_its_score(log_probs, width, language, weight):
    best = search(log_probs, width, language, weight)[0]
    return list(best.labels), best.score


def listened(samples, recognizer):
    return recognizer(audio.features(samples))


def greedily(samples, recognizer, language):
    return ctc_search.greedy(listened(samples, recognizer), 10)


def without_language(samples, recognizer, language):
    return list(search(listened(samples, recognizer), 4)[0].labels)


def features_not_centered(samples, recognizer, language):
    return ctc_search.greedy(recognizer(audio.log_mel(samples)), 10)


def blank_is_a_digit(samples, recognizer, language):
    return listened(samples, recognizer).argmax(dim=-1).tolist()


def same_number(samples, recognizer, language):
    return [0, 9, 1, 0, 0, 1, 0, 3]


def one_digit(samples, recognizer, language):
    return [7]


def a_string(samples, recognizer, language):
    return "".join(map(str, greedily(samples, recognizer, language)))


WRONG = {
    "window_frames": [
        (without_window, "window is missing", 1), (symmetric_window, "divide by W", 1), (hamming, "Hamming", 1),
        (faded_twice, "faded twice", 1), (one_frame_too_many, "too many", 0),
        (frames_in_columns, "one row a frame", 0), (without_overlap, "they overlap", 0),
    ],
    "power": [
        (magnitudes, "square them", 0), (cosines_alone, "phase must not matter", 0), (all_tones, "mirrors", 0),
        (last_tone_missing, "last tone is missing", 0), (divided_by_the_width, "divided by W", 0),
        (added_before_squaring, "phase must not matter", 0),
    ],
    "mel_bank": [
        (spaced_in_hertz, "triangles should add up", 0), (below_zero, "triangles should add up", 0),
        (tones_in_rows, "transpose", 0), (natural_logarithm_without_its_factor, "triangles should add up", 0),
        (equal_areas, "triangles should add up", 0),
    ],
    "collapse": [
        (blanks_first, "dropped first", 1), (not_merged, "not merged", 0), (blanks_kept, "still there", 0),
        (each_once, "only neighbors", 0), (first_must_be_there, "IndexError", 1),
    ],
    "greedy": [
        (best_frame_of_each_class, "over the classes", 0), (path_itself, "came back as it was", 0),
        (last_class_is_blank, "last class was taken", 1), (greedy_blanks_first, "dropped first", 0),
        (unlikeliest_path, "least likely", 0),
    ],
    "log_prob": [
        (skips_between_equal_labels, "forbid it", 1), (never_skips, "No path skips", 0),
        (likeliest_path_alone, "likeliest path alone", 0), (must_end_in_a_blank, "last two places", 0),
        (the_loss, "This is the loss", 0), (the_probability, "return its logarithm", 0),
        (plain_probabilities, "underflowed", 3), (needs_a_label, "raised IndexError", 1),
    ],
    "beam": [
        (greedy_beam, "add up the paths", 1), (deaf_to_language, "no effect", 3), (weight_ignored, "weight has no", 3),
        (end_forgotten, "end was forgotten", 3), (doubles_lost, "became one", 0),
        (worst_of_the_beam, "clear frames", 0), (with_its_score, "list of whole numbers", 0),
    ],
    "transcribe": [
        (greedily, "Greedy decoding does not", 2), (without_language, "Greedy decoding does not", 2),
        (features_not_centered, "features", 0), (blank_is_a_digit, "blank, 10", 0), (same_number, "too high", 0),
        (one_digit, "too high", 0), (a_string, "list of whole numbers", 0),
    ],
}  # fmt: skip
