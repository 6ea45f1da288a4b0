"""Embeddings through a StableUnCLIP pipeline of random weights, where the extra `unclip` is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_tokenizers.image.seed.unclip import draw, load_pipeline

WIDTH, EDGE = 16, 16


def tiny_pipeline(folder: Path) -> Any:
    """All parts of the published pipeline at the smallest sizes, saved in diffusers' layout."""
    import diffusers as d
    import torch
    import transformers as t
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    torch.manual_seed(0)
    words = folder / "words"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "a": 3}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = t.CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"))
    tokenizer.model_max_length = 8
    shared = {"hidden_size": WIDTH, "projection_dim": WIDTH, "intermediate_size": 8, "num_attention_heads": 2}
    shared |= {"num_hidden_layers": 1}
    text = t.CLIPTextConfig(
        **shared, vocab_size=4, max_position_embeddings=8, bos_token_id=0, eos_token_id=1, pad_token_id=1
    )
    unet = d.UNet2DConditionModel(
        sample_size=EDGE,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        attention_head_dim=(2, 4),
        class_embed_type="projection",
        projection_class_embeddings_input_dim=2 * WIDTH,
        cross_attention_dim=WIDTH,
        layers_per_block=1,
    )
    pipeline = d.StableUnCLIPImg2ImgPipeline(
        feature_extractor=t.CLIPImageProcessor(crop_size=8, size=8),
        image_encoder=t.CLIPVisionModelWithProjection(t.CLIPVisionConfig(**shared, image_size=8, patch_size=4)),
        image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=WIDTH),
        image_noising_scheduler=d.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=tokenizer,
        text_encoder=t.CLIPTextModel(text),
        unet=unet,
        scheduler=d.DDIMScheduler(set_alpha_to_one=False, steps_offset=1),
        vae=d.AutoencoderKL(),
    )
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries below, which are not ours
def test_embeddings_are_drawn_and_drawn_again(tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="pip install -e .[unclip]")
    pipeline = load_pipeline(tiny_pipeline(tmp_path))
    embeddings = np.random.default_rng(0).standard_normal((2, WIDTH)).astype(np.float32)
    first, again, other = (draw(embeddings, pipeline, steps=2, seed=seed) for seed in (0, 0, 1))
    assert (first.dtype, first.shape) == (np.uint8, (2, EDGE, EDGE, 3))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any(), "the embedding says what is drawn"
    with pytest.raises(MioError, match=r"embeddings \[n, 16\], not from an array \(2, 3\)"):
        draw(embeddings[:, :3], pipeline)
    with pytest.raises(MioError, match=r"holds no model_index\.json"):
        load_pipeline(tmp_path)
