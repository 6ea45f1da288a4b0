"""Run by test_sharding.py in a process of its own: five steps of every model on one device and on meshes of eight.

    python tests/train/sharded_steps.py [rest]     # `rest`: the meshes that are left out otherwise

Prints {model: {mesh: {"losses": [...], "table": [shape, spec], "worst": [error, name]}}} as JSON; the partitioner's
warnings go to stderr. After the word CONTROL comes what it says about a move that it can only make by replicating.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mio_jax.config import MeshConfig, ModelConfig, OptimConfig
from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.nn.base import Module, constrain, param, partition_spec
from mio_jax.nn.encoder_decoder import Embedded, Encoder
from mio_jax.nn.layer_parts import LayerSpec
from mio_jax.nn.rotary import rotary_angles
from mio_jax.objectives.cross_entropy import blocked_cross_entropy
from mio_jax.parallel import make_mesh, replicated, rules_of, strip_to
from mio_jax.parallel.rules import axis_table
from mio_jax.protocols import load_recipe
from mio_jax.recipes.unified_io2.presets import preset
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import Loss, make_step

ROWS, LENGTH, VOCAB = 8, 32, 98  # 98 rows: neither 4 nor 8 devices divide them
SPACE = TokenSpace("test", (Block("text", "text", 0, VOCAB),), (), (), bos=1, eos=2, pad=0)
Batch = dict[str, np.ndarray]

MESHES = {
    "one": MeshConfig(data=1),
    "data": MeshConfig(preset="data"),
    "fsdp": MeshConfig(preset="fsdp"),
    "tensor": MeshConfig(preset="tensor"),
    "sequence": MeshConfig(preset="sequence"),
    "multislice": MeshConfig(preset="multislice"),
    "multislice+fsdp": MeshConfig(preset="multislice+fsdp", replica=2),
    "fsdp+tensor": MeshConfig(preset="fsdp+tensor", tensor=4),
    "data+fsdp+tensor": MeshConfig(preset="data+fsdp+tensor", fsdp=2, tensor=2),
    "fsdp+sequence+tensor": MeshConfig(preset="fsdp+sequence+tensor", seq=2, tensor=2),
}


def decoder_batch() -> Batch:
    """Packed rows of three examples and padding."""
    rng = np.random.default_rng(0)
    segments = np.repeat([[1, 1, 2, 2, 2, 3, 3, 0]], ROWS, 0).repeat(LENGTH // 8, 1).astype(np.int32)
    return {
        "tokens": rng.integers(0, VOCAB, (ROWS, LENGTH), dtype=np.int32),
        "positions": np.repeat(np.arange(LENGTH, dtype=np.int32)[None], ROWS, 0),
        "segment_ids": segments,
        "modality_ids": rng.integers(0, 3, (ROWS, LENGTH), dtype=np.int32),
        "loss_weights": rng.integers(0, 2, (ROWS, LENGTH)).astype(np.float32),
    }


def encoder_decoder_batch() -> Batch:
    """Every kind of part of a Unified-IO 2 model, with padding in each; two texts to say in every other row."""
    rng = np.random.default_rng(1)
    spec = preset("unified_io2_tiny")

    def mask(*shape: int) -> np.ndarray:
        return (np.arange(shape[-1]) < rng.integers(shape[-1] // 2, shape[-1] + 1, (*shape[:-1], 1))).astype(np.int32)

    def patches(modality: str, *items: int) -> Batch:
        shape = (ROWS, *items, spec.grid(modality)[0] * spec.grid(modality)[1])
        width = spec.vit(modality.removesuffix("_history")).patch_dim
        ids = np.broadcast_to(np.arange(shape[-1], dtype=np.int32), shape)
        found = {"input": rng.normal(size=(*shape, width)).astype(np.float32), "mask": mask(*shape), "pos_ids": ids}
        return {f"inputs/{modality}/{name}": x for name, x in found.items()}

    places = np.repeat(np.arange(LENGTH, dtype=np.int32)[None], ROWS, 0)
    texts = (places >= LENGTH // 2) & (np.arange(ROWS)[:, None] % 2 == 1)
    said = rng.integers(2, VOCAB, (ROWS, LENGTH), dtype=np.int32)
    batch = {
        "inputs/text/tokens": rng.integers(0, VOCAB, (ROWS, LENGTH), dtype=np.int32),
        "inputs/text/mask": mask(ROWS, LENGTH),
        "inputs/text/pos_ids": places,
        "targets/text/inputs": np.roll(said, 1, axis=1) * (places % (LENGTH // 2) > 0),
        "targets/text/targets": said,
        "targets/text/mask": mask(ROWS, LENGTH),
        "targets/text/pos_ids": places - texts * (LENGTH // 2),
        "targets/text/segment_ids": texts.astype(np.int32),
        "targets/image/loss_mask": mask(ROWS, spec.tokens_of("image")),
    }
    codes = rng.integers(0, 24, (ROWS, spec.tokens_of("image")), dtype=np.int32)
    return batch | patches("image") | patches("image_history", 2) | {"targets/image/codes": codes}


class Reader(Module):
    """An encoder that says what each token was before half of them were hidden."""

    def __init__(self, key: jax.Array) -> None:
        table, encoder = jax.random.split(key)
        # No biases: those of queries and keys have gradients of little but rounding. A ViT before a trunk has them.
        layer = LayerSpec(32, 8, 8, 4, 64, depth=2, norm="layer", qk="rms", mlp="gelu", kv_heads_axis="heads")
        self.embed = param(table, (VOCAB, 32), ("vocab", "embed"), 0.2)
        self.encoder = Encoder(layer, encoder)

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        table = constrain(self.embed[...], "vocab", None)
        x = constrain(table[tokens], "batch", "length", "act_embed")
        rows = Embedded(x, segment_ids != 0, rotary_angles(positions, 4, 1e4), segment_ids, jnp.zeros_like(positions))
        return self.encoder(rows)


def reader_loss(
    model: Reader, batch: dict[str, jax.Array], *, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    hidden = model.hidden(batch["tokens"] * (batch["modality_ids"] > 0), batch["positions"], batch["segment_ids"])
    weights = batch["loss_weights"]
    total, _ = blocked_cross_entropy(hidden, model.embed[...], batch["tokens"], weights, z_loss=z_loss)
    return total, {"weight": weights.sum(), "loss/text": total, "weight/text": weights.sum()}


class Kind(NamedTuple):
    """A kind of model: how it is built and trained, a batch, and the name of a table of `rows` rows."""

    build: Callable[[jax.Array], Any]
    loss: Loss
    batch: Callable[[], Batch]
    table: str = "embed"
    rows: int = VOCAB


def of_recipe(name: str, sizes: ModelConfig, batch: Callable[[], Batch], **table: Any) -> Kind:
    recipe = load_recipe(name)
    spec = recipe.resolve_model(sizes, SPACE)
    return Kind(lambda key: recipe.build_model(spec, key), recipe.loss, batch, **table)


DECODER = ModelConfig(dim=32, depth=2, heads=8, kv_heads=2, head_dim=4, mlp_dim=64)
ENCODER_DECODER = ModelConfig(
    preset="unified_io2_tiny",
    dim=32,
    depth=2,
    heads=8,
    head_dim=4,
    mlp_dim=64,
    input_modalities=("text", "image", "image_history"),  # sound is made of the same parts
    target_modalities=("text", "image"),
)
# The meshes of a kind that are run without `rest`; of the others, all.
FEW = {
    "encoder": ("one", "multislice+fsdp", "fsdp+sequence+tensor"),
    "encoder-decoder": ("one", "fsdp+sequence+tensor"),
}
# Sizes that 8 devices divide. A new kind of model adds its line here, and every mesh is run.
MODELS: dict[str, Callable[[], Kind]] = {
    "decoder": lambda: of_recipe("mio", DECODER, decoder_batch),
    "encoder": lambda: Kind(Reader, reader_loss, decoder_batch),
    "encoder-decoder": lambda: of_recipe(
        "unified_io2", ENCODER_DECODER, encoder_decoder_batch, table="text_table", rows=128
    ),
}


def meshes_of(model: str, rest: bool) -> list[str]:
    """Names of the meshes to run, one device first."""
    few = FEW.get(model, tuple(MESHES))
    return [name for name in MESHES if name == "one" or (name in few) != rest]


def spread(mesh: Any, rules: Any, array: np.ndarray) -> jax.Array:
    """A batch's array on the mesh: split by rows, and by its second dimension where that divides."""
    axes = ("batch", "length", *[None] * (array.ndim - 2))
    sharding = NamedSharding(mesh, partition_spec(axes, axis_table(rules), mesh.shape, array.shape))
    return jax.make_array_from_process_local_data(sharding, array)


def run(name: str, config: MeshConfig, reference: Any = None) -> tuple[dict[str, object], Any]:
    """Five steps -> (what is printed, parameters on the host as the model knows them)."""
    kind = MODELS[name]()
    mesh = make_mesh(config)
    # A parameter whose gradient is nothing but rounding moves by eps' grace: with a tiny one, Adam makes steps of it.
    optim = OptimConfig(learning_rate=1e-2, eps=1e-4)
    with jax.set_mesh(mesh):
        plan = plan_model(kind.build, mesh, rules_of(config))
        optimizer = make_optimizer(optim, plan.axes)
        abstract = abstract_state(plan, optimizer)
        state = new_state(new_params(plan, seed=0), optimizer, abstract)
        step = make_step(plan, optimizer, kind.loss, abstract)
        on_device = {k: spread(mesh, plan.rules, v) for k, v in kind.batch().items()}
        rate = jax.device_put(jnp.float32(1e-2), replicated(mesh))
        losses = []
        first = state["params"][kind.table]
        for _ in range(5):
            with jax.transfer_guard("disallow"):
                state, metrics = step(state, on_device, rate)
            losses.append({k: float(v) for k, v in jax.device_get(metrics).items()})
        assert first.is_deleted(), "the state was not donated"
        moments = state["opt_state"][1].mu[kind.table]
        assert moments.sharding.is_equivalent_to(state["params"][kind.table].sharding, 2), "moments lie elsewhere"
        table = np.asarray(jax.device_get(state["params"][kind.table]))
        assert not table[kind.rows :].any(), "rows of padding have moved"
        params = jax.device_get(strip_to(state["params"], plan.shapes))
    return {
        "losses": losses,
        "table": [list(table.shape), list(state["params"][kind.table].sharding.spec)],
        "worst": [0.0, ""] if reference is None else worst_difference(params, reference),
    }, params


def worst_difference(params: Any, reference: Any) -> list[Any]:
    """The largest |a - b|, relative to the largest |b| of the same parameter, and that parameter's name."""

    def relative(path: Any, a: np.ndarray, b: np.ndarray) -> tuple[float, str]:
        return float(np.abs(a - b).max() / np.abs(b).max()), jax.tree_util.keystr(path, simple=True, separator="/")

    pairs = jax.tree_util.tree_map_with_path(relative, params, reference)
    return list(max(jax.tree.leaves(pairs, is_leaf=lambda x: isinstance(x, tuple))))


def control() -> None:
    """Moves an array from one axis to another and to more devices, which the partitioner does by replicating it."""
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    before = NamedSharding(mesh, PartitionSpec(None, None, "fsdp"))
    after = NamedSharding(mesh, PartitionSpec(("data", "fsdp"), None, None))
    constrain = jax.lax.with_sharding_constraint
    move = jax.jit(lambda x: constrain(jnp.sin(constrain(x * 2, before)), after))
    move.lower(jnp.zeros((8, 32, 32))).compile()


if __name__ == "__main__":
    results: dict[str, dict[str, object]] = {}
    for model in MODELS:
        results[model], whole = {}, None
        for mesh_name in meshes_of(model, "rest" in sys.argv[1:]):
            print("RUN", model, mesh_name, file=sys.stderr, flush=True)
            results[model][mesh_name], params = run(model, MESHES[mesh_name], whole)
            whole = params if whole is None else whole  # of "one", which is the first
    print("CONTROL", file=sys.stderr, flush=True)
    control()
    json.dump(results, sys.stdout)
