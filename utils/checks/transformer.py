"""Checks of lab 06, the Transformer: the exercises, their properties in order, and their points."""

from utils.checks import transformer_embeddings as embeddings
from utils.checks import transformer_model as model
from utils.checks import transformer_parts as parts
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 06: the Transformer")
require, summary = LAB.require, LAB.summary

layer_norm = LAB.exercise(
    "layer_norm", "1", "layer norm",
    Property("The result has the shape of the input.", parts.norm_shape),
    Property("Each token has mean 0 and variance 1 over its features.", parts.norm_standard, 1),
    Property("Weight and bias act on each feature.", parts.norm_affine, 1),
    Property("Epsilon stands under the root, so that nothing is divided by 0.", parts.norm_epsilon, 1))

gelu = LAB.exercise(
    "gelu", "2a", "GELU",
    Property("Far to the right x stays x; far to the left it becomes 0.", parts.gelu_tails),
    Property("It equals PyTorch's, to six decimals.", parts.gelu_library, 2))

feed_forward = LAB.exercise(
    "feed_forward", "2b", "the feed-forward layer",
    Property("The output has the shape of the input.", parts.feed_forward_shape),
    Property("A token's output depends on that token alone.", parts.feed_forward_tokens),
    Property("It equals the layer of GPT-2 in the transformers library.", parts.feed_forward_library, 2))

block = LAB.exercise(
    "block", "3", "a block",
    Property("When both layers give 0, the block hands its input on.", parts.block_identity),
    Property("Attention is added, computed from the normalized input.", parts.block_attention, 1),
    Property("The feed-forward layer is added, with a norm of its own.", parts.block_feed_forward, 1),
    Property("Both, one after the other, equal a block of GPT-2.", parts.block_library, 2))

embed = LAB.exercise(
    "embed", "4a", "tokens and positions",
    Property("There is one vector a token.", embeddings.embed_shape),
    Property("A text of one token is its vector plus that of position 0.", embeddings.embed_first, 1),
    Property("Each position adds its own vector.", embeddings.embed_library, 1))

next_token_logits = LAB.exercise(
    "next_token_logits", "4b", "from vectors back to tokens",
    Property("There is one number for each token of the vocabulary, at every position.", embeddings.logits_shape),
    Property("They equal GPT-2's logits.", embeddings.logits_library, 2))

count_parameters = LAB.exercise(
    "count_parameters", "5", "how many parameters?",
    Property("The result is a whole number.", model.count_whole),
    Property("One more block adds what the library says.", model.count_block, 1),
    Property("One more token and one more position add a vector each.", model.count_embeddings, 1),
    Property("The total is the library's.", model.count_total, 1))

continue_greedily = LAB.exercise(
    "continue_greedily", "6", "let it write",
    Property("The prompt stays, and n_new tokens follow.", model.greedy_shape),
    Property("The first new token is the likeliest after the whole prompt.", model.greedy_first, 1),
    Property("A longer text is the one that the library writes.", model.greedy_library, 2))

gpt = LAB.exercise(
    "gpt", "Capstone", "your own GPT",
    Property("There are logits for every position.", model.gpt_shape),
    Property("With the weights of a random GPT-2 the logits are the library's, within 0.0001.", model.gpt_library, 3),
    Property("No position looks ahead.", model.gpt_causal),
    Property("With the weights of reviews-gpt they are the trained model's, within 0.0001.", model.gpt_reviews, 3))
