"""Which backend `model.attention=auto` takes, as a function of what is asked for."""

from __future__ import annotations

from dataclasses import dataclass

LONG = 1024  # from this length on, a whole score matrix costs too much memory on any device
KERNEL_FROM = 512  # shorter rows do not fill a block of the TPU kernel
DENSE_MASK_TO = 8192  # cuDNN's mask is [length, length] for every row


@dataclass(frozen=True)
class Case:
    """One use of attention.

    Attributes:
      platform: "cpu", "gpu" or "tpu".
      dtype: of the queries.
      length, head_dim: of the queries.
      self_attention: whole rows attend to themselves.
      other_row: where not, whole rows attend to other whole rows, without a causal rule (cross-attention).
      kv_length: of the keys; 0: that of the queries.
      split_rows: the mesh splits the rows' length.
      segments, prefix: whether the mask has them.
      flash_gpu: the GPU is NVIDIA's and new enough for cuDNN's kernel.
    """

    platform: str
    dtype: str
    length: int
    head_dim: int
    self_attention: bool = True
    other_row: bool = False
    kv_length: int = 0
    split_rows: bool = False
    segments: bool = False
    prefix: bool = False
    flash_gpu: bool = True


def choose(case: Case) -> str:
    """A backend that can do it: the kernel made for the device where it fits, else plain XLA operations.

    Kernels take 16-bit numbers only: in float32 they would multiply in fewer bits than the dtype promises.
    """
    if not case.self_attention:
        splash = case.other_row and case.platform == "tpu" and not case.split_rows and _splash_fits(case)
        return "splash" if splash else "xla"
    if case.split_rows:
        return "ring"
    if case.platform == "tpu" and _splash_fits(case):
        return "splash"
    if case.platform == "gpu" and _cudnn_fits(case):
        return "cudnn"
    return "chunked" if case.platform == "cpu" or case.length >= LONG else "xla"


def _splash_fits(case: Case) -> bool:
    """The kernel's masks are known when it is compiled, a prefix only when it runs."""
    shorter = min(case.length, case.kv_length or case.length)
    return case.dtype == "bfloat16" and not case.prefix and shorter >= KERNEL_FROM and case.head_dim % 64 == 0


def _cudnn_fits(case: Case) -> bool:
    """A mask other than plain causal is a dense bias, which takes memory and, in training, an even length."""
    if not case.flash_gpu or case.dtype not in ("bfloat16", "float16"):
        return False
    if case.head_dim % 8 or case.head_dim > 128:
        return False
    return not (case.segments or case.prefix) or (case.length % 2 == 0 and case.length <= DENSE_MASK_TO)
