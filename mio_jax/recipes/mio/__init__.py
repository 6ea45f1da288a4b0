"""MIO: one decoder over text, image and speech tokens. The public names are those of `mio_jax.protocols.Recipe`."""

from __future__ import annotations

import importlib
from typing import Any

# These two share their name with the module they are in. Imported here, the functions win for good: Python binds a
# submodule to its package only when it is first loaded.
from mio_jax.recipes.mio.directions import directions as directions
from mio_jax.recipes.mio.loss import loss as loss

_EXPORTS = {  # name -> module; imported on first use, so that a prompt needs no JAX and a model needs no registry
    "token_space": "tokens",
    "mio_token_space": "tokens",
    "published_token_space": "tokens",
    "space_from_checkpoint": "tokens",
    "published_space": "tokens",
    "check_weights": "tokens",
    "write_added_tokens": "growth",
    "resolve_model": "model",
    "model_sizes": "model",
    "build_model": "model",
    "register_tasks": "tasks",
    "encode": "features",
    "corruption": "denoising",
    "encode_prompt": "features",
    "encode_answer": "features",
    "rows": "features",
    "parse": "features",
    "chat_format": "chat",
    "grammar": "generation",
    "prompt": "generation",
    "segment": "generation",
    "ask": "generation",
    "published_sampling": "generation",
    "published_prompt_tokens": "generation",
    "stop_strings": "generation",
    "task_infos": "runner_table",
    "suite_asks": "runner_table",
    "task_runner": "runner",
    "import_weights": "checkpoint",
    "export_weights": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value
