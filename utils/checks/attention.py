"""Checks of lab 05, attention: the exercises, their properties in order, and their points."""

from utils.checks import attention_gradients as gradients
from utils.checks import attention_heads as heads
from utils.checks import attention_weights as weights
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 05: attention")
require, summary = LAB.require, LAB.summary

attend_one = LAB.exercise(
    "attend_one", "1", "one query over all keys",
    Property("The output has the values' width; there is one weight a key.", weights.one_shapes),
    Property("The weights are the softmax of the scaled scores.", weights.one_weights, 1),
    Property("The output is the weighted sum of the values.", weights.one_sum, 1),
    Property("Large scores do not overflow.", weights.one_overflow, 1))

self_attention_mask = LAB.exercise(
    "self_attention_mask", "2a", "causal and padding mask",
    Property("The mask is causal: each query sees itself and what came before.", weights.mask_causal, 1),
    Property("No query sees padding, and nothing else is closed.", weights.mask_padding, 1))

masked_weights = LAB.exercise(
    "masked_weights", "2b", "a softmax under a mask",
    Property("Closed keys get exactly 0, and open rows sum to one.", weights.masked_open, 1),
    Property("A row with nothing to attend to is all zeros, without NaN.", weights.masked_closed, 1),
    Property("It also works in half precision.", weights.masked_half, 1))

split_heads = LAB.exercise(
    "split_heads", "3a", "split the features into heads",
    Property("Each head has all the tokens and a share of the features.", heads.split_shape),
    Property("A token stays one token, in every head.", heads.split_tokens, 1),
    Property("Head h holds the features from h * Dh on, in order.", heads.split_features, 1))

merge_heads = LAB.exercise(
    "merge_heads", "3b", "merge the heads again",
    Property("Each token has all its features again.", heads.merge_shape),
    Property("A token stays one token.", heads.merge_tokens, 1),
    Property("The features come back in order, head by head.", heads.merge_features, 1))

softmax_jacobian = LAB.exercise(
    "softmax_jacobian", "4a", "the Jacobian of the softmax",
    Property("There is one row a weight and one column a score.", gradients.jacobian_shape),
    Property("It equals autograd's Jacobian.", gradients.jacobian_autograd, 2))

softmax_backward = LAB.exercise(
    "softmax_backward", "4b", "back through the softmax",
    Property("There is one gradient a score.", gradients.backward_shape),
    Property("It equals autograd's gradient, for any batch of rows.", gradients.backward_autograd, 2))

rotate = LAB.exercise(
    "rotate", "5", "rotary positions",
    Property("At position 0 nothing turns.", heads.rotary_start),
    Property("A vector keeps its length.", heads.rotary_length),
    Property("A score depends on the distance of query and key, and on nothing else.", heads.rotary_distance, 2),
    Property("It equals the rotation of Llama in the transformers library.", heads.rotary_library, 2))

causal_self_attention = LAB.exercise(
    "causal_self_attention", "Capstone", "a whole layer of GPT-2",
    Property("The output has the shape of the input.", heads.layer_shape),
    Property("One token alone gives GPT-2's output.", heads.layer_one_token, 2),
    Property("No output looks ahead.", heads.layer_causal),
    Property("A whole text gives GPT-2's output, to five decimals.", heads.layer_library, 3))
