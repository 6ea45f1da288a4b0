"""The training loop shared by all learned tokenizers: one jitted step, resumable, the same on CPU and GPU.

The data set lives on the device as a pytree of arrays, and each step draws its batch inside the jitted function with a
key made from (seed, step). A step's batch therefore depends on nothing but the seed and the step number, and a
resumed training sees exactly what an unbroken one would have seen.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mio_jax.errors import MioError
from mio_tokenizers.training.checkpoint import restore_state, save_state
from mio_tokenizers.training.config import TokenizerOptimConfig
from mio_tokenizers.training.progress import ProgressLine

Tree = Any


class StepAux(NamedTuple):
    """What a loss function returns beside the loss."""

    extra: Tree  # state that no gradient reaches: EMA codebooks, usage counts
    metrics: dict[str, jax.Array]  # scalars to log
    outputs: Tree = None  # what the adversary looks at (real and reconstructed media, ...)


# loss_fn(params, extra, batch, key, adversary_params or None) -> (loss, StepAux)
LossFn = Callable[[Tree, Tree, Tree, jax.Array, Tree], tuple[jax.Array, StepAux]]
# sample(data, key) -> batch; runs inside the jitted step
SampleFn = Callable[[Tree, jax.Array], Tree]


@dataclass(frozen=True)
class Adversary:
    """A second parameter group trained against the first from step `start` on (discriminators).

    `loss(adversary_params, outputs, key) -> (loss, metrics)`; `outputs` is `StepAux.outputs` with gradients stopped.
    Before `start` the loss function gets None for its adversary. From `start` to `alone_until`, every
    `alone_every`-th step (0: none) trains the adversary alone: it catches up with what it judges.
    """

    params: Tree
    optimizer: optax.GradientTransformation
    loss: Callable[[Tree, Tree, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
    start: int = 0
    alone_every: int = 0
    alone_until: int = 0

    def alone(self, index: int) -> bool:
        """Whether step `index` (from 0) leaves the first group as it is."""
        since = index - self.start
        return self.alone_every > 0 and since >= 0 and index < self.alone_until and (since + 1) % self.alone_every == 0


class Fitted(NamedTuple):
    params: Tree
    extra: Tree
    adversary: Tree  # parameters, or None
    metrics: dict[str, float]  # of the last logged step


def make_optimizer(config: TokenizerOptimConfig) -> optax.GradientTransformation:
    """Clipped AdamW with linear warmup and cosine decay over `config.steps`. Vectors and scalars are not decayed."""
    warmup = min(config.warmup_steps, max(config.steps - 1, 0))
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=config.learning_rate / (warmup + 1),
        peak_value=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=config.steps,
        end_value=config.learning_rate * config.final_ratio,
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(
            schedule,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
        ),
    )


def _make_step(
    loss_fn: LossFn,
    sample: SampleFn,
    optimizer: optax.GradientTransformation,
    adversary: Adversary | None,
    alone: bool = False,
) -> Callable[[dict[str, Tree], Tree, jax.Array], tuple[dict[str, Tree], dict[str, jax.Array]]]:
    """step(state, data, key) -> (state, metrics); `adversary` None: the first group alone is trained; `alone`: the
    adversary alone is."""

    def step(state: dict[str, Tree], data: Tree, key: jax.Array) -> tuple[dict[str, Tree], dict[str, jax.Array]]:
        sample_key, loss_key, adversary_key = jax.random.split(key, 3)
        batch = sample(data, sample_key)
        opponent = None if adversary is None else state["adversary"]
        if alone:
            loss, aux = loss_fn(state["params"], state["extra"], batch, loss_key, opponent)
            metrics, new = {"loss": loss, **aux.metrics}, state
        else:
            (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(
                state["params"], state["extra"], batch, loss_key, opponent
            )
            updates, opt = optimizer.update(grads, state["opt"], state["params"])
            metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **aux.metrics}
            new = state | {"params": optax.apply_updates(state["params"], updates), "opt": opt, "extra": aux.extra}
        if adversary is not None:
            outputs = jax.lax.stop_gradient(aux.outputs)
            (adv_loss, adv_metrics), adv_grads = jax.value_and_grad(adversary.loss, has_aux=True)(
                opponent, outputs, adversary_key
            )
            updates, adv_opt = adversary.optimizer.update(adv_grads, state["adversary_opt"], opponent)
            new = new | {"adversary": optax.apply_updates(opponent, updates), "adversary_opt": adv_opt}
            metrics |= {"adversary_loss": adv_loss, **adv_metrics}
        return new, metrics

    return jax.jit(step, donate_argnums=0)


class _MetricsFile:
    """metrics.jsonl, whose rows past the restored step are cut off so that a resumed file equals an unbroken one."""

    def __init__(self, path: Path, restored_step: int) -> None:
        rows = []
        if restored_step and path.exists():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:
                    break  # the row that was being written when the process was killed
                if row["step"] <= restored_step:
                    rows.append(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(row + "\n" for row in rows))
        self._path = path

    def write(self, row: dict[str, float]) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")


def fit(
    loss_fn: LossFn,
    params: Tree,
    data: Tree,
    sample: SampleFn,
    optimizer: optax.GradientTransformation,
    steps: int,
    *,
    work_dir: str | Path,
    extra: Tree = None,
    adversary: Adversary | None = None,
    seed: int = 0,
    checkpoint_every: int = 500,
    log_every: int = 20,
    label: str = "train",
    identity: dict[str, Any] | None = None,
    stop_after: int | None = None,
    feed: Callable[[int], Tree] | None = None,
) -> Fitted:
    """Trains for `steps` steps, or continues the training that `work_dir` holds.

    Args:
      params, extra: pytrees of float32 arrays: trained by gradient, and changed by `loss_fn` itself.
      data: pytree of numpy arrays, put on the device once.
      work_dir: receives `state.safetensors` (every `checkpoint_every` steps and at the end) and `metrics.jsonl`.
      identity: JSON that must be equal in a resumed training (the configuration).
      stop_after: return after this step as if killed there, state saved (used to test resumption).
      feed: for media too large for the device: what `sample` gets in the place of `data` at a step, by its index from
        0. It must depend on nothing else.

    Raises:
      MioError: the loss is not finite, the checkpoint is of another configuration, or the disk is full.
    """
    work_dir = Path(work_dir)
    identity = {"steps": steps, "seed": seed} | (identity or {})
    # Copies, since the step donates its state and the caller keeps its arrays.
    state: dict[str, Tree] = {
        "params": jax.tree.map(jnp.array, params),
        "opt": optimizer.init(params),
        "extra": jax.tree.map(jnp.array, extra),
    }
    if adversary is not None:
        state |= {
            "adversary": jax.tree.map(jnp.array, adversary.params),
            "adversary_opt": adversary.optimizer.init(adversary.params),
        }
    first = 0
    restored = restore_state(work_dir, state, identity)
    if restored is not None:
        first, state = restored
    metrics_file = _MetricsFile(work_dir / "metrics.jsonl", first)
    data = jax.tree.map(jnp.asarray, data)
    root = jax.random.key(seed)
    plain = _make_step(loss_fn, sample, optimizer, None)
    against = _make_step(loss_fn, sample, optimizer, adversary) if adversary is not None else plain
    judged = _make_step(loss_fn, sample, optimizer, adversary, alone=True)
    progress = ProgressLine(steps, label, start=first)
    last: dict[str, float] = {}
    began = time.monotonic()
    for index in range(first, steps):
        step_fn = plain
        if adversary is not None and index >= adversary.start:
            step_fn = judged if adversary.alone(index) else against
        given = data if feed is None else feed(index)
        state, metrics = step_fn(state, given, jax.random.fold_in(root, index))
        done = index + 1
        stop = stop_after is not None and done >= stop_after
        save = done % checkpoint_every == 0 or done == steps or stop
        log = done % log_every == 0 or done in (1, steps)
        if save or log:
            last = {name: float(value) for name, value in metrics.items()}
            bad = sorted(name for name, value in last.items() if not math.isfinite(value))
            if bad:
                raise MioError(f"{label}: {', '.join(bad)} is not finite at step {done}; lower optim.learning_rate")
        if log:
            metrics_file.write({"step": done, **last, "wall_s": round(time.monotonic() - began, 3)})
            progress.show(done, last)
        if save:
            save_state(work_dir, done, state, identity)
        if stop:
            break
    progress.close()
    return Fitted(state["params"], state["extra"], state.get("adversary"), last)
