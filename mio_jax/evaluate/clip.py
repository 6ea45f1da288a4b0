"""Embeddings of pictures by CLIP (Radford et al. 2021), from a folder of Hugging Face weights of the user's.

The folder is what `save_pretrained` of a CLIPModel or a CLIPVisionModelWithProjection writes: config.json, the weights
(model.safetensors or pytorch_model.bin), and preprocessor_config.json where it differs from CLIP's own. The tower is
`mio_jax.nn.vit.ViT`; what the folder holds of a text tower is left alone.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Module, Params, apply, param, split_model
from mio_jax.nn.linear import linear
from mio_jax.nn.norms import LayerNorm
from mio_jax.nn.vit import ViT, ViTSpec
from mio_tokenizers.weights_check import check_shapes
from mio_tokenizers.weights_file import nested_arrays, read_arrays

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu"}
BICUBIC = 3  # Pillow's number, which preprocessor_config.json has
ROWS = 16  # pictures embedded at once
# What CLIPConfig and CLIPVisionConfig leave out of config.json because it is their default.
DEFAULTS = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "projection_dim": 512,
    "num_channels": 3,
}  # fmt: skip


@dataclass(frozen=True)
class ClipSpec:
    """Sizes of a picture tower, and how pictures are made ready for it: shorter side `resize`, middle `image_size`."""

    vit: ViTSpec
    image_size: int
    patch: int
    features: int
    resize: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD


class ClipTower(Module):
    """Patches of pictures -> embeddings of the class token, normed and projected."""

    def __init__(self, spec: ClipSpec, key: jax.Array) -> None:
        v, p = jax.random.split(key)
        self.vit = ViT(spec.vit, v)
        self.post_norm = LayerNorm(spec.vit.dim, spec.vit.norm_eps)
        self.projection = param(p, (spec.vit.dim, spec.features), ("embed", None), spec.vit.dim**-0.5)

    def __call__(self, patches: jax.Array) -> jax.Array:
        """float32 [B, N, patch * patch * 3] -> [B, features], not brought to length 1."""
        return linear(self.post_norm(self.vit.whole(patches)[:, 0]), self.projection[...])


def read_spec(folder: Path) -> ClipSpec:
    """Raises MioError if the folder's config is no CLIP's, or asks for what is not here."""
    config = _read(folder / CONFIG)
    vision = config.get("vision_config", config if config.get("model_type") == "clip_vision_model" else None)
    if not isinstance(vision, dict):
        raise MioError(
            f"{folder / CONFIG} is of a {config.get('model_type')!r}; CLIP-I takes a folder of CLIP's weights"
        )
    size = {**DEFAULTS, **{name: vision[name] for name in DEFAULTS if name in vision}}
    if "vision_config" in config:  # of the whole model: the projection's width is its own
        size["projection_dim"] = config.get("projection_dim", DEFAULTS["projection_dim"])
    if size["hidden_act"] not in ACTIVATIONS or size["num_channels"] != 3 or size["image_size"] % size["patch_size"]:
        raise MioError(
            f"{folder / CONFIG}: activation {size['hidden_act']!r}, {size['num_channels']} channels, pictures of "
            f"{size['image_size']} in patches of {size['patch_size']}; known are {', '.join(ACTIVATIONS)}, 3 channels, "
            "and whole patches"
        )
    dim, heads, patch = size["hidden_size"], size["num_attention_heads"], size["patch_size"]
    vit = ViTSpec(
        patch_dim=3 * patch**2,
        dim=dim,
        heads=heads,
        head_dim=dim // heads,
        mlp_dim=size["intermediate_size"],
        depth=size["num_hidden_layers"],
        positions=1 + (size["image_size"] // patch) ** 2,
        norm_eps=size["layer_norm_eps"],
        mlp=ACTIVATIONS[size["hidden_act"]],
    )
    return ClipSpec(
        vit, size["image_size"], patch, size["projection_dim"], **_preprocessing(folder, size["image_size"])
    )


def _preprocessing(folder: Path, image_size: int) -> dict[str, Any]:
    """Fields of a `ClipSpec` from preprocessor_config.json. Raises MioError if it asks for another way than CLIP's."""
    given = _read(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    resize, crop = given.get("size", image_size), given.get("crop_size", image_size)
    resize = resize.get("shortest_edge") if isinstance(resize, dict) else resize
    crop = crop.get("height") if isinstance(crop, dict) else crop
    done = all(given.get(f"do_{step}", True) for step in ("resize", "center_crop", "normalize", "rescale"))
    if crop != image_size or not resize or resize < crop or not done or given.get("resample", BICUBIC) != BICUBIC:
        raise MioError(
            f"{folder / PREPROCESSOR} does not make pictures ready as CLIP does: the shorter side to a size, bicubic, "
            f"the middle {image_size} pixels, mean and deviation"
        )
    mean, std = (tuple(given.get(name, usual)) for name, usual in (("image_mean", MEAN), ("image_std", STD)))
    return {"resize": int(resize), "mean": mean, "std": std}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MioError(f"{path} cannot be read ({error}); a folder of CLIP's weights has it") from None
    if not isinstance(found, dict):
        raise MioError(f"{path} is no JSON object")
    return found


def prepare(spec: ClipSpec, picture: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] -> float32 [image_size, image_size, 3], as CLIP's processor does it with Pillow."""
    from PIL import Image

    height, width = picture.shape[:2]
    short, size = min(height, width), spec.image_size
    sides = (int(spec.resize * width / short), int(spec.resize * height / short))
    resized = np.asarray(Image.fromarray(picture).resize(sides, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    middle = resized[top : top + size, left : left + size].astype(np.float32) * np.float32(1 / 255)
    return (middle - np.asarray(spec.mean, np.float32)) / np.asarray(spec.std, np.float32)


def patches_of(pictures: jax.Array, patch: int) -> jax.Array:
    """[B, H, W, 3] -> [B, rows * columns, patch * patch * 3], by rows."""
    b, h, w, c = pictures.shape
    x = pictures.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // patch) * (w // patch), patch * patch * c)


def _pieces(spec: ClipSpec) -> Iterator[tuple[str, str, tuple[int, ...], Callable[[np.ndarray], np.ndarray]]]:
    """(our name, with the layer's number behind it where there is one; CLIP's name; its shape; its array -> ours)."""
    v = spec.vit
    tower, dim = "vision_model.", v.dim
    yield (
        *("vit.embedding", f"{tower}embeddings.patch_embedding.weight", (dim, 3, spec.patch, spec.patch)),
        lambda x: x.transpose(2, 3, 1, 0).reshape(-1, dim),
    )
    yield "vit.tokens", f"{tower}embeddings.class_embedding", (dim,), lambda x: x[None]
    yield "vit.positions", f"{tower}embeddings.position_embedding.weight", (v.positions, dim), np.asarray
    yield "projection", "visual_projection.weight", (spec.features, dim), np.transpose
    norms = {"vit.pre_norm": "pre_layrnorm", "post_norm": "post_layernorm"}
    for ours, theirs in norms.items():
        yield f"{ours}.scale", f"{tower}{theirs}.weight", (dim,), np.asarray
        yield f"{ours}.bias", f"{tower}{theirs}.bias", (dim,), np.asarray
    heads = (v.heads, v.head_dim)
    for i in range(v.depth):
        layer = f"{tower}encoder.layers.{i}."
        for ours, theirs in (("attention_norm", "layer_norm1"), ("mlp_norm", "layer_norm2")):
            yield f"vit.layers.{ours}.scale#{i}", f"{layer}{theirs}.weight", (dim,), np.asarray
            yield f"vit.layers.{ours}.bias#{i}", f"{layer}{theirs}.bias", (dim,), np.asarray
        for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
            name = f"{layer}self_attn.{theirs}_proj"
            yield f"vit.layers.attention.{ours}#{i}", f"{name}.weight", (dim, dim), lambda x: x.T.reshape(dim, *heads)
            yield f"vit.layers.attention.{ours}_bias#{i}", f"{name}.bias", (dim,), np.asarray
        name = f"{layer}self_attn.out_proj"
        yield f"vit.layers.attention.out#{i}", f"{name}.weight", (dim, dim), lambda x: x.T.reshape(*heads, dim)
        yield f"vit.layers.attention.out_bias#{i}", f"{name}.bias", (dim,), np.asarray
        for ours, theirs, shape in (("up", "fc1", (v.mlp_dim, dim)), ("down", "fc2", (dim, v.mlp_dim))):
            yield f"vit.layers.mlp.{ours}#{i}", f"{layer}mlp.{theirs}.weight", shape, np.transpose
            yield f"vit.layers.mlp.{ours}_bias#{i}", f"{layer}mlp.{theirs}.bias", shape[:1], np.asarray


def import_clip(arrays: Mapping[str, np.ndarray], spec: ClipSpec, where: str) -> tuple[Any, Params]:
    """(graphdef, parameters) of a `ClipTower`. Raises MioError listing all arrays that are amiss."""
    own = ("vision_model.", "visual_projection.")
    found = {name: array for name, array in arrays.items() if name.startswith(own) and "position_ids" not in name}
    pieces = list(_pieces(spec))
    check_shapes({n: a.shape for n, a in found.items()}, {name: shape for _, name, shape, _ in pieces}, where)
    stacks: dict[str, list[np.ndarray]] = {}
    for ours, theirs, _, change in pieces:
        stacks.setdefault(ours.partition("#")[0], []).append(change(np.asarray(found[theirs], np.float32)))
    graphdef, abstract = split_model(functools.partial(ClipTower, spec))
    stacked = {name: np.stack(some) if name.startswith("vit.layers.") else some[0] for name, some in stacks.items()}
    return graphdef, nested_arrays(stacked, abstract, "CLIP")


def clip_images(folder: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """The extractor `clip_image` around a folder of weights: uint8 [n, height, width, 3] -> float32 [n, features].

    Raises MioError if the folder lacks something or holds another model.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    files = [folder / name for name in WEIGHTS if (folder / name).is_file()]
    if not files:
        raise MioError(f"{folder} holds no weights of CLIP ({' or '.join(WEIGHTS)})")
    graphdef, params = import_clip(read_arrays(files[0]), spec, str(files[0]))

    @jax.jit
    def embed(params: Params, pictures: jax.Array) -> jax.Array:
        return apply(graphdef, params)(patches_of(pictures, spec.patch))

    def run(pictures: np.ndarray) -> np.ndarray:
        out = []
        for at in range(0, len(pictures), ROWS):
            ready = np.stack([prepare(spec, picture) for picture in pictures[at : at + ROWS]])
            out.append(np.asarray(embed(params, jnp.asarray(ready))))
        return np.concatenate(out)

    return run
