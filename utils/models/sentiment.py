"""The course's sentiment classifier: the packaged encoder with the shipped LoRA adapter and head."""

from pathlib import Path

import torch
from tokenizers import Tokenizer

from utils.data import sources
from utils.models import adapters
from utils.models.heads import SequenceClassifier
from utils.models.pretrained import load_model

ENCODER, ADAPTER = "all-minilm-l6-v2", sources.WEIGHTS / "sentiment-lora"


def load_sentiment(folder: Path | None = None) -> tuple[SequenceClassifier, Tokenizer]:
    """The classifier (0 negative, 1 positive) and its tokenizer, for evaluation; torch's generator is left as it was.

    Raises: SourceError if the encoder is not installed; WeightsError or AdapterError if the adapter does not fit it.
    """
    encoder, tokenizer = load_model(ENCODER)
    with torch.random.fork_rng(devices=[]):  # the new head is drawn at random before the shipped one replaces it
        model = SequenceClassifier(encoder)
        adapters.load_adapter(folder or ADAPTER, model)
    return model.eval(), tokenizer
