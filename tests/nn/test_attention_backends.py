"""Prefix masks, rows split over devices, and the kernels of others: each beside the XLA path."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mio_jax.errors import MioError
from mio_jax.nn.attention import MaskSpec, attention
from mio_jax.nn.attention_choice import Case, choose
from mio_jax.nn.base import axis_rules
from mio_jax.nn.fused_attention import cudnn_serves, padded, splash_attention
from tests.nn.test_attention import draw, packed

RULES = {"batch": ("data",), "length": ("seq",), "heads": ("tensor",), "kv_heads": ("tensor",), "kv": None}
See = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def mesh(**sizes: int) -> jax.sharding.Mesh:
    count = int(np.prod(list(sizes.values())))
    auto = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=auto, devices=jax.devices()[:count])


def prefixes(segments: jax.Array) -> jax.Array:
    """The first few tokens of every segment."""
    starts = np.asarray(segments) != np.pad(np.asarray(segments), ((0, 0), (1, 0)))[:, :-1]
    return jnp.asarray(np.stack([np.convolve(row, np.ones(9))[: row.size] > 0 for row in starts]))


def results(see: See, tensors: list[jax.Array]) -> list[jax.Array]:
    """Output, and the gradients of a sum of it with unequal weights."""
    probe = jnp.sin(jnp.arange(tensors[0].size).reshape(tensors[0].shape))

    def total(*x: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = see(*x)
        return jnp.sum(out.astype(jnp.float32) * probe), out

    gradients, out = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*tensors)
    return [out, *gradients]


def front(backend: str, causal: bool, segments: jax.Array | None, prefix: jax.Array | None) -> See:
    def see(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        given: dict[str, Any] = {"q_segments": segments, "kv_segments": segments, "prefix": prefix}
        return attention(q, k, v, mask=MaskSpec(causal), backend=backend, **given)

    return see


def test_prefix_against_a_loop() -> None:
    q, k, v = draw(24)
    segments = packed(24)
    prefix = prefixes(segments)
    ours = front("xla", True, segments, prefix)(q, k, v)
    s, free = np.asarray(segments), np.asarray(prefix)
    assert free.any()
    assert not free.all()
    for b, t in np.ndindex(s.shape):
        sees = [i for i in range(24) if (i <= t or free[b, i]) and s[b, i] == s[b, t] != 0]
        for h in range(4):
            if not sees:
                assert not np.asarray(ours[b, t, h]).any()
                continue
            score = np.asarray(k)[b, sees, h // 2] @ np.asarray(q)[b, t, h] / np.sqrt(q.shape[-1])
            p = np.exp(score - score.max())
            np.testing.assert_allclose(ours[b, t, h], p / p.sum() @ np.asarray(v)[b, sees, h // 2], atol=2e-6)


@pytest.mark.parametrize("segmented", [True, False])
def test_chunked_prefix_equals_xla(segmented: bool) -> None:
    tensors, segments = draw(137), packed(137)
    prefix, given = prefixes(segments), segments if segmented else None
    for ours, theirs in zip(
        results(front("chunked", True, given, prefix), tensors),
        results(front("xla", True, given, prefix), tensors),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=5e-6)


@pytest.mark.parametrize(
    ("sizes", "causal", "masked"),
    [
        ({"seq": 4}, True, True),
        ({"data": 2, "seq": 2, "tensor": 2}, True, True),  # one key head a device
        ({"seq": 2, "tensor": 4}, True, True),  # two key heads on four devices
        ({"seq": 2}, False, False),
        ({"seq": 2}, True, False),
    ],
)
def test_ring_equals_xla(sizes: dict[str, int], causal: bool, masked: bool) -> None:
    tensors = draw(32)
    segments = packed(32) if masked else None
    prefix = prefixes(packed(32)) if masked else None
    wanted = results(front("xla", causal, segments, prefix), tensors)
    with jax.set_mesh(mesh(**sizes)), axis_rules(RULES):
        for backend in ("ring", "auto"):
            for ours, theirs in zip(results(front(backend, causal, segments, prefix), tensors), wanted, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=5e-6)


def test_ring_never_holds_a_whole_row_of_keys() -> None:
    tensors = [x.repeat(8, axis=1) for x in draw(32)]
    with jax.set_mesh(mesh(seq=8)), axis_rules(RULES):
        see = front("auto", True, None, None)
        text = jax.jit(jax.grad(lambda q, k, v: see(q, k, v).sum(), argnums=(0, 1, 2))).lower(*tensors).compile()
    assert "collective-permute" in text.as_text()
    assert "all-gather" not in text.as_text()
    whole = jax.jit(lambda q, k, v: front("xla", True, None, None)(q, k, v)).lower(*tensors).compile()
    assert text.memory_analysis().temp_size_in_bytes < whole.memory_analysis().temp_size_in_bytes / 4


@pytest.mark.parametrize(
    ("causal", "segmented", "length"), [(True, True, 256), (False, False, 256), (True, True, 200), (False, False, 200)]
)
def test_splash_equals_xla_in_the_interpreter(causal: bool, segmented: bool, length: int) -> None:
    tensors = draw(length, heads=2, kv_heads=1, head_dim=128, batch=1)
    segments = packed(length, batch=1) if segmented else None

    def see(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return splash_attention(q, k, v, segments, segments, None, causal, interpret=True)

    for ours, theirs in zip(results(see, tensors), results(front("xla", causal, segments, None), tensors), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("segmented", [True, False])
def test_splash_serves_attention_to_another_row(segmented: bool) -> None:
    (q, _, _), (_, k, v) = (draw(n, heads=2, kv_heads=1, head_dim=128, batch=1) for n in (200, 300))
    own, theirs = (packed(n, batch=1) for n in (200, 300)) if segmented else (None, None)
    if segmented:
        own = jnp.where(jnp.arange(200) < 9, 77, own)  # a segment that the keys do not have

    def see(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return splash_attention(q, k, v, own, theirs, None, False, interpret=True)

    def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention(q, k, v, mask=MaskSpec(False), q_segments=own, kv_segments=theirs, backend="xla")

    for ours, wanted in zip(results(see, [q, k, v]), results(plain, [q, k, v]), strict=True):
        np.testing.assert_allclose(ours, wanted, atol=2e-5)
    assert not segmented or not np.asarray(see(q, k, v))[:, :9].any()


def test_rows_are_padded_to_large_blocks_where_that_costs_little() -> None:
    assert [padded(n) for n in (2800, 2048, 1000, 600, 200, 8)] == [
        *((3072, 512), (2048, 512), (1024, 512), (640, 128), (256, 128), (128, 128)),
    ]


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        (Case("cpu", "float32", 4096, 128), "chunked"),
        (Case("cpu", "bfloat16", 16, 128, segments=True, prefix=True), "chunked"),
        (Case("tpu", "bfloat16", 2800, 128, segments=True), "splash"),
        (Case("tpu", "bfloat16", 512, 64), "splash"),
        (Case("tpu", "bfloat16", 384, 128), "xla"),
        (Case("tpu", "bfloat16", 2800, 80), "chunked"),
        (Case("tpu", "bfloat16", 2800, 128, prefix=True), "chunked"),
        (Case("tpu", "float32", 2800, 128), "chunked"),
        (Case("tpu", "bfloat16", 2800, 128, split_rows=True), "ring"),
        (Case("tpu", "bfloat16", 2800, 128, self_attention=False), "xla"),
        (Case("tpu", "bfloat16", 1280, 64, self_attention=False, other_row=True, kv_length=864), "splash"),
        (Case("tpu", "bfloat16", 1280, 64, self_attention=False, other_row=True, kv_length=64), "xla"),
        (Case("tpu", "bfloat16", 1280, 64, self_attention=False, other_row=True, split_rows=True), "xla"),
        (Case("gpu", "bfloat16", 1280, 64, self_attention=False, other_row=True), "xla"),
        (Case("gpu", "bfloat16", 2800, 128, segments=True), "cudnn"),
        (Case("gpu", "float16", 64, 40), "cudnn"),
        (Case("gpu", "bfloat16", 32768, 128), "cudnn"),
        (Case("gpu", "bfloat16", 32768, 128, segments=True), "chunked"),
        (Case("gpu", "bfloat16", 2801, 128, prefix=True), "chunked"),
        (Case("gpu", "bfloat16", 2800, 256), "chunked"),
        (Case("gpu", "bfloat16", 512, 36), "xla"),
        (Case("gpu", "float32", 512, 128), "xla"),
        (Case("gpu", "bfloat16", 2800, 128, flash_gpu=False), "chunked"),
    ],
)
def test_auto_takes_the_kernel_of_the_device_where_it_fits(case: Case, backend: str) -> None:
    assert choose(case) == backend


@pytest.mark.parametrize(
    ("capability", "serves"), [("9.0", True), ("8.6", True), ("7.5", False), ("gfx942", False), (None, False)]
)
def test_cudnn_serves_recent_gpus_of_nvidia(
    monkeypatch: pytest.MonkeyPatch, capability: str | None, serves: bool
) -> None:
    device = SimpleNamespace() if capability is None else SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert cudnn_serves() is serves


def test_auto_lowers_to_the_kernel_for_a_tpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("attention", "fused_attention"):
        monkeypatch.setattr(f"mio_jax.nn.{module}.platform", lambda: "tpu")
    segments = packed(600)
    tensors = [x.astype(jnp.bfloat16) for x in draw(600, head_dim=128)]

    def text(prefix: jax.Array | None) -> str:
        lowered = jax.jit(front("auto", True, segments, prefix)).trace(*tensors).lower(lowering_platforms=("tpu",))
        return str(lowered.as_text())

    assert "tpu_custom_call" in text(None)
    assert "tpu_custom_call" not in text(prefixes(segments))


def test_splash_lowers_for_a_tpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward become Mosaic kernels, on a machine without a TPU."""
    monkeypatch.setattr("mio_jax.nn.fused_attention.platform", lambda: "tpu")
    segments = packed(256)
    see = front("splash", True, segments, None)
    tensors = [x.astype(jnp.bfloat16) for x in draw(256, head_dim=128)]
    step = jax.jit(jax.grad(lambda q, k, v: see(q, k, v).astype(jnp.float32).sum(), argnums=(0, 1, 2)))
    text = step.trace(*tensors).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("tpu_custom_call") >= 3  # forward, gradient to queries, gradient to keys and values
    with jax.set_mesh(mesh(data=2, tensor=2)), axis_rules(RULES):  # each device's own rows and heads
        text = step.trace(*tensors).lower(lowering_platforms=("tpu",)).as_text()
    assert "tpu_custom_call" in text
    with jax.set_mesh(mesh(seq=2)), axis_rules(RULES), pytest.raises(MioError, match=r"needs whole rows.*over seq"):
        step.trace(*tensors)


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("cudnn", r"'cudnn' runs on NVIDIA GPUs, and this is a cpu; use 'auto'"),
        ("splash", r"'splash' runs on TPUs, and this is a cpu; use 'auto'"),
        ("ring", r"'ring' needs rows split over devices"),
    ],
)
def test_a_backend_that_cannot_run_here_says_so(backend: str, said: str) -> None:
    q, k, v = draw(8)
    with pytest.raises(MioError, match=said):
        front(backend, True, None, None)(q, k, v)


@pytest.mark.parametrize(
    ("platform", "backend", "change", "said"),
    [
        ("gpu", "cudnn", lambda x: x, "takes bfloat16, not float32"),
        ("gpu", "cudnn", lambda x: x[..., :3].astype(jnp.bfloat16), "model.head_dim is 3"),
    ],
)
def test_what_a_kernel_does_not_take(
    monkeypatch: pytest.MonkeyPatch, platform: str, backend: str, change: Any, said: str
) -> None:
    monkeypatch.setattr("mio_jax.nn.fused_attention.platform", lambda: platform)
    with pytest.raises(MioError, match=said):
        front(backend, True, None, None)(*map(change, draw(8)))
