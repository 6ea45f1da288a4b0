"""What both sides of the Unified-IO 2 benchmark are given: sizes, and batches of all modalities.

Imported by the interpreters of both sides, so it needs nothing but numpy. Every place of every sequence is filled, so
that the peer needs no padding masks.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

PATCH = {"image": 768, "audio": 256}  # numbers of a patch of a picture, and of a log-mel
RESERVED = 2  # ids of the image and audio tables before the codes

SETTING: dict[str, Any] = {
    "dim": 256,
    "heads": 4,
    "head_dim": 64,
    "mlp_dim": 704,
    "depth": 4,  # of the encoder, and of the decoder
    "vit": {"dim": 192, "heads": 3, "head_dim": 64, "mlp_dim": 768, "depth": 4},
    "resampler": {"dim": 192, "heads": 3, "head_dim": 64, "mlp_dim": 512},
    "latents": {"image": 16, "audio": 8},
    "grids": {"image": [8, 8], "audio": [8, 4]},  # of input patches, and of those of an item of a history
    "codes": {"image": [16, 16], "audio": [16, 8]},
    "items": 2,  # of each history
    "text": 64,  # tokens of the prompt, and of the answer
    "vocab": {"text": 8192, "image": 4224, "audio": 2176},
    "ast_rows": 514,
    "rows": 4,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "z_loss": 1e-4,
    "checked_steps": 3,
    "seed": 0,
}


def batch(setting: dict[str, Any], step: int) -> dict[str, np.ndarray]:
    """One batch, keyed as in the recipe's README: int32 ids and masks, float32 patches."""
    rng = np.random.default_rng([setting["seed"], step])
    rows, text, items = setting["rows"], setting["text"], setting["items"]

    def counted(*shape: int) -> np.ndarray:
        return np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape).copy()

    def ids(kind: str, count: int) -> np.ndarray:
        return rng.integers(RESERVED, setting["vocab"][kind], (rows, count), dtype=np.int32)

    out = {"inputs/text/tokens": ids("text", text), "inputs/text/pos_ids": counted(rows, text)}
    for kind, (height, width) in setting["grids"].items():
        patches = height * width
        for name, shape in ((kind, (rows, patches)), (f"{kind}_history", (rows, items, patches))):
            out[f"inputs/{name}/input"] = rng.standard_normal((*shape, PATCH[kind]), dtype=np.float32)
            out[f"inputs/{name}/pos_ids"] = counted(*shape)
    said = ids("text", text)
    out |= {"targets/text/targets": said, "targets/text/pos_ids": counted(rows, text)}
    out["targets/text/inputs"] = np.concatenate([np.zeros_like(said[:, :1]), said[:, :-1]], axis=1)
    out["targets/text/segment_ids"] = np.zeros_like(said)
    for kind, grid in setting["codes"].items():
        out[f"targets/{kind}/codes"] = ids(kind, math.prod(grid)) - RESERVED
    for name in [name for name in out if name.endswith("/pos_ids")]:
        out[name.replace("pos_ids", "mask")] = np.ones_like(out[name])
    return out


def tokens(setting: dict[str, Any]) -> int:
    """Places of the trunk's two sequences in one batch."""
    grids, codes = (sum(math.prod(grid) for grid in setting[name].values()) for name in ("grids", "codes"))
    histories = setting["items"] * sum(setting["latents"].values())
    return int(setting["rows"] * (2 * setting["text"] + grids + histories + codes))
