"""Our side of the SpeechTokenizer benchmark: `encode_batch` and `decode` of the tokenizer that a run uses."""

from __future__ import annotations

import functools
import platform
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.llama_work import serve
from benchmarks.speech_tokenizer_work import SETTING, codes, sounds
from mio_jax.nn.base import init_params
from mio_tokenizers.audio import SpeechTokenizer, rvq
from mio_tokenizers.audio.checkpoint import spec_from_config
from mio_tokenizers.audio.codec import Codec
from mio_tokenizers.audio.speech import SpeechSpec
from mio_tokenizers.base import Audio
from mio_tokenizers.training.checkpoint import write_safetensors


class Side:
    def load(self, folder: str) -> dict[str, Any]:
        """Makes the weights, with codebooks that fit the features they give, and writes them for the peer."""
        spec = spec_from_config(SETTING)
        params = jax.jit(functools.partial(init_params, functools.partial(Codec, spec)))(jax.random.key(0))
        empty = rvq.new_state(spec.n_q, spec.codebook_size, spec.seanet.dimension, jax.random.key(1))
        plain = SpeechTokenizer.from_codec(SpeechSpec(spec, SETTING["layers"]), params, empty)
        features = jax.jit(plain._encoder._fn.features)(plain.weights.params, sounds(8))
        # Rows around the features, finer from layer to layer: no frame lies as near to two of them as rounding is fine.
        shape = (spec.n_q, spec.codebook_size, spec.seanet.dimension)
        finer = jnp.std(features, (0, 1)) * 0.5 ** jnp.arange(spec.n_q)[:, None, None]
        embed = (jax.random.normal(jax.random.key(2), shape) * finer).at[0].add(jnp.mean(features, (0, 1)))
        books = empty._replace(embed=embed, embed_avg=embed)
        self.tokenizer = SpeechTokenizer.from_codec(SpeechSpec(spec, SETTING["layers"]), params, books)
        write_safetensors(Path(folder) / "weights.safetensors", self.tokenizer.published(), {})
        return {}

    def encode(self, rows: int, out: str = "") -> dict[str, Any]:
        given = [Audio(wave, SETTING["sample_rate"]) for wave in sounds(rows)]
        start = time.perf_counter()
        made = self.tokenizer.encode_batch(given)
        seconds = time.perf_counter() - start
        if out:
            np.save(out, np.stack(made))
        return {"seconds": seconds}

    def decode(self, rows: int, out: str = "") -> dict[str, Any]:
        given = list(codes(rows).astype(np.int32))
        start = time.perf_counter()
        made = self.tokenizer.decode_batch(given)
        seconds = time.perf_counter() - start
        if out:
            np.save(out, np.stack([sound.samples for sound in made]))
        return {"seconds": seconds}

    def about(self) -> dict[str, Any]:
        return {"python": platform.python_version(), "jax": jax.__version__}


if __name__ == "__main__":
    jnp.zeros(()).block_until_ready()
    serve(Side())
