"""Checks of lab 04, sequences: the exercises, their properties in order, and their points."""

from utils.checks import sequences_cells as cells
from utils.checks import sequences_decoder as decoder
from utils.checks.grading import Property
from utils.checks.progress import Lab

LAB = Lab("Lab 04: sequences")
require, summary = LAB.require, LAB.summary

rnn_step = LAB.exercise(
    "rnn_step", "1", "one step of a recurrent network",
    Property("There is one state of D numbers a row.", cells.step_shape),
    Property("It equals PyTorch's RNNCell.", cells.step_library, 2))

rnn_over_time = LAB.exercise(
    "rnn_over_time", "2", "a batch of texts of different lengths",
    Property("There is a state for every word, and one last state a text.", cells.time_shapes),
    Property("Each text's states are those that it has alone.", cells.time_states, 1),
    Property("The last state is the one after the text's own last word.", cells.time_last, 2))

lstm_step = LAB.exercise(
    "lstm_step", "3a", "one step of an LSTM",
    Property("There are a state and a cell of D numbers a row.", cells.lstm_shapes),
    Property("The cell equals that of PyTorch's LSTMCell.", cells.lstm_cell, 2),
    Property("The state does, too.", cells.lstm_hidden, 1))

cell_pieces = LAB.exercise(
    "cell_pieces", "3b", "what a cell is made of",
    Property("There is a piece for every word and unit.", cells.pieces_shape),
    Property("The pieces sum to the last cell.", cells.pieces_sum, 1),
    Property("Each piece is what autograd says that its word contributes.", cells.pieces_autograd, 1),
    Property("A forget gate of exactly 0 does no harm.", cells.pieces_closed, 1))

gru_step = LAB.exercise(
    "gru_step", "4", "one step of a GRU",
    Property("There is one state of D numbers a row.", cells.gru_shape),
    Property("It equals PyTorch's GRUCell.", cells.gru_library, 3))

attend = LAB.exercise(
    "attend", "5", "attention over the encoder's states",
    Property("There is one vector a row, and one weight a source word.", decoder.attend_shapes),
    Property("Weights sum to one, and padding gets exactly 0.", decoder.attend_open, 1),
    Property("The weights are the softmax of the scores.", decoder.attend_weights, 1),
    Property("The vector is the weighted sum of the states.", decoder.attend_sum, 1))

clip_gradients = LAB.exercise(
    "clip_gradients", "6", "clip the gradients",
    Property("Every gradient comes back, in its shape.", decoder.clip_shapes),
    Property("Short gradients stay as they are.", decoder.clip_short),
    Property("Long ones are scaled back together, as PyTorch does it.", decoder.clip_long, 2),
    Property("Gradients that are all zero stay zero.", decoder.clip_zero, 1))

write = LAB.exercise(
    "write", "Capstone", "from words to digits",
    Property("There are max_length whole numbers a row.", decoder.write_shape),
    Property("The first token is the library's.", decoder.write_first, 1),
    Property("So is every token up to the end.", decoder.write_all, 1),
    Property("After its end, a row holds the end token alone.", decoder.write_end, 1),
    Property("With trained weights, at least 90 of 100 new numbers come out exactly right.", decoder.write_target, 2))
