"""Reading compiled programs: a small text with everything that matters, and real programs of the CPU compiler."""

# ruff: noqa: E501 (the text of a program has long lines)

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from mio_jax.errors import MioError
from mio_jax.parallel.hlo import Array, arrays, bits, parse
from mio_jax.parallel.hlo_cost import Rates, cost, group_size, hbm_bytes, product_flops

# A scan of 5 layers: each gathers its slice of a stacked weight, multiplies, and writes its input down. Behind it a loop
# whose trip count is data, with a reduction over all 8 devices. S(1) is memory on the core.
TEXT = """HloModule jit_step, is_scheduled=true

%slice (param_0.1: bf16[5,32,16], param_1.1: s32[]) -> bf16[32,16] {
  %param_0.1 = bf16[5,32,16]{2,1,0:T(8,128)(2,1)} parameter(0)
  %param_1.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %dynamic-slice.1 = bf16[1,32,16]{2,1,0} dynamic-slice(%param_0.1, %param_1.1, %zero, %zero), dynamic_slice_sizes={1,32,16}
  ROOT %bitcast.1 = bf16[32,16]{1,0} bitcast(%dynamic-slice.1)
}

%write (param_0.2: bf16[5,8,64], param_1.2: bf16[8,64], param_2.2: s32[]) -> bf16[5,8,64] {
  %param_0.2 = bf16[5,8,64]{2,1,0} parameter(0)
  %param_1.2 = bf16[8,64]{1,0} parameter(1)
  %param_2.2 = s32[] parameter(2)
  %zero.2 = s32[] constant(0)
  %row = bf16[1,8,64]{2,1,0} bitcast(%param_1.2)
  ROOT %dynamic-update-slice.1 = bf16[5,8,64]{2,1,0} dynamic-update-slice(%param_0.2, %row, %param_2.2, %zero.2, %zero.2)
}

%product (param_0.3: bf16[8,64], param_1.3: bf16[64,16]) -> bf16[8,16] {
  %param_0.3 = bf16[8,64]{1,0} parameter(0)
  %param_1.3 = bf16[64,16]{1,0} parameter(1)
  ROOT %convolution.1 = bf16[8,16]{1,0} convolution(%param_0.3, %param_1.3), dim_labels=bf_io->bf
}

%body (state: (s32[], bf16[8,64], bf16[5,32,16], bf16[5,8,64], s32[])) -> (s32[], bf16[8,64], bf16[5,32,16], bf16[5,8,64], s32[]) {
  %state = (s32[], bf16[8,64]{1,0:T(8,128)S(1)}, bf16[5,32,16]{2,1,0}, bf16[5,8,64]{2,1,0}, /*index=4*/s32[]) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = bf16[8,64]{1,0:T(8,128)S(1)} get-tuple-element(%state), index=1
  %w = bf16[5,32,16]{2,1,0} get-tuple-element(%state), index=2
  %kept = bf16[5,8,64]{2,1,0} get-tuple-element(%state), index=3
  %n = s32[] get-tuple-element(%state), index=4
  %mine = bf16[32,16]{1,0} fusion(%w, %i), kind=kLoop, calls=%slice
  %whole = bf16[64,16]{1,0} all-gather(%mine), channel_id=1, replica_groups=[4,2]<=[8], dimensions={0}
  %y = bf16[8,16]{1,0:S(1)} fusion(%x, %whole), kind=kOutput, calls=%product, backend_config={"estimated_cycles":"7"}
  %saved = bf16[5,8,64]{2,1,0} fusion(%kept, %x, %i), kind=kLoop, calls=%write
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %out = (s32[], bf16[8,64]{1,0}, bf16[5,32,16]{2,1,0}, bf16[5,8,64]{2,1,0}, s32[]) tuple(%next, %x, %w, %saved, %n)
}

%condition (state.1: (s32[], bf16[8,64], bf16[5,32,16], bf16[5,8,64], s32[])) -> pred[] {
  %state.1 = (s32[], bf16[8,64]{1,0}, bf16[5,32,16]{2,1,0}, bf16[5,8,64]{2,1,0}, s32[]) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %n.1 = s32[] get-tuple-element(%state.1), index=4
  ROOT %lt = pred[] compare(%i.1, %n.1), direction=LT
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add.1 = f32[] add(%a, %b)
}

%body.2 (state.2: (s32[], f32[1024], s32[])) -> (s32[], f32[1024], s32[]) {
  %state.2 = (s32[], f32[1024]{0}, s32[]) parameter(0)
  %i.2 = s32[] get-tuple-element(%state.2), index=0
  %v = f32[1024]{0} get-tuple-element(%state.2), index=1
  %n.2 = s32[] get-tuple-element(%state.2), index=2
  %total = f32[1024]{0} all-reduce(%v), channel_id=2, replica_groups={{0,1,2,3,4,5,6,7}}, to_apply=%sum
  ROOT %out.2 = (s32[], f32[1024]{0}, s32[]) tuple(%i.2, %total, %n.2)
}

%condition.2 (state.3: (s32[], f32[1024], s32[])) -> pred[] {
  %state.3 = (s32[], f32[1024]{0}, s32[]) parameter(0)
  %i.3 = s32[] get-tuple-element(%state.3), index=0
  %n.3 = s32[] get-tuple-element(%state.3), index=2
  ROOT %lt.2 = pred[] compare(%i.3, %n.3), direction=LT
}

ENTRY %main (p0: bf16[8,64], p1: bf16[5,32,16], p2: f32[1024], p3: s32[]) -> f32[1024] {
  %p0 = bf16[8,64]{1,0} parameter(0)
  %p1 = bf16[5,32,16]{2,1,0} parameter(1)
  %p2 = f32[1024]{0} parameter(2)
  %p3 = s32[] parameter(3)
  %zero.9 = s32[] constant(0)
  %five = s32[] constant(5)
  %room = bf16[5,8,64]{2,1,0} custom-call(), custom_call_target="AllocateBuffer"
  %kernel = f32[1024]{0} custom-call(%p2), custom_call_target="tpu_custom_call"
  %start = (s32[], bf16[8,64]{1,0}, bf16[5,32,16]{2,1,0}, bf16[5,8,64]{2,1,0}, s32[]) tuple(%zero.9, %p0, %p1, %room, %five)
  %while.1 = (s32[], bf16[8,64]{1,0}, bf16[5,32,16]{2,1,0}, bf16[5,8,64]{2,1,0}, s32[]) while(%start), condition=%condition, body=%body
  %start.2 = (s32[], f32[1024]{0}, s32[]) tuple(%zero.9, %kernel, %p3)
  %while.2 = (s32[], f32[1024]{0}, s32[]) while(%start.2), condition=%condition.2, body=%body.2
  ROOT %result = f32[1024]{0} get-tuple-element(%while.2), index=1
}
"""
RATES = Rates(flops=1e3, bandwidth=1e2)


def test_arrays_know_their_size_and_memory() -> None:
    assert arrays("(s32[], bf16[8,64]{1,0:T(8,128)(2,1)S(1)}, /*index=2*/pred[3]{0})") == (
        Array("s32", ()),
        Array("bf16", (8, 64), 1),
        Array("pred", (3,)),
    )
    assert [a.bytes for a in arrays("s4[3], f8e4m3fn[5], f32[2,2], c64[]")] == [2, 5, 16, 8]
    with pytest.raises(MioError, match="'strange' has no known size"):
        bits("strange")


def test_trip_counts_come_from_the_condition_or_from_what_the_loop_begins_with() -> None:
    module = parse(TEXT, dynamic_trips=3)
    main = module.computations["main"]
    assert module.trips(main, main["while.1"]) == 5
    assert module.trips(main, main["while.2"]) == 3  # a parameter: nobody but the caller knows


def test_a_loop_with_two_conditions_runs_at_most_as_often_as_the_one_that_is_a_number() -> None:
    known = """  %most = s32[] constant(4)
  %lt.5 = pred[] compare(%i.3, %most), direction=LT
  %lt.2 = pred[] compare(%i.3, %n.3), direction=LT
  ROOT %both = pred[] and(%lt.2, %lt.5)
"""
    text = TEXT.replace("  ROOT %lt.2 = pred[] compare(%i.3, %n.3), direction=LT\n", known)
    module = parse(text, dynamic_trips=3)
    main = module.computations["main"]
    assert module.trips(main, main["while.2"]) == 4
    module = parse(text.replace("%most = s32[] constant(4)", "%most = s32[] add(%n.3, %n.3)"), dynamic_trips=3)
    assert module.trips(module.computations["main"], module.computations["main"]["while.2"]) == 3


def test_products_and_collectives_inside_a_loop_count_as_often_as_it_runs() -> None:
    counted = cost(parse(TEXT, dynamic_trips=3), RATES, devices=8)
    assert counted.flops_once == 2 * 8 * 64 * 16
    assert counted.flops == 5 * counted.flops_once
    gather, reduce = counted.collectives["all-gather"], counted.collectives["all-reduce"]
    assert (gather.count, gather.bytes) == (5, 5 * 64 * 16 * 2 * 1 / 2)  # in pairs: half of the outcome is sent
    assert (reduce.count, reduce.bytes) == (3, 3 * 2 * 4096 * 7 / 8)  # twice round the ring of 8
    assert counted.synchronous_bytes == gather.bytes + reduce.bytes
    assert dict(counted.unknown) == {"tpu_custom_call": 1}
    assert counted.seconds > counted.seconds_once
    assert counted.seconds_once >= counted.flops_once / RATES.flops


def test_a_slice_of_a_stack_costs_the_slice() -> None:
    module = parse(TEXT)
    body = module.computations["body"]
    assert hbm_bytes(module, body, body["mine"]) == 2 * 32 * 16 * 2 + 4  # read and written, and the index
    assert hbm_bytes(module, body, body["saved"]) == 8 * 64 * 2 + 4  # in place, from memory on the core
    assert hbm_bytes(module, body, body["y"]) == 64 * 16 * 2  # the weight; the rest is on the core


def test_of_several_outputs_those_updated_in_place_cost_their_update() -> None:
    """A product that is kept beside what it was made for, in one fusion: the stack of kept ones is not written whole."""
    both = """ROOT %two = (bf16[5,8,64]{2,1,0}, bf16[8,64]{1,0}) tuple(%dynamic-update-slice.1, %param_1.2)"""
    text = TEXT.replace("  ROOT %dynamic-update-slice.1 =", "  %dynamic-update-slice.1 =").replace(
        "dynamic-update-slice(%param_0.2, %row, %param_2.2, %zero.2, %zero.2)\n",
        f"dynamic-update-slice(%param_0.2, %row, %param_2.2, %zero.2, %zero.2)\n  {both}\n",
    )
    text = text.replace("%saved = bf16[5,8,64]{2,1,0} fusion", "%saved = (bf16[5,8,64]{2,1,0}, bf16[8,64]{1,0}) fusion")
    module = parse(text)
    body = module.computations["body"]
    assert hbm_bytes(module, body, body["saved"]) == 2 * 8 * 64 * 2 + 4


MOVES = """HloModule jit_moves

ENTRY %main (p0: f32[64,16]) -> f32[8,16] {
  %p0 = f32[64,16]{1,0} parameter(0)
  %copy-start.1 = (f32[64,16]{1,0:S(1)}, f32[64,16]{1,0}, u32[]{:S(2)}) copy-start(%p0)
  %copy-done.1 = f32[64,16]{1,0:S(1)} copy-done(%copy-start.1)
  %slice-start.1 = ((f32[64,16]{1,0}), f32[8,16]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%p0), slice={[0:8], [0:16]}
  %slice-done.1 = f32[8,16]{1,0:S(1)} slice-done(%slice-start.1)
  %joined = f32[64,16]{1,0:S(1)} custom-call(%slice-done.1), custom_call_target="ConcatBitcast"
  ROOT %r = f32[8,16]{1,0} copy(%slice-done.1)
}
"""


def test_what_is_fetched_ahead_is_read_and_written_once() -> None:
    module = parse(MOVES)
    main = module.computations["main"]
    whole, part = 64 * 16 * 4, 8 * 16 * 4
    assert hbm_bytes(module, main, main["copy-start.1"], spaces=None) == 2 * whole
    assert hbm_bytes(module, main, main["copy-start.1"]) == whole  # written to the core's memory
    assert hbm_bytes(module, main, main["slice-start.1"], spaces=None) == 2 * part
    counted = cost(module, RATES, devices=1)
    assert (counted.unjudged, dict(counted.unknown)) == (1, {})
    assert counted.seconds == pytest.approx((2 * whole + 4 * part) / RATES.bandwidth)


# As the TPU compiler writes splash attention: metadata of the kernel breaks the line. 2 rows, 8 heads on 4 key heads.
KERNEL = r"""HloModule jit_kernel

ENTRY %main (p0: s8[1,6,6], p1: bf16[2,8,3072,128], p2: bf16[2,4,3072,128]) -> bf16[2,8,3072,128] {
  %p0 = s8[1,6,6]{2,1,0} parameter(0)
  %p1 = bf16[2,8,3072,128]{3,2,1,0} parameter(1)
  %p2 = bf16[2,4,3072,128]{3,2,1,0} parameter(2)
  %k.1 = bf16[2,8,3072,128]{3,2,1,0} custom-call(%p0, %p0, %p1, %p2, %p2), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\"block_q_dq\": 512, \"block_kv_dq\": 512, \"q_layout\": 1}"
}}, metadata={op_name="jit(f)/splash_mha_dq_segmented_no_residuals/pallas_call"}
  %k.2 = bf16[2,8,3072,128]{3,2,1,0} custom-call(%p1, %p2, %p2), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\"block_q\": 512, \"block_kv\": 512, \"block_kv_compute\": 512}"
}}, metadata={op_name="jit(f)/splash_mha_fwd_segmented_residuals/pallas_call"}
  %k.3 = bf16[2,8,3072,128]{3,2,1,0} custom-call(%p1), custom_call_target="tpu_custom_call"
  ROOT %r = bf16[2,8,3072,128]{3,2,1,0} copy(%k.1)
}
"""


def test_attention_kernels_are_counted_by_the_blocks_that_they_visit() -> None:
    counted = cost(parse(KERNEL), Rates(flops=1e12, bandwidth=1e15, kernels=1e9), devices=1)
    a_product = 2.0 * 2 * 8 * 128  # FLOPs of one pair of tokens, over rows and heads
    causal, whole = 21 * 512 * 512, 3072 * 3072  # of 36 blocks, 21 touch the lower triangle
    backward = counted.kernels["splash_mha_dq_segmented_no_residuals"]
    forward = counted.kernels["splash_mha_fwd_segmented_residuals"]
    assert (backward.count, backward.flops) == (1, 3 * a_product * causal)
    assert (forward.count, forward.flops) == (1, 2 * a_product * whole)
    assert backward.seconds == pytest.approx(backward.flops / 1e9)
    assert (counted.flops, dict(counted.unknown)) == (0, {"tpu_custom_call": 1})  # the third kernel is nobody we know
    assert 0 < counted.kernel_traffic_once < forward.seconds


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("replica_groups=[4,16]<=[64]", 16),
        ("replica_groups={{0,1},{2,3}}", 2),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=16,'axis_2'=3] {'axis_0','axis_2'}, x={'a'}", 6),
        ("", 8),
    ],
)
def test_group_sizes(attributes: str, size: int) -> None:
    assert group_size(attributes, 8) == size


def test_a_batched_product_written_as_a_dilated_convolution_counts_its_batch_once() -> None:
    """As a TPU has it: the batch is a spatial dimension, and only one place of the window meets an element."""
    text = """ENTRY %main (p0: f32[8,128,64], p1: f32[8,32,64]) -> f32[8,128,32] {
  %p0 = f32[8,128,64]{2,1,0} parameter(0)
  %p1 = f32[8,32,64]{2,1,0} parameter(1)
  ROOT %c = f32[8,128,32]{2,1,0} convolution(%p0, %p1), window={size=8 stride=7 lhs_dilate=8}, dim_labels=0bf_0oi->0bf
}
"""
    module = parse(text)
    main = module.computations["main"]
    assert product_flops(module, main, main["c"]) == 2 * 8 * 128 * 32 * 64


def test_a_scan_of_the_cpu_compiler_is_counted_in_full() -> None:
    def f(x: jax.Array, w: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    x, w = jax.ShapeDtypeStruct((8, 16), jnp.float32), jax.ShapeDtypeStruct((6, 16, 16), jnp.float32)
    compiled = jax.jit(f).lower(x, w).compile()
    counted = cost(parse(compiled.as_text()), RATES, devices=1)
    assert counted.flops == 6 * 2 * 8 * 16 * 16
    told = compiled.cost_analysis()["flops"]
    assert counted.flops_once <= told < counted.flops  # the compiler counts the body once


def test_a_text_that_is_no_program_is_refused() -> None:
    with pytest.raises(MioError, match="no entry computation"):
        parse("HloModule nothing")
