"""Checks of lab 03, backpropagation: the exercises, their properties in order, and their points."""

from utils.checks import backpropagation_layers as layers
from utils.checks import backpropagation_networks as networks
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 03: backpropagation")
require, summary = LAB.require, LAB.summary

activation_slopes = LAB.exercise(
    "activation_slopes", "1", "four slopes",
    Property("There are four slopes, each of the shape of z.", layers.slopes_shape),
    Property("The slope of the sigmoid is autograd's.", layers.slope_sigmoid, 1),
    Property("The slope of tanh is autograd's.", layers.slope_tanh, 1),
    Property("The slope of ReLU is autograd's, at 0 as well.", layers.slope_relu, 1),
    Property("The slope of GELU is autograd's.", layers.slope_gelu, 1))

linear_backward = LAB.exercise(
    "linear_backward", "2", "back through a linear layer",
    Property("Each gradient has the shape of what it belongs to.", layers.linear_shapes),
    Property("The gradient by the weights is autograd's.", layers.linear_weights, 1),
    Property("The gradient by the biases is autograd's.", layers.linear_biases, 1),
    Property("The gradient by the inputs is autograd's.", layers.linear_inputs, 1))

cross_entropy_backward = LAB.exercise(
    "cross_entropy_backward", "3", "back through softmax and cross-entropy",
    Property("There is one gradient a logit, and each row sums to 0.", layers.entropy_rows),
    Property("It is the gradient of the mean loss, as autograd finds it.", layers.entropy_autograd, 2),
    Property("Logits in the hundreds do not overflow.", layers.entropy_overflow, 1))

network_gradients = LAB.exercise(
    "network_gradients", "4", "a whole network",
    Property("There is a loss, and a gradient for each of the four tensors.", networks.gradients_shape),
    Property("The loss is the mean cross-entropy of the network.", networks.gradients_loss, 1),
    Property("The output layer's gradients are autograd's.", networks.gradients_output, 1),
    Property("The hidden layer's gradients are autograd's.", networks.gradients_hidden, 3))

numeric_gradient = LAB.exercise(
    "numeric_gradient", "5", "a check that needs no formula",
    Property("There is one slope for each entry of x.", networks.numeric_shape),
    Property("For a straight function the slopes are exact.", networks.numeric_straight, 1),
    Property("For a curved function they are right to eight decimals.", networks.numeric_curved, 2))

he_weights = LAB.exercise(
    "he_weights", "6", "the first weights",
    Property("There are a matrix and zero biases for each layer.", networks.he_shape),
    Property("The weights have mean 0 and He's variance.", networks.he_variance, 2),
    Property("The generator alone decides: same seed, same weights.", networks.he_generator, 1))

train = LAB.exercise(
    "train", "Capstone", "a network that reads reviews",
    Property("The trained weights have their old shapes, and every layer has moved.", networks.train_moves),
    Property("At least 75 % of the reviews it learns from are right.", networks.train_learns, 2),
    Property("At least 72 % of 1,000 reviews that it never saw are right.", networks.train_target, 3))
