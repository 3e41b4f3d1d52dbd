"""One model on many ranks: each matrix cut up (tensor parallel), or the layers dealt out (pipeline parallel).

Letters in shape comments: B batch, T time, D d_model, F d_ff. R ranks of a group.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from utils.data.batches import Batch
from utils.models.losses import summed_cross_entropy
from utils.models.transformer import GPT
from utils.training.ranks import Mesh


def all_reduced(x: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
    """A copy of x summed over the ranks."""
    x = x.clone()
    dist.all_reduce(x, group=group)
    return x


class CopyToRanks(torch.autograd.Function):
    """Forward: x as it is, for every rank. Backward: the ranks' gradients of it, summed.

    Source: Shoeybi et al. 2019, "Megatron-LM", section 3 (there called f).
    """

    @staticmethod
    def forward(ctx, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        """Pass x on."""
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """Add up what each rank's part asks of x."""
        return all_reduced(gradient, ctx.group), None


class SumOverRanks(torch.autograd.Function):
    """Forward: the ranks' parts, summed. Backward: the gradient as it is, for every rank.

    Source: Shoeybi et al. 2019, section 3 (there called g).
    """

    @staticmethod
    def forward(ctx, x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        """Add up the parts."""
        return all_reduced(x, group)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """A sum passes its gradient to each part."""
        return gradient, None


class ColumnParallelLinear(nn.Module):
    """A linear layer of which this rank holds an R-th of the outputs. Shapes: (..., D) -> (..., F / R)."""

    def __init__(self, whole: nn.Linear, rank: int, world: int, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(part(whole.weight.detach(), 0, rank, world))
        self.bias = None if whole.bias is None else nn.Parameter(part(whole.bias.detach(), 0, rank, world))

    def forward(self, x: Tensor) -> Tensor:
        """This rank's share of the outputs."""
        return nn.functional.linear(CopyToRanks.apply(x, self.group), self.weight, self.bias)


class RowParallelLinear(nn.Module):
    """A linear layer of which this rank holds an R-th of the inputs; the ranks' sums are added. The bias is added once.

    Shapes: (..., F / R) -> (..., D).
    """

    def __init__(self, whole: nn.Linear, rank: int, world: int, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.group = group
        self.weight = nn.Parameter(part(whole.weight.detach(), 1, rank, world))
        self.bias = None if whole.bias is None else nn.Parameter(whole.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """The whole output, on every rank."""
        y = SumOverRanks.apply(nn.functional.linear(x, self.weight), self.group)
        return y if self.bias is None else y + self.bias


def part(whole: Tensor, dim: int, rank: int, world: int) -> Tensor:
    """A copy of this rank's share of a tensor along `dim`."""
    return whole.chunk(world, dim)[rank].clone()


def tensor_parallel(model: GPT, group: dist.ProcessGroup | None = None) -> GPT:
    """Cut up every block's matrices among the group's ranks, in place: heads and features; the rest is on all of them.

    All ranks must hand in the same weights and read the same batches. Two sums over the ranks a block and direction.
    Raises: ValueError if the ranks do not divide heads and features.
    Source: Shoeybi et al. 2019, section 3.
    """
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    Mesh(tensor=world).check(model.config, world)
    for block in model.transformer.blocks:
        attention, feed_forward = block.attention, block.feed_forward
        for name in ("query", "key", "value"):
            setattr(attention, name, ColumnParallelLinear(getattr(attention, name), rank, world, group))
        attention.output = RowParallelLinear(attention.output, rank, world, group)
        attention.n_heads, attention.n_kv_heads = attention.n_heads // world, attention.n_kv_heads // world
        for name in ("expand", "gate") if feed_forward.gated else ("expand",):
            setattr(feed_forward, name, ColumnParallelLinear(getattr(feed_forward, name), rank, world, group))
        feed_forward.contract = RowParallelLinear(feed_forward.contract, rank, world, group)
    return model


def gathered(model: GPT, tensors: dict[str, Tensor], group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
    """A tensor-parallel model's parameters, or their gradients, put together again by name, on every rank."""
    cut = {f"{name}.weight": 0 for name, m in model.named_modules() if isinstance(m, ColumnParallelLinear)}
    cut |= {f"{name}.bias": 0 for name, m in model.named_modules() if isinstance(m, ColumnParallelLinear)}
    cut |= {f"{name}.weight": 1 for name, m in model.named_modules() if isinstance(m, RowParallelLinear)}
    whole = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        if name in cut:
            parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
            dist.all_gather(parts, tensor, group=group)
            tensor = torch.cat(parts, cut[name])
        whole[name] = tensor
    return whole


class PipelineStage(nn.Module):
    """The layers of a GPT that one rank holds: the first rank also the embeddings, the last the norm and the logits.

    Tied embeddings are on both; `backward` adds up their gradients. Parameters keep the whole model's names.
    Raises: ValueError for more ranks than layers.
    """

    def __init__(self, model: GPT, rank: int, world: int) -> None:
        super().__init__()
        Mesh(pipeline=world).check(model.config, world)
        self.config, self.rank, self.world = model.config, rank, world
        self.first, self.last = rank == 0, rank == world - 1
        self.layers = layers_of(model.config.n_layers, rank, world)
        self.transformer = model.transformer
        self.head = None if model.config.tied else model.head
        if not self.first and not (self.last and model.config.tied):
            del self.transformer.token_embedding
        if not self.first and model.config.positions == "learned":
            del self.transformer.position_embedding
        if not self.last:
            self.transformer.norm, self.head = nn.Identity(), None
        blocks = self.transformer.blocks
        # A dictionary, so that a block keeps the number it has in the whole model.
        self.transformer.blocks = nn.ModuleDict({str(i): blocks[i] for i in self.layers})

    def forward(self, x: Tensor, targets: Tensor) -> Tensor:
        """Ids (B, T) or features (B, T, D) in; features out, or on the last rank the summed loss in nats."""
        x = self.transformer.embed(x) if self.first else x
        for block in self.transformer.blocks.values():
            x = block(x)[0]
        if not self.last:
            return x
        head = self.transformer.token_embedding.weight if self.head is None else self.head.weight
        return summed_cross_entropy(self.transformer.norm(x).flatten(0, 1), head, targets.flatten())


def layers_of(n_layers: int, rank: int, world: int) -> range:
    """The layers of a rank; the first ranks take what does not divide evenly."""
    share, rest = divmod(n_layers, world)
    start = rank * share + min(rank, rest)
    return range(start, start + share + (rank < rest))


def pipeline_step(stage: PipelineStage, micro_batches: list[Batch], count: int) -> float:
    """Forward of all micro-batches, then backward of all, the last one first; returns the step's loss a target.

    Every rank is handed the same micro-batches; only ids and targets of the first and last are used. `count` is the
    step's number of targets. Gradients add up in the stage's parameters.
    Source: Huang et al. 2019, "GPipe", section 2.3.
    """
    kept, loss_sum = [], 0.0
    weight = next(stage.parameters())
    for batch in micro_batches:
        if stage.first:
            x = batch["input_ids"]
        else:
            x = torch.empty((*batch["input_ids"].shape, stage.config.d_model), dtype=weight.dtype, device=weight.device)
            dist.recv(x, stage.rank - 1)
            x.requires_grad_()
        y = stage(x, batch["targets"])
        if stage.last:
            loss_sum += float(y.detach())
        else:
            dist.send(y.detach(), stage.rank + 1)
        kept.append((x, y))
    for x, y in reversed(kept):
        if stage.last:
            (y / count).backward()
        else:
            gradient = torch.empty_like(y)
            dist.recv(gradient, stage.rank + 1)
            y.backward(gradient)
        if not stage.first:
            dist.send(x.grad, stage.rank - 1)
    return _finish(stage, loss_sum / count)


def _finish(stage: PipelineStage, loss: float) -> float:
    """Add up the gradients of tied embeddings; tell every rank the loss."""
    weight = next(stage.parameters())
    if stage.config.tied and stage.world > 1:
        mine = stage.transformer.token_embedding.weight.grad if stage.first or stage.last else None
        shape = (stage.config.vocab_size, stage.config.d_model)
        total = all_reduced(torch.zeros(shape, dtype=weight.dtype, device=weight.device) if mine is None else mine)
        if mine is not None:
            mine.copy_(total)
    told = torch.tensor([loss], dtype=torch.float64, device=weight.device)
    dist.broadcast(told, stage.world - 1)
    return told.item()


def bubble(stages: int, micro_batches: int) -> float:
    """Share of the time that a stage of a GPipe schedule waits: (S - 1) / (M + S - 1).

    Source: Narayanan et al. 2021, section 2.2.1 (there as a share of the ideal time, (S - 1) / M).
    """
    return (stages - 1) / (micro_batches + stages - 1)


def shard_fully(model: GPT, device_type: str = "cpu") -> GPT:
    """FSDP2: every parameter cut up among all ranks, a block gathered only while it runs. Gradients are summed.

    Source: Zhao et al. 2023, "PyTorch FSDP"; Rajbhandari et al. 2020, section 5.
    """
    mesh = dist.device_mesh.init_device_mesh(device_type, (dist.get_world_size(),))
    units = [*model.transformer.blocks, model]
    for unit in units:
        fully_shard(unit, mesh=mesh)
        unit.set_gradient_divide_factor(1.0)
    return model
