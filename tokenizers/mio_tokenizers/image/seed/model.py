"""The SEED tokenizer's network (specification section 7): picture -> causal tokens -> code vectors -> image embedding.

Shape letters: B pictures, Q tokens of a picture, D width of the Q-Former, F numbers of the embedding.
"""

from __future__ import annotations

import jax

from mio_jax.nn.base import Module, param
from mio_jax.nn.norms import LayerNorm
from mio_jax.nn.vit import ViT
from mio_tokenizers.image.seed.heads import Blocks, MLPHead, ReverseHead, TaskLayer
from mio_tokenizers.image.seed.qformer import QFormer
from mio_tokenizers.image.seed.settings import VISION_NORM_EPS, SeedSettings
from mio_tokenizers.layers import space_to_depth

QUERY_STD = 0.02


class Trunk(Module):
    """What both stages of training share: vision tower, its norm, queries, causal Q-Former."""

    def __init__(self, settings: SeedSettings, key: jax.Array) -> None:
        v, t, q = jax.random.split(key, 3)
        self.visual_encoder = ViT(settings.vit, v)
        self.ln_vision = LayerNorm(settings.vit_dim, VISION_NORM_EPS)
        self.query_tokens = param(t, (settings.queries, settings.hidden), (None, "embed"), QUERY_STD)
        self.qformer = QFormer(settings, settings.vit_dim, q, causal_at=settings.queries)
        self.patch_size = settings.patch_size

    def patches(self, pictures: jax.Array) -> jax.Array:
        """[B, size, size, 3] -> [B, patches in raster order, numbers of a patch]."""
        x = space_to_depth(pictures, self.patch_size)
        return x.reshape(len(x), -1, x.shape[-1])

    def see(self, pictures: jax.Array) -> jax.Array:
        """Standardised pictures [B, size, size, 3] -> tokens of the vision tower, normed, [B, 1 + patches, vit_dim]."""
        return self.ln_vision(self.visual_encoder.whole(self.patches(pictures)))

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Standardised pictures [B, size, size, 3] -> causal tokens [B, Q, D]."""
        return self.qformer(self.query_tokens[...], self.see(pictures))


class SeedModel(Module):
    """All of it but the codebook, which lies beside it; satisfies `mio_tokenizers.vq_tokenizer.VQModel`.

    What it rebuilds from code vectors is no picture but an image embedding, for a decoder that draws.
    """

    def __init__(self, settings: SeedSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 6)
        hidden, code = settings.hidden, settings.codebook_dim
        self.trunk = Trunk(settings, keys[0])
        self.encode_task = TaskLayer(hidden, hidden, code, keys[1])
        self.decode_task = TaskLayer(code, code, hidden, keys[2])
        self.blocks = Blocks(settings, keys[3])  # rebuild the causal tokens: for training alone
        self.blocks_image = Blocks(settings, keys[4])
        self.head = (MLPHead if settings.head == "mlp" else ReverseHead)(settings, keys[5])

    def latents(self, pictures: jax.Array) -> jax.Array:
        """Standardised pictures -> what is quantised, [B, Q, codebook_dim]."""
        return self.encode_task(self.trunk(pictures))

    def causal_tokens(self, vectors: jax.Array) -> jax.Array:
        """Code vectors [B, Q, codebook_dim] -> the Q-Former's states as well as they can be rebuilt, [B, Q, D]."""
        return self.blocks(self.decode_task(vectors))

    def rebuild(self, vectors: jax.Array) -> jax.Array:
        """Code vectors [B, Q, codebook_dim] -> image embedding [B, F]."""
        return self.head(self.blocks_image(self.decode_task(vectors)))
