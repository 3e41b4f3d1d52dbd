"""The recurrent encoder-decoder: attention equal to PyTorch's, padding without effect, steps equal to all at once."""

import pytest
import torch
import torch.nn.functional as F

from utils.models.recurrent import RecurrentSeq2Seq

BEGIN, END = 5, 6


def make(attention: bool, seed: int = 0) -> RecurrentSeq2Seq:
    torch.manual_seed(seed)
    return RecurrentSeq2Seq(11, 7, d_hidden=13, d_embed=5, attention=attention).double()


def sources(seed: int = 0) -> torch.Tensor:
    """Three sources of 9, 4 and 1 tokens."""
    ids = torch.randint(1, 11, (3, 9), generator=torch.Generator().manual_seed(seed))
    ids[1, 4:] = 0
    ids[2, 1:] = 0
    return ids


def test_attention_equals_pytorchs():
    model, source = make(True), sources()
    inputs = torch.randint(7, (3, 5))
    memory, state = model.encode(source)
    logits, _, weights = model.decode(inputs, memory, source != 0, state)
    hidden, _ = model.decoder(model.target_embedding(inputs), state)
    context = F.scaled_dot_product_attention(
        model.score(hidden), memory, memory, attn_mask=(source != 0)[:, None], scale=1.0
    )
    expected = model.head(torch.tanh(model.combine(torch.cat([context, hidden], dim=-1))))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 5, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (weights[1, :, 4:] == 0).all() and (weights[2, :, 0] == 1).all()


@pytest.mark.parametrize("attention", [False, True])
def test_padding_changes_nothing(attention):
    model, source = make(attention), sources()
    inputs = torch.randint(7, (3, 5))
    together = model(source, inputs)
    for row, length in enumerate((9, 4, 1)):
        alone = model(source[row : row + 1, :length], inputs[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attention", [False, True])
def test_greedy_takes_the_likeliest_token_each_time_and_stops(attention):
    for seed in range(5):
        model, source = make(attention, seed), sources(seed)
        written = model.greedy(source, BEGIN, END, max_length=8)
        inputs = torch.cat([torch.full((3, 1), BEGIN), written.ids[:, :-1]], dim=1)
        likeliest = model(source, inputs).argmax(-1)
        for row in range(3):
            ended = (written.ids[row] == END).nonzero()
            stop = int(ended[0]) + 1 if len(ended) else written.ids.shape[1]
            assert torch.equal(written.ids[row, :stop], likeliest[row, :stop])
            assert (written.ids[row, stop:] == END).all()
        assert written.ids.shape[1] <= 8 and not written.ids.requires_grad
        assert (written.weights is None) != attention
        if attention:
            assert written.weights.shape == (*written.ids.shape, 9)


def test_greedy_stops_once_all_rows_have_ended():
    model = make(False)
    with torch.no_grad():
        model.head.bias[END] = 1e3
    assert model.greedy(sources(), BEGIN, END, max_length=50).ids.shape == (3, 1)


def test_without_attention_the_source_reaches_the_decoder_by_the_last_state_alone():
    for attention in (False, True):
        model, source = make(attention), sources()
        memory, state = model.encode(source)
        logits = model.decode(torch.zeros(3, 2, dtype=torch.long), memory, source != 0, state)[0]
        other = model.decode(torch.zeros(3, 2, dtype=torch.long), torch.randn_like(memory), source != 0, state)[0]
        assert torch.equal(logits, other) != attention


def test_refuses_what_it_cannot_read():
    with pytest.raises(ValueError, match="sizes of at least 1"):
        RecurrentSeq2Seq(11, 0)
    with pytest.raises(ValueError, match="pad_id: expected a source id below 11, got 11"):
        RecurrentSeq2Seq(11, 7, pad_id=11)
    model = make(True)
    for wrong in ([[0, 0], [1, 2]], [[0, 1], [1, 2]]):
        with pytest.raises(ValueError, match="padding only at its end"):
            model.encode(torch.tensor(wrong))
