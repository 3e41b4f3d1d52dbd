"""Our encoder beside Hugging Face's BERT, both with the packaged weights, on padded batches of real reviews."""

import logging

import pytest
import torch

from tests.benchmarks.ratios import Contest, Row
from utils.data import corpora, sources
from utils.data.batches import classification_batches
from utils.models.pretrained import load_model

NAME, N_REVIEWS, LONGEST, BATCH_SIZE = "all-minilm-l6-v2", 96, 128, 32


@pytest.fixture(scope="module")
def encoders():
    from transformers import BertModel

    logging.getLogger("transformers").setLevel(logging.ERROR)
    ours, tokenizer = load_model(NAME)
    theirs = BertModel.from_pretrained(sources.model_folder(NAME), add_pooling_layer=False).eval()
    texts = corpora.reviews("rotten_tomatoes", "test")["text"][:N_REVIEWS]
    ids = [encoding.ids[:LONGEST] for encoding in tokenizer.encode_batch(texts)]
    return ours, theirs, list(classification_batches(ids, None, 0, BATCH_SIZE))


def contest_of(encoders, step) -> Contest:
    """Both encoders through `step`, which gets the function from a batch to hidden states."""
    ours, theirs, batches = encoders

    def our_states(batch):
        return ours.encode(batch["input_ids"], batch["attention_mask"])

    def their_states(batch):
        return theirs(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state

    with torch.inference_mode():
        for batch in batches:
            real = batch["attention_mask"]
            torch.testing.assert_close(our_states(batch)[real], their_states(batch)[real], rtol=0, atol=1e-4)
    return Contest({"ours": lambda: step(our_states, batches), "theirs": lambda: step(their_states, batches)})


def inference(states, batches):
    with torch.inference_mode():
        for batch in batches:
            states(batch)


def training(states, batches):
    states(batches[0]).sum().backward()


@pytest.mark.parametrize("step, rounds", [(inference, 12), (training, 8)])
def test_encoder(race, rows, encoders, step, rounds):
    contest = contest_of(encoders, step)
    race(contest, rounds)
    name = {inference: "encoder, inference", training: "encoder, forward and backward"}[step]
    rows.append(Row(name, "Hugging Face BERT", contest.ratios("ours", "theirs"), aim=1))
