"""Checks of lab 13, generation: the exercises, their properties in order, and their points."""

from utils.checks import generation_beams as beams
from utils.checks import generation_cache as cache
from utils.checks import generation_drafts as drafts
from utils.checks import generation_filters as filters
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 13: generation")
require, summary = LAB.require, LAB.summary
counted, prompt, decode = drafts.counted, drafts.prompt, drafts.decode

draw_token = LAB.exercise(
    "draw_token",
    "1",
    "drawing a token",
    Property("It returns one id for each row.", filters.draw_shape),
    Property("Each token comes as often as its probability says.", filters.draw_often, 1),
    Property("The same holds at other temperatures.", filters.draw_temperature, 1),
    Property("Near temperature 0, the likeliest token comes every time.", filters.draw_cold, 1),
)

keep_top_k = LAB.exercise(
    "keep_top_k",
    "2a",
    "top-k",
    Property("It equals TopKLogitsWarper of transformers.", filters.top_k_library, 1),
    Property("With ties, and with a k above the vocabulary's size, too.", filters.top_k_ties, 1),
)

keep_top_p = LAB.exercise(
    "keep_top_p",
    "2b",
    "top-p",
    Property("It equals TopPLogitsWarper of transformers.", filters.top_p_library, 2),
    Property("A tiny p keeps the likeliest token; p = 1 keeps all.", filters.top_p_one, 1),
)

keep_min_p = LAB.exercise(
    "keep_min_p",
    "2c",
    "min-p",
    Property("It equals MinPLogitsWarper of transformers.", filters.min_p_library, 2),
)

penalize_repeats = LAB.exercise(
    "penalize_repeats",
    "3",
    "a penalty for repetition",
    Property("Exactly the tokens of each row's text become less likely.", filters.penalty_lowers, 1),
    Property("It equals RepetitionPenaltyLogitsProcessor of transformers.", filters.penalty_library, 2),
)

attend_with_cache = LAB.exercise(
    "attend_with_cache",
    "4",
    "attention with a cache",
    Property("It returns the new outputs, all keys and all values.", cache.cache_shapes),
    Property("The cache grows on the right.", cache.cache_grows, 1),
    Property("One new token's output equals the last row of PyTorch's over the whole text.", cache.cache_one, 1),
    Property("So do the outputs of several new tokens, which do not see later ones.", cache.cache_many, 1),
    Property("An empty cache gives plain causal attention.", cache.cache_empty, 1),
)

beam_search = LAB.exercise(
    "beam_search",
    "5",
    "beam search",
    Property("It returns a list of tokens.", beams.beam_text),
    Property("With a width of 1, it is greedy.", beams.beam_one, 1),
    Property("With a beam that keeps every text, it finds the likeliest of all.", beams.beam_all, 1),
    Property("With a width of 3, it equals the library's on a random GPT-2.", beams.beam_library, 1),
    Property("With an end and length normalization, it equals exhaustive search.", beams.beam_end, 2),
)

speculate = LAB.exercise(
    "speculate",
    "6",
    "speculative sampling",
    Property("It returns two numbers for each token.", drafts.speculate_shapes),
    Property("A drafted token is accepted as often as it should be.", drafts.speculate_accept, 1),
    Property("A rejected one is replaced by what is missing to p.", drafts.speculate_replacement, 1),
    Property("Together, the tokens come exactly as often as p says, also when p equals q.", drafts.speculate_exact, 1),
)

write_ahead = LAB.exercise(
    "write_ahead",
    "Capstone",
    "greedy writing with a draft",
    Property("It returns the prompt and the new tokens.", drafts.write_shape),
    Property("The text is the one that greedy decoding writes.", drafts.write_greedy, 2),
    Property(f"It reaches the target: at least {drafts.TARGET:g} tokens a call of the model.", drafts.write_target, 3),
)
