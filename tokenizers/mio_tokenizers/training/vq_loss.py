"""Training of any model with one codebook: reconstruction, codebook and adversarial losses (Esser et al. 2021).

Media are float32 [b, h, w, channels]. The codebook follows moving averages, or a loss of its own.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mio_jax.config import require, require_choice
from mio_jax.nn.base import Params, apply, init_params, split_model
from mio_tokenizers.quantize import (
    Codebook,
    codebook_loss,
    nearest,
    new_codebook,
    perplexity,
    straight_through,
    update_codebook,
)
from mio_tokenizers.training.image_losses import PatchDiscriminator, reconstruction_losses
from mio_tokenizers.training.loop import Adversary, LossFn, StepAux
from mio_tokenizers.training.perceptual import Perceptual, Watched
from mio_tokenizers.training.style_discriminator import StyleDiscriminator
from mio_tokenizers.vq_tokenizer import VQSettings, code_vectors

LARGEST_FACTOR = 1e4  # of the adaptive weight


@dataclass(frozen=True)
class AdversaryConfig:
    """The discriminator and when it takes part. Times are shares of all steps."""

    weight: float = 0.0  # 0: no discriminator
    adaptive: bool = True  # scale the weight by how strongly both losses pull at one layer of the decoder
    kind: str = "patch"  # or "style", which judges the whole medium
    loss: str = "softplus"  # or "hinge"
    width: int = 48
    learning_rate: float = 1e-3
    start: float = 0.1
    alone_every: int = 3  # until `alone_until`, every so many steps train the discriminator only; 0: none
    alone_until: float = 0.2

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"loss.adversary.weight is {self.weight}; it must be 0 or more")
        require_choice("loss.adversary.kind", self.kind, ("patch", "style"))
        require_choice("loss.adversary.loss", self.loss, ("softplus", "hinge"))
        require(self.width > 0, f"loss.adversary.width is {self.width}; it must be positive")
        require(self.learning_rate > 0, f"loss.adversary.learning_rate is {self.learning_rate}; it must be positive")
        require(0 <= self.start < 1, f"loss.adversary.start is {self.start}; it must be in [0, 1)")
        require(
            self.alone_every != 1 and self.alone_every >= 0,
            f"loss.adversary.alone_every is {self.alone_every}; it must be 0, or 2 or more",
        )
        require(0 <= self.alone_until <= 1, f"loss.adversary.alone_until is {self.alone_until}; it must be in [0, 1]")


@dataclass(frozen=True)
class VQLossConfig:
    """Weights of the losses (see `image_losses.reconstruction_losses`) and how the codebook learns.

    `perceptual` is the weight of LPIPS as VQGAN was published; the published ViT-VQGAN has 0.1 and VGGish. It takes
    part where `perceptual_weights` names the network's files (see `perceptual.read_perceptual`).
    """

    l1: float = 0.0
    l2: float = 1.0
    edge: float = 0.0
    multiscale: float = 0.0
    edge_strength: float = 0.0
    perceptual: float = 1.0
    perceptual_weights: str = ""  # files of the user's, separated by commas; "": off
    quantisation: float = 1.0  # of the whole loss between vectors and codes
    commitment: float = 0.25  # within it, of the vectors' way to their codes
    codebook: str = "loss"  # or "ema": moving averages, and codes that nothing uses are given to vectors of the batch
    codebook_decay: float = 0.95
    revive_below: float = 0.03  # of the mean use of a code
    adversary: AdversaryConfig = AdversaryConfig()

    def __post_init__(self) -> None:
        names = ("l1", "l2", "edge", "multiscale", "edge_strength", "perceptual", "quantisation", "commitment")
        for name in (*names, "revive_below"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require_choice("loss.codebook", self.codebook, ("loss", "ema"))
        require(0 < self.codebook_decay < 1, f"loss.codebook_decay is {self.codebook_decay}; it must be in (0, 1)")


def first_state(build: Any, settings: VQSettings, loss: VQLossConfig, seed: int) -> tuple[Params, Any]:
    """(params, extra) of a new model: {"model", and "codebook" if a loss trains it}; else the codebook is extra."""
    # The hardware generator: XLA compiles threefry, unrolled once for every parameter, longer than the training step.
    model = jax.jit(functools.partial(init_params, build))(jax.random.key(seed, impl="rbg"))
    key = jax.random.fold_in(jax.random.key(seed), 1)
    if loss.codebook == "ema":
        return {"model": model}, new_codebook(key, settings.codes, settings.code_dim, unit=settings.unit_codes)
    bound = 1 / settings.codes
    codes = jax.random.uniform(key, (settings.codes, settings.code_dim), jnp.float32, -bound, bound)
    return {"model": model, "codebook": codes}, {}


def learned_codebook(params: Params, extra: Any) -> jax.Array:
    """The codebook of a trained state, float32 [codes, code_dim]."""
    return extra.codes if isinstance(extra, Codebook) else params["codebook"]


def adversarial_losses(kind: str, real: jax.Array, made: jax.Array) -> jax.Array:
    """What a discriminator minimises: high scores for real media, low ones for made ones."""
    if kind == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made))
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(made))


def fooling_loss(kind: str, made: jax.Array) -> jax.Array:
    """What the model minimises against it."""
    return -jnp.mean(made) if kind == "hinge" else jnp.mean(jax.nn.softplus(-made))


def make_loss(
    loss: VQLossConfig,
    settings: VQSettings,
    graphdef: Any,
    discriminator: Any,
    pivot: tuple[str, ...],
    network: Perceptual | None = None,
) -> LossFn:
    """The loss of one batch.

    Args:
      pivot: path of the decoder's weight at which the adaptive weight compares the losses' pulls.
      network: of the perceptual loss; then batches are `Watched`.
    """

    def judge(output: jax.Array, batch: jax.Array, arrays: Any, adversary: Params | None) -> tuple[jax.Array, Any, Any]:
        """(weighted reconstruction loss, its terms, loss for being found out or None)."""
        terms = reconstruction_losses(output, batch, loss.edge_strength)
        if network is not None:
            terms["perceptual"] = jnp.mean(network(arrays, output, batch))
        terms = {name: value for name, value in terms.items() if getattr(loss, name)}
        total = sum((getattr(loss, name) * value for name, value in terms.items()), jnp.zeros(()))
        if adversary is None:
            return total, terms, None
        return total, terms, fooling_loss(loss.adversary.loss, apply(discriminator, adversary)(output))

    def factor(params: Params, vectors: jax.Array, batch: jax.Array, arrays: Any, adversary: Params) -> jax.Array:
        """|pull of the reconstruction| / |pull of the adversary| at the pivot."""

        def both(weight: jax.Array) -> jax.Array:
            output = apply(graphdef, _replaced(params, pivot, weight)).rebuild(vectors)
            total, _, fooled = judge(output, batch, arrays, adversary)
            return jnp.stack([total, fooled])

        _, back = jax.vjp(both, functools.reduce(lambda tree, name: tree[name], pivot, params))
        rebuild, fool = (jnp.linalg.norm(back(one)[0]) for one in jnp.eye(2))
        return jnp.clip(rebuild / (fool + 1e-4), 0, LARGEST_FACTOR)

    def loss_fn(
        params: Params, extra: Any, batch: Any, key: jax.Array, adversary: Params | None
    ) -> tuple[jax.Array, StepAux]:
        batch, arrays = batch if isinstance(batch, Watched) else (batch, None)
        model = apply(graphdef, params["model"])
        latents = model.latents(batch)
        rows = code_vectors(settings, learned_codebook(params, extra))
        chosen = nearest(jax.lax.stop_gradient(latents), jax.lax.stop_gradient(rows))
        quantised = rows[chosen]
        vectors = straight_through(latents, quantised)
        output = model.rebuild(vectors)
        total, terms, fooled = judge(output, batch, arrays, adversary)
        if loss.codebook == "ema":
            terms["quantisation"] = loss.commitment * jnp.mean((latents - jax.lax.stop_gradient(quantised)) ** 2)
        else:
            terms["quantisation"] = codebook_loss(latents, quantised, beta=loss.commitment)
        total += loss.quantisation * terms["quantisation"]
        metrics = dict(terms)
        if adversary is not None:
            weight = jnp.asarray(loss.adversary.weight)
            if loss.adversary.adaptive:
                weight *= factor(*jax.lax.stop_gradient((params["model"], vectors, batch, arrays, adversary)))
            total += jax.lax.stop_gradient(weight) * fooled
            metrics |= {"fool": fooled, "fool_weight": weight}
        if loss.codebook == "ema":
            flat = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
            extra, metrics["revived"] = update_codebook(
                extra,
                flat,
                chosen.reshape(-1),
                key,
                decay=loss.codebook_decay,
                revive_below=loss.revive_below,
                unit=settings.unit_codes,
            )
        metrics["perplexity"] = perplexity(chosen, settings.codes)
        return total, StepAux(extra, metrics, {"real": batch, "made": output})

    return loss_fn


def _replaced(tree: Params, path: tuple[str, ...], leaf: jax.Array) -> Params:
    name, *rest = path
    return {**tree, name: _replaced(tree[name], tuple(rest), leaf) if rest else leaf}


def make_adversary(
    config: AdversaryConfig, steps: int, seed: int, size: tuple[int, int], channels: int
) -> tuple[Any, Adversary | None]:
    """(graphdef of the discriminator, the second parameter group), or (None, None) where it has no weight."""
    if not config.weight:
        return None, None
    if config.kind == "patch":
        build: Any = functools.partial(PatchDiscriminator, config.width, channels=channels)
    else:
        build = functools.partial(StyleDiscriminator, config.width, channels=channels, size=size)
    graphdef, _ = split_model(build)

    def loss(params: Params, outputs: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        discriminator = apply(graphdef, params)
        real, made = discriminator(outputs["real"]), discriminator(outputs["made"])
        metrics = {"real_score": jnp.mean(real), "made_score": jnp.mean(made)}
        return adversarial_losses(config.loss, real, made), metrics

    key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), 2)
    params = jax.jit(functools.partial(init_params, build))(key)
    optimizer = optax.adam(config.learning_rate, b1=0.5, b2=0.9)
    start, until = int(config.start * steps), int(config.alone_until * steps)
    return graphdef, Adversary(params, optimizer, loss, start, config.alone_every, until)
