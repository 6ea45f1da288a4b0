"""What hand-written kernels in a compiled program compute, where it can be read off their names, blocks and operands.

To the compiler a kernel is a closed box: its cost analysis gives it no products. What is known here is Pallas splash
attention, the only kernel of ours on TPUs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mio_jax.parallel.hlo import Computation, Instruction

# Products of a block of queries with a block of keys, in each of splash attention's kernels.
PRODUCTS = {"fwd": 2, "dkv": 4, "dq": 3}
_SPLASH = re.compile(r"splash_(?:mha|mqa)_(fwd|dkv|dq)(?:_segmented)?(?:_no)?_residuals")


@dataclass
class Kernel:
    """Runs of one kernel: their number, FLOPs and seconds together."""

    count: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0

    def add(self, count: float, flops: float, seconds: float) -> None:
        """`count` more runs, each of `flops` and `seconds`."""
        self.count += count
        self.flops += count * flops
        self.seconds += count * seconds


def kernel_flops(computation: Computation, instruction: Instruction) -> tuple[str, float] | None:
    """(name, FLOPs of one run) of a kernel that is known here; None for any other custom call."""
    found = _SPLASH.search(instruction.attributes)
    blocks = {
        side: re.search(rf"block_{side}(?:_dkv|_dq)?[\\\"]*: (\d+)", instruction.attributes) for side in ("q", "kv")
    }
    if not found or not blocks["q"] or not blocks["kv"]:
        return None
    operands = [computation[name].result[0] for name in instruction.operands if name in computation]
    floats = [a for a in operands if a.dtype in ("bf16", "f16", "f32") and len(a.dims) >= 3]
    q, k = floats[:2]
    # Tables of the blocks to visit come first where the mask is causal; without a mask there are none.
    causal = operands[0] not in floats[:1]
    visited = pairs_visited(q.dims[-2], k.dims[-2], int(blocks["q"][1]), int(blocks["kv"][1]), causal)
    rows = q.size // (q.dims[-2] * q.dims[-1])  # of the batch, times heads
    return found[0], 2.0 * PRODUCTS[found[1]] * rows * visited * q.dims[-1]


def pairs_visited(queries: int, keys: int, block_q: int, block_kv: int, causal: bool) -> int:
    """Pairs of a query and a key in the blocks that a kernel looks at: those that a causal mask leaves something of."""
    if not causal:
        return queries * keys
    stops = range(block_q, queries + 1, block_q)
    return sum(block_q * min(keys, -(-stop // block_kv) * block_kv) for stop in stops)
