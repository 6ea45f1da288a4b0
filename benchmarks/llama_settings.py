"""The models and the work of the LLaMA benchmarks, and the least time that a machine needs for decoding them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mio_jax.recipes.mio.presets import preset
from mio_jax.recipes.mio.tokens import published_space

FLOAT = 4  # bytes of a float32, the type of all weights and caches
STREAM = 128 << 20  # bytes that a core reads in one measurement: more than any cache holds
SIDE = 2048  # of the matrices whose product is timed


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of the model and of the work; both workers are built from it."""

    vocab_size: int = 8192
    dim: int = 256
    depth: int = 4
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    mlp_dim: int = 704
    rope_theta: float = 10_000.0
    tie_embeddings: bool = False
    init_std: float = 0.05  # logits far enough apart for greedy choices to be the same on both sides
    rows: int = 4
    length: int = 512
    prompt: int = 64
    new_tokens: int = 128
    generate_rows: tuple[int, ...] = (1, 16)
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    checked_steps: int = 3
    seed: int = 0

    @property
    def layer_weights(self) -> int:
        """Weights of the layers' matrices: what prefill multiplies each place of a prompt by."""
        attention = 2 * self.dim * self.head_dim * (self.heads + self.kv_heads)
        return self.depth * (attention + 3 * self.dim * self.mlp_dim)

    @property
    def step_weights(self) -> int:
        """Weights that one decoding step reads: the layers' matrices and the output table."""
        return self.layer_weights + self.vocab_size * self.dim

    def cache_bytes(self, rows: int) -> int:
        """Bytes of keys and values that a step reads, averaged over the new tokens, if it reads only filled places."""
        filled = self.prompt + self.new_tokens // 2
        return 2 * FLOAT * self.depth * rows * self.kv_heads * self.head_dim * filled


SETTINGS = {
    "small": Setting(),
    "issue": Setting(
        vocab_size=32_000, dim=512, depth=8, heads=8, kv_heads=8, head_dim=64, mlp_dim=1408, init_std=0.02, rows=2
    ),
    # The smallest published-shape preset over MIO's 76,294 ids; work that both sides can repeat in a few minutes.
    "mio_0.1b": Setting(
        vocab_size=published_space().vocab_size,
        **{name: value for name, value in dataclasses.asdict(preset("mio_0.1b")).items() if name != "norm_eps"},
        rows=1,
        length=256,
        prompt=32,
        new_tokens=32,
        generate_rows=(1, 8, 32),
        checked_steps=2,
    ),
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """What the cores in use can do at best, measured with numpy."""

    bandwidth: float  # bytes a second: of a copy (read and written ones) or of a sum of products, whichever has more
    flops: float  # a second, of a float32 matrix product

    @classmethod
    def measure(cls, threads: int) -> Machine:
        """Best of a few: what disturbs only makes it slower."""
        pairs = [(np.ones(STREAM // FLOAT, np.float32), np.zeros(STREAM // FLOAT, np.float32)) for _ in range(threads)]
        a = np.random.default_rng(0).random((SIDE, SIDE), np.float32)

        def stream(work: Callable[[np.ndarray, np.ndarray], object]) -> float:
            return _seconds(lambda: list(pool.map(lambda pair: work(*pair), pairs)))

        with ThreadPoolExecutor(threads) as pool:
            streams = [stream(work) for work in (lambda x, y: np.copyto(y, x), np.dot) for _ in range(5)]
        products = [_seconds(lambda: a @ a) for _ in range(5)]
        return cls(2 * threads * STREAM / min(streams), 2 * SIDE**3 / min(products))

    def decoding_bounds(self, setting: Setting, rows: int) -> dict[str, float]:
        """Seconds below which prompts and `setting.new_tokens` steps of `rows` rows cannot go with float32 weights that
        no cache holds: by the bytes that must be read, and by the products that must be made (without attention's).
        `prefill`, which is arithmetic, is a part of both."""
        bytes_read = FLOAT * setting.step_weights + setting.cache_bytes(rows)
        prefill = 2 * rows * setting.prompt * setting.layer_weights / self.flops
        return {
            "prefill": prefill,
            "by_memory": prefill + setting.new_tokens * bytes_read / self.bandwidth,
            "by_arithmetic": prefill + setting.new_tokens * 2 * rows * setting.step_weights / self.flops,
        }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def decoding_report(
    setting: Setting, machines: list[Machine], seconds: dict[str, dict[str, list[float]]]
) -> dict[str, object]:
    """What bounds decoding: for each number of rows the two floors, ours beside them, and the ratio that they allow.

    Args:
      machines: measured at several moments; the best counts.
      seconds: as of `llama_vs_transformers.measure`.
    """
    best = Machine(max(m.bandwidth for m in machines), max(m.flops for m in machines))
    report: dict[str, object] = {
        "gigabytes_per_second": round(best.bandwidth / 1e9, 1),
        "matmul_gflops": round(best.flops / 1e9, 1),
    }
    for rows in setting.generate_rows:
        name = f"generate_batch{rows}"
        medians = {worker: statistics.median(values) for worker, values in seconds[name].items()}
        bounds = best.decoding_bounds(setting, rows)
        floor = max(bounds.values())
        report[name] = {
            **{f"seconds_{key}": round(value, 4) for key, value in bounds.items()},
            "ours_over_floor": round(medians["mio_jax"] / floor, 2),
            "best_possible_ratio": round(medians["transformers"] / floor, 2),
        }
    return report
