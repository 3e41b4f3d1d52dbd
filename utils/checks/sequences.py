"""Checks of lab 04, sequences: the exercises, their properties in order, and their points."""

from utils.checks import sequences_attention as attention
from utils.checks import sequences_capstone as capstone
from utils.checks import sequences_memory as memory
from utils.checks import sequences_steps as steps
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 04: sequences")
require, summary = LAB.require, LAB.summary

rnn_step = LAB.exercise(
    "rnn_step", "1", "one step of a recurrent network",
    Property("There is one state of D numbers a row.", steps.step_shape),
    Property("It equals PyTorch's RNNCell.", steps.step_library, 2))

rnn_over_time = LAB.exercise(
    "rnn_over_time", "2", "a batch of texts of different lengths",
    Property("There is a state for every word, and one last state a text.", memory.time_shapes),
    Property("Each text's states are those that it has alone.", memory.time_states, 1),
    Property("The last state is the one after the text's own last word.", memory.time_last, 2))

lstm_step = LAB.exercise(
    "lstm_step", "3a", "one step of an LSTM",
    Property("There are a state and a cell of D numbers a row.", steps.lstm_shapes),
    Property("The cell equals that of PyTorch's LSTMCell.", steps.lstm_cell, 2),
    Property("The state does, too.", steps.lstm_hidden, 1))

cell_pieces = LAB.exercise(
    "cell_pieces", "3b", "what a cell is made of",
    Property("There is a piece for every word and unit.", memory.pieces_shape),
    Property("The pieces sum to the last cell.", memory.pieces_sum, 1),
    Property("Each piece is what autograd says that its word contributes.", memory.pieces_autograd, 1),
    Property("A forget gate of exactly 0 does no harm.", memory.pieces_closed, 1))

gru_step = LAB.exercise(
    "gru_step", "4", "one step of a GRU",
    Property("There is one state of D numbers a row.", steps.gru_shape),
    Property("It equals PyTorch's GRUCell.", steps.gru_library, 3))

attend = LAB.exercise(
    "attend", "5", "attention over the encoder's states",
    Property("There is one vector a row, and one weight a source word.", attention.attend_shapes),
    Property("Weights sum to one, and padding gets exactly 0.", attention.attend_open, 1),
    Property("The weights are the softmax of the scores.", attention.attend_weights, 1),
    Property("The vector is the weighted sum of the states.", attention.attend_sum, 1))

clip_gradients = LAB.exercise(
    "clip_gradients", "6", "clip the gradients",
    Property("Every gradient comes back, in its shape.", attention.clip_shapes),
    Property("Short gradients stay as they are.", attention.clip_short),
    Property("Long ones are scaled back together, as PyTorch does it.", attention.clip_long, 2),
    Property("Gradients that are all zero stay zero.", attention.clip_zero, 1))

write = LAB.exercise(
    "write", "Capstone", "from words to digits",
    Property("There are max_length whole numbers a row.", capstone.write_shape),
    Property("The first token is the library's.", capstone.write_first, 1),
    Property("So is every token up to the end.", capstone.write_all, 1),
    Property("After its end, a row holds the end token alone.", capstone.write_end, 1),
    Property("With trained weights, at least 90 of 100 new numbers come out exactly right.", capstone.write_target, 2))
