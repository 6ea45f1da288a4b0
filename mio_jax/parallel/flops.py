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
    """Forward FLOPs of a stack of layers in a row of `length` tokens, for each token of the row."""
    width, kv_width = stack.heads * stack.head_dim, stack.kv_heads * stack.head_dim
    projections = 2 * stack.dim * (2 * width + 2 * kv_width)
    feed_forward = 2 * stack.mlp_matrices * stack.dim * stack.mlp_dim
    seen = stack.length or length * stack.share
    scores = 2 * 2 * width * seen * (0.5 if stack.causal else 1.0)  # q k and p v
    own, other = projections + feed_forward + scores, 0.0
    if stack.context:
        own += 2 * stack.dim * 2 * width + 2 * 2 * width * length * stack.context
        other = 2 * stack.dim * 2 * kv_width  # keys and values of what it reads
    return float(stack.depth * (own * stack.share + other * stack.context))


def forward_flops_per_token(sizes: ModelSizes, length: int) -> float:
    """Of one token in a row of `length` tokens, with its logits; looking a token up in a table is no product."""
    return sum(stack_flops(stack, length) for stack in sizes.stacks) + 2.0 * sizes.output_dim * sizes.vocab_size


def model_flops_per_token(sizes: ModelSizes, length: int) -> float:
    """Of one token in training: forward, and backward through what is trained."""
    trained = sizes._replace(stacks=tuple(stack for stack in sizes.stacks if stack.trained))
    return forward_flops_per_token(sizes, length) + BACKWARD * forward_flops_per_token(trained, length)


def mfu_per_speed(sizes: ModelSizes, length: int, mesh: Mesh) -> float | None:
    """What tokens a second are to be multiplied by to give MFU, against the published bfloat16 peak of all devices.

    None where the peak of this kind of device is not known.
    """
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    return None if peak is None else model_flops_per_token(sizes, length) / (peak * mesh.size)
