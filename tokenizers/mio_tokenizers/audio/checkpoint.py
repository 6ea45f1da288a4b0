"""Published SpeechTokenizer checkpoints: their keys <-> the codec's parameters and codebooks, both ways.

A key such as `encoder.model.3.conv.conv.weight_g` is the parameter `encoder.model.3.weight_g` here: the wrappers' names
are left out, everything else is kept. A checkpoint whose keys or shapes do not fit is refused, with the keys named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, split_model
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.rvq import RVQState
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.weights_file import flat_arrays, nested_arrays

QUANTIZER = "quantizer.vq.layers."
WRAPPERS = re.compile(r"\.(conv\.conv|convtr\.convtr|lstm)(?=\.)")
BUFFERS = ("embed", "embed_avg", "cluster_size")


def spec_from_config(config: Mapping[str, Any]) -> CodecSpec:
    """The codec of a published config.json. Raises MioError if it lacks a size."""
    sizes = (
        *("n_filters", "strides", "dimension", "bidirectional", "lstm_layers", "n_residual_layers"),
        *("residual_kernel_size", "dilation_base", "activation"),
    )
    missing = [name for name in (*sizes, "n_q", "codebook_size", "sample_rate") if name not in config]
    if missing:
        raise MioError(f"the codec config lacks {', '.join(missing)}")
    values = {name: config[name] for name in sizes}
    return CodecSpec(
        seanet=SEANetSpec(**values | {"strides": tuple(values["strides"])}),
        n_q=config["n_q"],
        codebook_size=config["codebook_size"],
        sample_rate=config["sample_rate"],
        semantic_dimension=config.get("semantic_dimension", 0),
    )


def config_of(spec: CodecSpec) -> dict[str, Any]:
    """The published config.json of a codec: inverse of `spec_from_config`."""
    seanet = spec.seanet
    return {
        **{name: getattr(seanet, name) for name in ("n_filters", "dimension", "bidirectional", "lstm_layers")},
        **{name: getattr(seanet, name) for name in ("n_residual_layers", "residual_kernel_size", "dilation_base")},
        "strides": list(seanet.strides),
        "activation": seanet.activation,
        **{name: getattr(spec, name) for name in ("n_q", "codebook_size", "sample_rate", "semantic_dimension")},
    }


def read_spec(path: str | Path) -> CodecSpec:
    """`spec_from_config` of a JSON file. Raises MioError if it cannot be read."""
    try:
        return spec_from_config(json.loads(Path(path).read_text()))
    except (OSError, json.JSONDecodeError) as error:
        raise MioError(f"{path} is no readable codec config: {error}") from error


def read_codebooks(arrays: Mapping[str, np.ndarray], prefix: str = QUANTIZER) -> RVQState:
    """Codebooks of `PREFIX{layer}._codebook.{embed,embed_avg,cluster_size,inited}`.

    Raises:
      MioError: keys are missing or unexpected, or a codebook was never fitted to data.
    """
    layers = sum(1 for name in arrays if name.startswith(prefix) and name.endswith("._codebook.embed"))
    names = {f"{prefix}{i}._codebook.{b}" for i in range(layers) for b in (*BUFFERS, "inited")}
    found = {name for name in arrays if name.startswith(prefix)}
    if not layers or found != names:
        odd = sorted(found ^ names) or [f"{prefix}0._codebook.embed"]
        raise MioError(f"the checkpoint's codebooks have missing or unexpected keys: {', '.join(odd[:5])}")
    raw = [i for i in range(layers) if not np.all(arrays[f"{prefix}{i}._codebook.inited"] == 1)]
    if raw:
        raise MioError(f"codebooks {raw} of the checkpoint were never fitted to data (inited is not 1)")
    stacks = (np.stack([arrays[f"{prefix}{i}._codebook.{b}"] for i in range(layers)]) for b in BUFFERS)
    return RVQState(*(jnp.asarray(stack) for stack in stacks))


def import_codec(arrays: Mapping[str, np.ndarray], spec: CodecSpec) -> tuple[Params, RVQState]:
    """Parameters and codebooks of a published checkpoint. Raises MioError listing what does not fit `spec`."""
    books = read_codebooks(arrays)
    shape = (spec.n_q, spec.codebook_size, spec.seanet.dimension)
    if books.embed.shape != shape:
        raise MioError(f"the checkpoint's codebooks are {books.embed.shape}; the config says {shape}")
    plain = {WRAPPERS.sub("", name): array for name, array in arrays.items() if not name.startswith(QUANTIZER)}
    _, abstract = split_model(lambda key: Codec(spec, key))
    return nested_arrays(plain, abstract, "published"), books


def export_codec(params: Params, books: RVQState, spec: CodecSpec) -> dict[str, np.ndarray]:
    """Inverse of `import_codec`, under the published keys. Raises MioError for a codec with tone branches."""
    if spec.tone is not None:
        raise MioError("a codec with tone branches has no published form; set settings.tone to None")
    out = {}
    for name, array in flat_arrays(params).items():
        parts = name.split(".")
        out[".".join([*parts[:-1], *_wrapper(parts, spec), parts[-1]])] = np.asarray(array)
    for buffer in BUFFERS:
        for layer, array in enumerate(np.asarray(getattr(books, buffer))):
            out[f"{QUANTIZER}{layer}._codebook.{buffer}"] = array
            out[f"{QUANTIZER}{layer}._codebook.inited"] = np.ones(1, np.float32)
    return out


def _wrapper(parts: list[str], spec: CodecSpec) -> list[str]:
    """The names that the published code puts before a parameter's own."""
    if parts[-1].endswith("alpha") or parts[0] == "transform":
        return []
    if re.match(r"(weight|bias)_[ih]h_l\d", parts[-1]):
        return ["lstm"]
    per_stage = spec.seanet.n_residual_layers + 2
    first = 1 + bool(spec.seanet.lstm_layers)
    index = int(parts[2])
    upsampling = (
        index >= first and (index - first) % per_stage == 1 and index < first + per_stage * len(spec.seanet.strides)
    )
    if parts[0] == "decoder" and len(parts) == 4 and upsampling:
        return ["convtr", "convtr"]
    return ["conv", "conv"]
