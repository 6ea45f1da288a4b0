"""Image embeddings drawn by a StableUnCLIP pipeline, an optional extra (`mio_jax[unclip]`: diffusers and torch).

The pipeline's weights are the user's (`stable-diffusion-2-1-unclip`); settings are those of section 6.3. The published
code draws one latent for all pictures without a seed; here the seed gives it, so that a picture can be drawn again.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError

STEPS, GUIDANCE, NOISE_LEVEL = 20, 10.0, 0
EXTRA = "pip install 'mio_jax[unclip]'"


def is_pipeline(folder: str | os.PathLike[str]) -> bool:
    """Whether there is a folder in diffusers' layout."""
    return (Path(folder) / "model_index.json").is_file()


@functools.lru_cache(maxsize=1)
def pipeline_at(folder: Path) -> Any:
    """`load_pipeline`, once, on a GPU in float16 where PyTorch has one."""
    try:
        import torch
    except ImportError:
        return load_pipeline(folder)  # which says what is missing
    gpu = torch.cuda.is_available()
    return load_pipeline(folder, "cuda" if gpu else "cpu", half=gpu)


def load_pipeline(folder: str | os.PathLike[str], device: str = "cpu", half: bool = False) -> Any:
    """The diffusion pipeline in a folder of diffusers' layout. `half`: float16, for a GPU.

    Raises:
      MioError: the extra is not installed, or there is no such pipeline in the folder.
    """
    try:
        import torch
        from diffusers import StableUnCLIPImg2ImgPipeline
    except ImportError as error:
        raise MioError(f"drawing from an image embedding needs diffusers and torch ({error}): {EXTRA}") from error
    if not is_pipeline(folder):
        raise MioError(f"{folder} holds no model_index.json of a pipeline; put stable-diffusion-2-1-unclip there")
    try:
        pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(
            folder, torch_dtype=torch.float16 if half else torch.float32, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise MioError(f"{folder} holds no whole StableUnCLIP pipeline: {error}") from error
    return pipeline.to(device)


def draw(
    embeddings: np.ndarray,
    pipeline: Any,
    *,
    seed: int = 0,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    noise_level: int = NOISE_LEVEL,
) -> np.ndarray:
    """Image embeddings float [n, width] -> pictures uint8 [n, height, width, 3], one after another.

    All start from the same latent, which the seed gives; a picture depends on its embedding and the seed alone. The
    pipeline guides against an embedding of zeros, with an empty text.

    Raises:
      MioError: embeddings of another width than the pipeline's.
    """
    import torch

    embeddings = np.asarray(embeddings, np.float32)
    wanted = pipeline.image_normalizer.mean.shape[-1]
    if embeddings.ndim != 2 or embeddings.shape[1] != wanted:
        raise MioError(f"this pipeline draws from embeddings [n, {wanted}], not from an array {embeddings.shape}")
    device, dtype = pipeline.unet.device, pipeline.unet.dtype
    edge = pipeline.unet.config.sample_size
    drawn = []
    for embedding in embeddings:
        generator = torch.Generator("cpu").manual_seed(seed)
        latents = torch.randn((1, pipeline.unet.config.out_channels, edge, edge), generator=generator)
        made = pipeline(
            prompt="",
            image_embeds=torch.from_numpy(embedding[None]).to(device, dtype),
            latents=latents.to(device, dtype),
            generator=generator,
            num_inference_steps=steps,
            guidance_scale=guidance,
            noise_level=noise_level,
            output_type="np",
        )
        drawn.append(np.round(made.images[0] * 255).astype(np.uint8))
    return np.stack(drawn) if drawn else np.zeros((0, 0, 0, 3), np.uint8)
