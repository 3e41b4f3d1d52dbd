"""Answers from Hugging Face's GPT-2, opened: what each of its parts takes and gives, under the course's names."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.models import hugging_face

# Nothing here is fetched: models are made from a configuration, with random weights.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

D_MODEL, D_FF, N_HEADS, CONTEXT_LENGTH = 15, 22, 3, 29  # no two alike, and the inner width is not four times D


@dataclass(frozen=True)
class OpenGPT2:
    """A GPT-2 with random weights, a batch of token ids, and what its parts compute of it.

    Shapes: input_ids (B, T); embedded, block_output (of the first block) and last (of the last block, before the final
    norm) (B, T, D); logits (B, T, V). `weights` has the names of the course's own GPT.
    """

    model: torch.nn.Module
    weights: dict[str, Tensor]
    n_layers: int
    input_ids: Tensor
    embedded: Tensor
    block_output: Tensor
    last: Tensor
    logits: Tensor

    def part(self, name: str) -> dict[str, Tensor]:
        """The weights whose names begin with `name` and a dot, without it."""
        return {key.removeprefix(f"{name}."): one for key, one in self.weights.items() if key.startswith(f"{name}.")}


def gpt2(batch_size: int, length: int, seed: int, silent: tuple[str, ...] = ()) -> OpenGPT2:
    """A random GPT-2 of two or three layers, run. `silent` names parts ("attn", "mlp") whose output matrices are 0."""
    from transformers import GPT2Config, GPT2LMHeadModel

    n_layers = 2 + seed % 2
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        config = GPT2Config(vocab_size=53, n_positions=CONTEXT_LENGTH, n_embd=D_MODEL, n_head=N_HEADS,
                            n_layer=n_layers, n_inner=D_FF, bos_token_id=None, eos_token_id=None)
        model = GPT2LMHeadModel(config).eval()
        for parameter in model.parameters():  # far from the initial values, so that no part can hide
            parameter.add_(0.2 * torch.randn_like(parameter))
        for block in model.transformer.h:
            for name in silent:
                projection = getattr(block, name).c_proj
                projection.weight.zero_()
                projection.bias.zero_()
        input_ids = torch.randint(config.vocab_size, (batch_size, length))
        seen = {}
        model.transformer.h[0].register_forward_hook(lambda module, given, result: seen.update(block_output=result))
        model.transformer.ln_f.register_forward_hook(lambda module, given, result: seen.update(last=given[0]))
        out = model(input_ids, output_hidden_states=True)
    found = {name: (one[0] if isinstance(one, tuple) else one).clone() for name, one in seen.items()}
    weights = {name: one.clone() for name, one in hugging_face.gpt2_weights(model.state_dict()).items()}
    embedded = out.hidden_states[0].clone()
    return OpenGPT2(model, weights, n_layers, input_ids, embedded, logits=out.logits.clone(), **found)


def n_parameters(vocab_size: int, context_length: int, d_model: int, n_layers: int) -> int:
    """How many numbers a GPT-2 of these sizes learns, as its library counts them; tied ones count once."""
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):  # shapes without memory
        model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, n_positions=context_length, n_embd=d_model,
                                           n_head=1, n_layer=n_layers))
    return sum(parameter.numel() for parameter in model.parameters())


def greedy(gpt2: OpenGPT2, n_new: int) -> Tensor:
    """The ids with the library's own greedy continuation: (B, T + n_new)."""
    return gpt2.model.generate(gpt2.input_ids, attention_mask=torch.ones_like(gpt2.input_ids), max_new_tokens=n_new,
                               do_sample=False, use_cache=True)
