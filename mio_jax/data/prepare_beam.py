"""Preparing records with Apache Beam: the same shard jobs, spread over a runner's workers.

Every worker writes its shards straight into the records folder, which must therefore be one that all of them see. A
shard that a runner tries twice, or gives to two workers at once, is the same bytes under the same name, moved there
whole; a pipeline that is started again makes only the shards that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mio_jax.config import RunConfig, TokenizersConfig
from mio_jax.data.shards import ShardJob, write_shard
from mio_jax.errors import MioError


def make_shard(job: ShardJob, tokenizers: TokenizersConfig) -> int:
    """On a worker: loads the tokenizers (once a process; loading is cached) and makes the shard -> its examples.

    The tokenizers run in batches on whatever accelerator the worker's JAX finds. The runner's page shows the counters
    `mio/examples` and `mio/set_aside`.
    """
    from apache_beam.metrics import Metrics

    from mio_tokenizers import load_set

    aside = write_shard(job, load_set(tokenizers))
    examples = job.stop - job.start
    Metrics.counter("mio", "examples").inc(examples)
    Metrics.counter("mio", "set_aside").inc(aside)
    return examples


def beam_runner(arguments: Sequence[str] = ()) -> Callable[..., None]:
    """A runner for `prepare`; `arguments` are Beam's own, such as --runner=DataflowRunner --project=...

    Raises MioError if Beam is not installed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise MioError("--runner beam needs Apache Beam: pip install 'mio_jax[beam]'") from error

    def run(jobs: Sequence[ShardJob], config: RunConfig, tokenizers: Any, advance: Callable[[int], None]) -> None:
        if not jobs:
            return
        with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
            _ = (
                pipeline
                | "Shards" >> beam.Create(list(jobs))
                | "Spread" >> beam.Reshuffle()
                | "Encode" >> beam.Map(make_shard, config.tokenizers)
            )
        missing = [job.path for job in jobs if not job.done]
        if missing:
            raise MioError(
                f"Beam finished, but {len(missing)} shards are not in the records folder, such as {missing[0]}: "
                "data.records_dir must be a folder that every worker can write"
            )
        advance(sum(job.stop - job.start for job in jobs))

    return run
