"""Unified-IO 2: an encoder-decoder over text, image, audio and their histories.

The public names are those of `mio_jax.protocols.Recipe`, as far as this recipe has them.
"""

from __future__ import annotations

import importlib
from typing import Any

# It shares its name with the module it is in; see `mio_jax.recipes.mio`.
from mio_jax.recipes.unified_io2.directions import directions as directions
from mio_jax.recipes.unified_io2.objective import loss as loss

_EXPORTS = {  # name -> module, imported on first use
    "token_space": "tokens",
    "published_space": "tokens",
    "register_tasks": "tasks",
    "encode": "features",
    "encode_prompt": "features",
    "plain_prompt": "features",
    "encode_answer": "features",
    "parse": "features",
    "corruption": "denoising",
    "rows": "row_arrays",
    "ask": "generation",
    "prompt": "generation",
    "segment": "generation",
    "grammar": "generation",
    "encoded_decoding": "generation",
    "published_sampling": "generation",
    "stop_strings": "generation",
    "task_infos": "runner_table",
    "task_runner": "runner",
    "suite_asks": "runner_table",
    "export_weights": "checkpoint",
    "resolve_model": "model",
    "model_sizes": "model",
    "build_model": "model",
    "import_weights": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
