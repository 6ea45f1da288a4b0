"""FLOPs that a model's mathematics needs, counted from its sizes; a multiplication and an addition are two.

Only matrix products count, as in every published utilisation. Causal attention counts half of its score matrix, for
the other half is never needed. Nothing is counted for what memory-saving computes a second time: that is work of the
machine and not of the model.
"""

from __future__ import annotations

from jax.sharding import Mesh

from mio_jax.parallel.topologies import peak_flops
from mio_jax.protocols import ModelSizes, StackSizes

BACKWARD = 2  # a gradient takes two products, to the input and to the weight, for every one of the forward pass


def stack_flops(stack: StackSizes, length: int) -> float:
    """Forward FLOPs of one token in a stack of layers, in a row of `length` tokens."""
    width = stack.heads * stack.head_dim
    projections = 2 * stack.dim * (2 * width + 2 * stack.kv_heads * stack.head_dim)
    feed_forward = 2 * stack.mlp_matrices * stack.dim * stack.mlp_dim
    scores = 2 * 2 * width * length * stack.context * (0.5 if stack.causal else 1.0)  # q k and p v
    return float(stack.share * stack.depth * (projections + feed_forward + scores))


def forward_flops_per_token(sizes: ModelSizes, length: int) -> float:
    """Of one token in a row of `length` tokens, with its logits; looking a token up in a table is no product."""
    return sum(stack_flops(stack, length) for stack in sizes.stacks) + 2.0 * sizes.output_dim * sizes.vocab_size


def model_flops_per_token(sizes: ModelSizes, length: int) -> float:
    """Of one token in training: forward and backward."""
    return (1 + BACKWARD) * forward_flops_per_token(sizes, length)


def mfu_per_speed(sizes: ModelSizes, length: int, mesh: Mesh) -> float | None:
    """What tokens a second are to be multiplied by to give MFU, against the published bfloat16 peak of all devices.

    None where the peak of this kind of device is not known.
    """
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    return None if peak is None else model_flops_per_token(sizes, length) / (peak * mesh.size)
