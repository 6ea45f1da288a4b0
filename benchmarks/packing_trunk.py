"""What packing gives an encoder-decoder: useful tokens in a row, and the training step's time, beside unpacked batches.

    .venv/bin/python -m benchmarks.packing_trunk [--rounds 5] [--examples 12]

Lengths are log-normal, rows Unified-IO 2's: 864 tokens in and 1280 out; unpacked examples are padded to 1152 and 2048,
the maxima that its paper packs. The pairer is its own (two examples a row, a pool of ten); the window packer puts any
number of examples in a row. A step is the gradient of a small encoder and decoder (`mio_jax.nn.encoder_decoder`) behind
the front ends: unpacked, in pairs and by window, alternating, on the same cores. FLOPs are counted from the shapes, for
that trunk and for XL's; they do not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.loader import BUDGETS, SHAPES, log_normal
from benchmarks.output import hardware, run, write_result
from benchmarks.packers import mean_fill, ours_pairs, ours_window
from mio_jax.data.packed_batches import assign_rows
from mio_jax.data.pairing import StreamingPairer
from mio_jax.data.window_packing import WindowPacker
from mio_jax.errors import MioError
from mio_jax.nn.base import Module
from mio_jax.nn.encoder_decoder import CrossDecoder, Embedded, Encoder
from mio_jax.nn.layers import LayerSpec
from mio_jax.nn.packing import pack_embedded, plan_packing, unpack

RESULT = Path(__file__).resolve().parent / "results" / "packing_trunk.json"
UNPACKED = (1152, 2048)
POOL, WINDOW = 10, 512
CLAIM = "about 4 (the paper, throughput of the whole model, pairs)"
SPEC = LayerSpec(dim=64, heads=2, kv_heads=2, head_dim=32, mlp_dim=128, depth=1, qk="rms", rotary="pairs")
XL = LayerSpec(dim=2048, heads=16, kv_heads=16, head_dim=128, mlp_dim=5120, depth=24)


class Trunk(Module):
    """An encoder and a decoder of the same small size."""

    def __init__(self, key: jax.Array) -> None:
        e, d = jax.random.split(key)
        self.encoder = Encoder(SPEC, e)
        self.decoder = CrossDecoder(dataclasses.replace(SPEC, context=SPEC.dim, causal=True), d)


def embedded(lengths: np.ndarray, places: int, seed: int) -> Embedded:
    """Examples of these lengths, padded to `places`, one a row."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), places)
    angle = rng.normal(size=(*shape, SPEC.head_dim // 2))
    angles = tuple(jnp.asarray(f(angle), jnp.float32) for f in (np.cos, np.sin))
    zeros = jnp.zeros(shape, jnp.int32)
    mask = jnp.arange(places) < jnp.asarray(lengths)[:, None]
    return Embedded(jnp.asarray(rng.normal(size=(*shape, SPEC.dim)), jnp.float32), mask, angles, zeros, zeros)


def make_step(rows: np.ndarray | None, num_rows: int) -> Callable[..., Any]:
    """(trunk, inputs, targets) -> loss and gradient; `rows`: where each example is packed, None: unpacked."""

    def loss(trunk: Trunk, inputs: Embedded, targets: Embedded) -> jax.Array:
        mask = targets.mask
        if rows is None:
            states = trunk.decoder(targets, trunk.encoder(inputs), inputs)
        else:
            ends = zip((inputs, targets), BUDGETS, strict=True)
            plans = [plan_packing([e.mask], jnp.asarray(rows), num_rows=num_rows, length=n) for e, n in ends]
            packed, aims = (pack_embedded(p, e) for p, e in zip(plans, (inputs, targets), strict=True))
            out = trunk.decoder(aims, trunk.encoder(packed), packed)
            [states] = unpack(plans[1], out, (mask.shape[1],))
        return jnp.where(mask[..., None], states**2, 0.0).sum()

    return jax.value_and_grad(loss)


def trunk_flops(spec: LayerSpec, inputs: int, targets: int) -> float:
    """Of one row forwards, a multiply and an add for each product: every place counts, whatever it holds."""
    own, mlp = 8 * spec.dim**2, 6 * spec.dim * spec.mlp_dim
    encoder = inputs * (own + mlp + 4 * inputs * spec.dim)
    # Causal attention is half of all pairs. Keys and values of the cross-attention are made at the inputs.
    decoder = targets * (own + mlp + 2 * targets * spec.dim + own / 2 + 4 * inputs * spec.dim) + inputs * own / 2
    return float(spec.depth * (encoder + decoder))


def first_rows(packer: Any, lengths: np.ndarray, examples: int) -> list[list[int]]:
    """Whole rows of the packer's stream, as numbers of examples, until there are `examples` of them."""
    rows: list[list[int]] = []
    for number, sizes in enumerate(lengths):
        row = packer.add(number, tuple(map(int, sizes)))
        if row is not None:
            rows.append([key for key, _ in row])
            if sum(map(len, rows)) >= examples:
                return rows
    raise MioError(f"{len(lengths)} examples did not fill rows of {examples}; give more")


def sizes_of(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return sizes


def measure_step(lengths: np.ndarray, examples: int, rounds: int) -> dict[str, Any]:
    """Time and FLOPs an example of each kind: every kind has the whole rows that its own packer closed first."""
    packers = {
        "unpacked": None,
        "pairs": StreamingPairer(BUDGETS, POOL, sizes_of),
        "window": WindowPacker(BUDGETS, WINDOW, sizes_of),
    }
    trunk = Trunk(jax.random.key(0))
    kinds: dict[str, tuple[Any, tuple[Any, ...], int]] = {}
    found: dict[str, dict[str, float]] = {}
    for name, packer in packers.items():
        rows = [[n] for n in range(examples)] if packer is None else first_rows(packer, lengths, examples)
        chosen = [n for row in rows for n in row]
        taken = lengths[chosen]
        ends = tuple(embedded(taken[:, side], UNPACKED[side], side) for side in range(2))
        where = None if packer is None else assign_rows([len(row) for row in rows], len(chosen))
        compiled = jax.jit(make_step(where, len(rows))).lower(trunk, *ends).compile()
        kinds[name] = compiled, (trunk, *ends), len(chosen)
        room = UNPACKED if packer is None else BUDGETS
        useful = float(taken.sum() / (len(rows) * sum(room)))
        found[name] = {"examples": len(chosen), "rows": len(rows), "useful": useful}
        print(f"  compiled {name}: {len(chosen)} examples in {len(rows)} rows", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(rounds + 1):
        for name, (compiled, args, count) in kinds.items():
            began = time.perf_counter()
            jax.block_until_ready(compiled(*args))
            if turn:  # the first one warms up
                seconds[name].append((time.perf_counter() - began) / count)
    for name, times in seconds.items():
        found[name]["ms_an_example"] = 1e3 * statistics.median(times)
    for name in ("pairs", "window"):
        found[name]["speed_up"] = found["unpacked"]["ms_an_example"] / found[name]["ms_an_example"]
        for size, spec in (("this trunk", SPEC), ("XL", XL)):
            packed = trunk_flops(spec, *BUDGETS) * found[name]["rows"] / found[name]["examples"]
            found[name][f"fewer_flops_{size}"] = trunk_flops(spec, *UNPACKED) / packed
    return {name: {key: round(value, 3) for key, value in values.items()} for name, values in found.items()}


def measure_fill(lengths: np.ndarray) -> dict[str, Any]:
    """Useful share of both budgets, and how many examples share a row, over the middle of a long stream."""
    mean = lengths.mean(0)
    result: dict[str, Any] = {
        "unpacked": {"in_out": [round(float(x), 4) for x in mean / UNPACKED], "examples_a_row": 1}
    }
    for name, pack in (("pairs", ours_pairs(POOL)), ("window", ours_window(WINDOW))):
        rows = pack(lengths, BUDGETS)
        fill = mean_fill(rows, lengths, BUDGETS)
        result[name] = {"in_out": fill, "examples_a_row": round(fill[0] * BUDGETS[0] / float(mean[0]), 2)}
    useful = {name: np.dot(r["in_out"], UNPACKED if name == "unpacked" else BUDGETS) for name, r in result.items()}
    for name, r in result.items():
        r["useful"] = round(float(useful[name] / sum(UNPACKED if name == "unpacked" else BUDGETS)), 4)
    for name in ("pairs", "window"):
        result[name]["more_useful_than_unpacked"] = round(result[name]["useful"] / result["unpacked"]["useful"], 2)
        cheaper = trunk_flops(XL, *UNPACKED) / trunk_flops(XL, *BUDGETS) * result[name]["examples_a_row"]
        result[name]["fewer_flops_XL"] = round(cheaper, 2)
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=12, help="of a step, about: rows are whole")
    parser.add_argument("--stream", type=int, default=6000, help="examples that the packers are fed for the fill")
    parser.add_argument("--rounds", type=int, default=5, help="timed turns of each kind")
    parser.add_argument("--fill-only", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    result: dict[str, Any] = {"budgets": BUDGETS, "unpacked": UNPACKED, "claim": CLAIM, "fill": {}, "step": {}}
    for share, spread in SHAPES:
        name = f"log-normal {share} {spread}"
        lengths = log_normal(BUDGETS, share, spread, args.stream)
        result["fill"][name] = measure_fill(lengths)
        for kind, values in result["fill"][name].items():
            print(f"{name:<20} {kind:<9} {values}", flush=True)
    if not args.fill_only:
        share, spread = SHAPES[0]
        lengths = log_normal(BUDGETS, share, spread, args.stream)
        result["step"] = {
            "lengths": f"log-normal {share} {spread}",
            **measure_step(lengths, args.examples, args.rounds),
        }
        for kind in ("unpacked", "pairs", "window"):
            print(f"{kind:<9} {result['step'][kind]}")
        result["hardware"] = hardware()
    write_result(result, args.out)
    return 0


if __name__ == "__main__":
    run(main)
