"""Published sizes (spec of the paper's table 1 and of the released weights), and a tiny one for tests and a CPU."""

from __future__ import annotations

import dataclasses
import difflib

from mio_jax.errors import MioError
from mio_jax.nn.resampler import ResamplerSpec
from mio_jax.nn.vit import ViTSpec
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

IMAGE_LATENTS, AUDIO_LATENTS = 32, 16


def _preset(
    dim: int, heads: int, head_dim: int, mlp_dim: int, depth: int, resampler: tuple[int, int, int], qk: str = "rms"
) -> UnifiedIO2Spec:
    """`resampler`: width, heads and feed-forward width; heads are 64 wide."""
    width, resampler_heads, resampler_mlp = resampler
    history = ResamplerSpec(IMAGE_LATENTS, width, resampler_heads, 64, resampler_mlp, qk=qk)
    return UnifiedIO2Spec(
        dim=dim,
        heads=heads,
        head_dim=head_dim,
        mlp_dim=mlp_dim,
        encoder_depth=depth,
        decoder_depth=depth,
        image_history=history,
        audio_history=dataclasses.replace(history, latents=AUDIO_LATENTS),
    )


# Everything small, every kind of part present. Pictures are 64 x 64 (ViT) and 8 x 8 codes, sounds 32 x 16 frames.
_TINY_VIT = ViTSpec(patch_dim=768, dim=64, heads=4, head_dim=16, mlp_dim=128, depth=3, positions=17)
TINY = UnifiedIO2Spec(
    dim=128,
    heads=4,
    head_dim=32,
    mlp_dim=256,
    encoder_depth=3,
    decoder_depth=3,
    image_history=ResamplerSpec(4, 64, 4, 16, 128),
    audio_history=ResamplerSpec(2, 64, 4, 16, 128),
    image_vit=_TINY_VIT,
    audio_vit=dataclasses.replace(
        _TINY_VIT,
        patch_dim=256,
        positions=514,
        extra=2,
        pre_norm=False,
        patch_bias=True,
        norm_eps=1e-6,
        mlp="gelu_tanh",
    ),
    image_positions=(4, 4),
    image_grid=(4, 4),
    image_history_grid=(2, 2),
    target_image_grid=(8, 8),
    target_audio_grid=(8, 4),
    audio_grid=(4, 2),
)

# What `configs/unified_io2/quickstart.py` trains: pictures of 64 x 64 (inputs as 8 x 8 patches, targets as 8 x 8
# codes), sounds of a second (64 frames of 128 mels; targets as 25 frames of 4 codes). Its ViTs start from nothing, so
# they learn.
QUICKSTART = dataclasses.replace(
    TINY,
    encoder_depth=4,
    decoder_depth=5,
    mlp_dim=352,
    image_vit=dataclasses.replace(TINY.image_vit, patch_dim=192, positions=65),
    audio_vit=dataclasses.replace(TINY.audio_vit, positions=34),
    image_positions=(8, 8),
    image_grid=(8, 8),
    image_history_grid=(4, 4),
    audio_grid=(4, 8),
    target_image_grid=(8, 8),
    target_audio_grid=(25, 4),
    input_modalities=("text", "image", "audio"),
    trained_encoders=("image", "audio"),
)

PRESETS: dict[str, UnifiedIO2Spec] = {
    "unified_io2_l": _preset(1024, 16, 64, 2816, 24, (768, 12, 2048)),
    "unified_io2_xl": _preset(2048, 16, 128, 5120, 24, (1024, 16, 4096)),
    "unified_io2_xxl": _preset(3072, 24, 128, 8192, 24, (1024, 16, 4096), qk="cosine"),
    "unified_io2_base": _preset(768, 12, 64, 2048, 12, (768, 12, 3072)),
    "unified_io2_tiny": TINY,
    "unified_io2_quickstart": QUICKSTART,
}


def preset(name: str) -> UnifiedIO2Spec:
    """Raises MioError naming the presets, and the nearest one, if there is none of this name."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise MioError(f"model.preset is {name!r}; there are: {', '.join(PRESETS)}{hint}")
    return dataclasses.replace(PRESETS[name], published=name)
