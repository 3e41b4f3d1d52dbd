"""Checks of lab 18, speech: the exercises, their properties in order, and their points."""

from utils.checks import speech_paths as paths
from utils.checks import speech_search as search
from utils.checks import speech_sound as sound
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 18: speech")
require, summary = LAB.require, LAB.summary
recognizer, language, recording, wav = search.recognizer, search.language, search.recording, search.wav

window_frames = LAB.exercise(
    "window_frames",
    "1",
    "frames under a window",
    Property("It returns a frame in each row, whole frames only.", sound.frames_shape),
    Property("A frame begins every `hop` samples.", sound.frames_places, 1),
    Property("Each frame fades in and out as torch.hann_window says.", sound.frames_window, 2),
)

power = LAB.exercise(
    "power",
    "2",
    "the power of each tone",
    Property("It returns W // 2 + 1 tones for each frame.", sound.power_shape),
    Property("A pure tone has all its power in one place, whatever its phase.", sound.power_tone, 2),
    Property("It equals PyTorch's Fourier transform, squared.", sound.power_library, 2),
)

mel_bank = LAB.exercise(
    "mel_bank",
    "3",
    "mel bands",
    Property("It returns one row for each band.", sound.bank_shape),
    Property("The triangles add up to 1, and are nowhere negative.", sound.bank_covers, 1),
    Property("They equal those of transformers.", sound.bank_library, 2),
)

collapse = LAB.exercise(
    "collapse",
    "4a",
    "collapsing a path",
    Property("Repeats become one, and blanks vanish.", paths.collapse_repeats, 1),
    Property("A blank keeps two equal labels apart; an empty path has no labels.", paths.collapse_doubles, 1),
)

greedy = LAB.exercise(
    "greedy",
    "4b",
    "greedy decoding",
    Property("It returns the labels of the likeliest path.", paths.greedy_reads, 1),
    Property("The blank may be any class.", paths.greedy_blank, 1),
)

log_prob = LAB.exercise(
    "log_prob",
    "5",
    "the sum over all paths",
    Property("It returns one number.", paths.forward_number),
    Property("For different labels, it equals PyTorch's CTC.", paths.forward_plain, 1),
    Property("So it does for repeated labels, and for none.", paths.forward_repeats, 2),
    Property("Over 150 frames, too; and what does not fit has log-probability minus infinity.", paths.forward_long, 1),
)

beam = LAB.exercise(
    "beam",
    "6",
    "prefix beam search",
    Property("In clear frames, a narrow beam reads what is written.", search.beam_reads, 1),
    Property("A wide beam finds the likeliest sequence of all.", search.beam_best, 2),
    Property("With a language model, it finds the best sum of both.", search.beam_language, 2),
)

transcribe = LAB.exercise(
    "transcribe",
    "Capstone",
    "from samples to digits",
    Property("It returns a list of digits.", search.transcribe_digits),
    Property(f"Its word error rate is at most {search.GOOD:.0%}.", search.transcribe_good, 2),
    Property(f"It reaches the target: at most {search.TARGET:.0%}.", search.transcribe_target, 3),
)
