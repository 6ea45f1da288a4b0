"""A run from its config to its last checkpoint: stages in order, finished ones skipped, an interrupted one resumed.

Every stage starts from the last one's parameters with a fresh optimizer, schedule and data stream. Everything random
follows from the config's seed, the stage's number and the step, so a run that was killed and started again, however
often, has the losses of one that was not.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np

from mio_jax import __version__
from mio_jax.config import OptimConfig, RunConfig, StageConfig
from mio_jax.config_loading import to_dict
from mio_jax.errors import MioError
from mio_jax.parallel import batch_sharding, make_mesh, mesh_summary, replicated, rules_of
from mio_jax.parallel.distributed import meet, rows_here
from mio_jax.parallel.flops import mfu_per_speed
from mio_jax.train import schedule
from mio_jax.train.checkpoint import Checkpoints, latest_step
from mio_jax.train.frozen_base import FrozenBase, frozen_base, stored_paths
from mio_jax.train.loop import Loader, StageLoop
from mio_jax.train.metrics import MetricsWriter
from mio_jax.train.observe import Observer
from mio_jax.train.offload import rest_on_host
from mio_jax.train.optimizer import Optimizer, make_optimizer
from mio_jax.train.processes import Alone, SilentMetrics, SilentProgress, Together, place
from mio_jax.train.progress import RunProgress, short
from mio_jax.train.run import Parts, assemble, corruption, starting_params
from mio_jax.train.run_dir import check_tokenizers, checkpoint_dir, open_run, stage_dir
from mio_jax.train.signals import StopRequest
from mio_jax.train.state import Plan, State, abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import Step, make_step
from mio_jax.train.trace import Steps
from mio_jax.train.tracking import Tracker, WandbTracker
from mio_jax.train.versions import versions


def train(config: RunConfig, profile: Steps | None = None) -> None:
    """Trains what is left of a run; returns when all of its stages are finished.

    Args:
      config: the run.
      profile: steps of the run of which a profiler trace is written to `<run_dir>/profile`.

    Raises:
      MioError: a config that does not fit the machine, the data or the run directory; see the message.
      Stopped: SIGTERM or Ctrl-C; a checkpoint has been saved.
    """
    began = time.monotonic()
    config = config.with_steps()
    parts = assemble(config)  # before there is a folder: what is not at hand leaves none behind
    with open_run(config) as run_dir:
        reached = [latest_step(checkpoint_dir(config, i)) for i in range(len(config.stages))]
        meet("mio_jax: every process has seen the checkpoints")  # before one of them makes a folder
        say = _nothing if jax.process_index() else functools.partial(print, flush=True)
        first = first_unfinished(config, reached)
        total = sum(stage.steps for stage in config.stages)
        if first is None:
            say(f"run {run_dir} is finished: {len(config.stages)} stages, {total} steps")
            return
        check_tokenizers(run_dir, dict(parts.tokenizers.fingerprints), write=jax.process_index() == 0)
        mesh = make_mesh(config.mesh)
        with jax.set_mesh(mesh), StopRequest() as stop:
            plan = plan_model(parts.build, mesh, rules_of(config.mesh), config.model.param_dtype, config.model.lora)
            several = f", {jax.process_count()} processes" if jax.process_count() > 1 else ""
            say(
                f"run {run_dir}: {short(plan.parameter_count)} parameters on {mesh_summary(mesh)}{several}, "
                f"{len(config.stages)} stages, {total} steps"
            )
            done = sum(stage.steps for stage in config.stages[:first]) + (reached[first] or 0)
            tracker = WandbTracker(config) if config.log.wandb and jax.process_index() == 0 else None
            observer = Observer(run_dir, began, done, total, profile, write=jax.process_index() == 0)
            try:
                _Training(config, parts, plan, stop, observer, tracker).run(first, reached)
            finally:
                observer.close()
                if tracker:
                    tracker.close()
        say(f"run {run_dir} is finished: {total} steps in {len(config.stages)} stages")


def _nothing(text: str) -> None: ...


def first_unfinished(config: RunConfig, reached: list[int | None]) -> int | None:
    """The number of the first stage without its last checkpoint; None if all have it.

    Raises:
      MioError: a later stage has checkpoints already, which were made from parameters that are gone.
    """
    for i, stage in enumerate(config.stages):
        if reached[i] == stage.steps:
            continue
        for later in range(i + 1, len(config.stages)):
            if reached[later] is not None:
                raise MioError(
                    f"{stage_dir(config, later)} has checkpoints, but stage {stage.name!r} before it is not finished; "
                    "delete that folder to train it again"
                )
        return i
    return None


def stage_seed(seed: int, index: int) -> int:
    """The seed of a stage's data stream."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


class _Training:
    """The stages of one process's life: what they share, and how one follows another."""

    def __init__(
        self,
        config: RunConfig,
        parts: Parts,
        plan: Plan,
        stop: StopRequest,
        observer: Observer,
        tracker: Tracker | None,
    ) -> None:
        self._config, self._parts, self._plan, self._stop = config, parts, plan, stop
        self._observer, self._tracker = observer, tracker
        self._versions = versions()
        self._first = jax.process_index() == 0
        progress = RunProgress if self._first else SilentProgress
        self._progress = progress([(s.name, s.steps, s.rows) for s in config.stages])
        self._peers = Together(plan.mesh) if jax.process_count() > 1 else Alone()
        self._base: FrozenBase | None = None  # what is not in the checkpoints
        self._compiled: dict[tuple[OptimConfig, int], tuple[Optimizer, State, Step]] = {}
        for stage in config.stages:  # what does not fit the mesh or the model is said before anything is trained
            batch_sharding(plan.mesh, stage.rows // stage.micro_batches, config.data.length, plan.rules)
            make_optimizer(stage.optim, plan.axes)
            corruption(config, stage, parts)

    def run(self, first: int, reached: list[int | None]) -> None:
        params = self._start_params(first, reached)
        for index in range(len(self._config.stages)):
            if index < first:
                self._progress.note(f"{self._title(index)}: finished before")
            else:
                params = self._stage(index, params, reached[index] or 0)

    def _title(self, index: int) -> str:
        return f"stage {index + 1}/{len(self._config.stages)} {self._config.stages[index].name}"

    def _start_params(self, first: int, reached: list[int | None]) -> Any:
        """Parameters that stage `first` starts from; None if it has a checkpoint of its own to go on from."""
        stored, params = stored_paths(self._config, self._plan), None
        if stored or (first == 0 and reached[0] is None and self._config.start_from):
            params = starting_params(self._config, self._plan, self._parts)
            self._base = frozen_base(self._config, self._plan, stored, params)
        if reached[first] is not None:
            return None
        if first == 0:
            return new_params(self._plan, self._config.seed) if params is None else params
        padding = self._plan.padding
        with Checkpoints(checkpoint_dir(self._config, first - 1), padding=padding, base=self._base) as checkpoints:
            return checkpoints.restore_params(self._config.stages[first - 1].steps, self._plan.params)

    def _machinery(self, stage: StageConfig) -> tuple[Optimizer, State, Step]:
        """Optimizer, abstract state and compiled step; shared by stages that differ only in their schedule."""
        default, optim = OptimConfig(), stage.optim
        names = schedule.FIELDS  # these are arguments of the step
        key = dataclasses.replace(optim, **{name: getattr(default, name) for name in names}), stage.micro_batches
        if key not in self._compiled:
            optimizer = make_optimizer(optim, self._plan.axes)
            abstract = abstract_state(self._plan, optimizer)
            if self._config.mesh.offload_optimizer:
                abstract["opt_state"] = rest_on_host(abstract["opt_state"], self._plan.mesh)
            loss = functools.partial(self._parts.recipe.loss, z_loss=optim.z_loss)
            step = make_step(self._plan, optimizer, loss, abstract, stage.micro_batches)
            self._compiled[key] = optimizer, abstract, step
        return self._compiled[key]

    def _stage(self, index: int, params: Any, done: int) -> Any:
        """Trains stage `index` from after step `done` and returns its parameters."""
        config, stage, plan = self._config, self._config.stages[index], self._plan
        optimizer, abstract, step = self._machinery(stage)
        before = sum(s.steps for s in config.stages[:index])
        sharding = batch_sharding(plan.mesh, stage.rows, config.data.length, plan.rules)
        whole = replicated(plan.mesh)
        loader = self._loader(index, rows_here(sharding, stage.rows, config.data.length))
        folder = stage_dir(config, index)
        with Checkpoints(checkpoint_dir(config, index), config.checkpoint, plan.padding, self._base) as checkpoints:
            if done:
                state, position = checkpoints.restore(done, abstract)
                loader.set_state(position)
                self._progress.note(f"{self._title(index)}: going on from step {done} of {stage.steps}")
            else:
                state = new_state(params, optimizer, abstract)
                self._progress.note(f"{self._title(index)}: {stage.steps} steps of {stage.rows} rows")
            loop = StageLoop(
                index=index,
                name=stage.name,
                steps=stage.steps,
                first_global=before,
                step=self._observer.step(step),
                place=functools.partial(place, sharding=sharding, rows=stage.rows, length=config.data.length),
                rate=lambda n: _scalar(schedule.learning_rate(stage.optim, stage.steps, n), whole),
                save_every=config.checkpoint.every_steps,
                log_every=config.log.every_steps,
                max_in_a_row=stage.optim.guard.max_in_a_row,
                note={
                    "version": __version__,
                    "versions": self._versions,
                    "stage": stage.name,
                    "seed": config.seed,  # of parameters, data and everything else that is random
                    "processes": jax.process_count(),
                    "config": to_dict(config),
                },
                best_metric=config.checkpoint.best_metric if config.checkpoint.keep_best else "",
                peers=self._peers,
                mfu_per_speed=mfu_per_speed(
                    self._parts.recipe.model_sizes(self._parts.spec), config.data.length, plan.mesh
                ),
            )
            writer: MetricsWriter | SilentMetrics = SilentMetrics(folder)
            if self._first:
                writer = MetricsWriter(folder, done, before + done, config.log.tensorboard, self._tracker)
            watched, books = self._observer.loader(loader), self._observer.checkpoints(checkpoints)
            try:
                state = loop.run(state, done, watched, books, writer, self._progress, self._stop)
            finally:
                writer.close()
                loader.close()
        return state["params"]

    def _loader(self, index: int, mine: list[int]) -> Loader:
        from mio_jax.data.loader import make_loader

        config, stage, parts = self._config, self._config.stages[index], self._parts
        parts.recipe.register_tasks(config.data.records_dir, config.data.added)
        encode = functools.partial(
            parts.recipe.encode,
            tokenizers=parts.tokenizers,
            space=parts.space,
            supervise=stage.supervise,
            system=config.data.system_prompt,
        )
        return make_loader(
            config,
            stage,
            encode,
            corrupt=corruption(config, stage, parts),
            seed=stage_seed(config.seed, index),
            row_format=parts.recipe.rows(config),
            mine=mine,
            fingerprints=parts.tokenizers.fingerprints,
        )


def _scalar(value: float, sharding: Any) -> tuple[float, jax.Array]:
    return value, jax.make_array_from_callback((), sharding, lambda index: np.float32(value))
