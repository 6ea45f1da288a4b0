"""Compile a config for a TPU pod without having it: does it fit, how long does a step take, what does it send.

The real train step (with --what generate: prefill and one decoding step) goes through the TPU compiler, which runs on
any Linux host (extra `tpu`). Times are the compiler's estimates, not measurements; docs/plan.md says what they hold.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from mio_jax.config_loading import add_config_arguments, config_from_args
from mio_jax.errors import MioError

SUMMARY = "compile a config for a TPU pod without having it: memory, time, days"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--topology", metavar="KIND:SHAPE", help="v4, v5e, v5p, v6e or tpu7x and its sides: v5p:4x4x8")
    parser.add_argument("--stage", metavar="NAME", help="which stage's step (default: the first)")
    parser.add_argument("--what", choices=("train", "generate"), default="train")
    parser.add_argument("--rows", type=int, default=64, help="generate: prompts of a batch (default: 64)")
    parser.add_argument("--prompt", type=int, default=512, help="generate: tokens of a prompt (default: 512)")
    parser.add_argument("--new", type=int, default=512, help="generate: places for new tokens (default: 512)")
    parser.add_argument("--search", action="store_true", help="train: rank mesh shapes and remat policies")
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")


def run(args: argparse.Namespace) -> int:
    """Plans; 0 when it fits, 1 when it does not."""
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # importing JAX beside libtpu would ask the network which pod this is
    from mio_jax.parallel.topologies import topology as read_topology

    if not args.topology:
        raise MioError("no pod: pass --topology, e.g. --topology v5p:4x4x8")
    if args.search and args.what != "train":
        raise MioError("--search ranks training meshes; leave --what generate out")
    pod = read_topology(args.topology)
    config = config_from_args(args).with_steps()
    names = [stage.name for stage in config.stages]
    if args.stage and args.stage not in names:
        raise MioError(f"the config has no stage {args.stage!r}; its stages: {', '.join(names)}")
    stage = config.stages[names.index(args.stage) if args.stage else 0]

    from mio_jax.parallel.aot import require_compiler

    require_compiler()
    report: dict[str, Any]
    if args.search:
        from mio_jax.train.plan_search import ranked, search

        found = []
        for one in search(config, stage, pod):
            found.append(one)
            print(line_of(one), flush=True)
        report = {"topology": pod.name, "stage": stage.name, "ranking": ranked(found)}
        report["fits"] = any(one["fits"] for one in found)
        print("\nbest first:", *map(line_of, report["ranking"]), sep="\n")
    elif args.what == "generate":
        from mio_jax.generate.plan import plan_generate
        from mio_jax.generate.sampling import SamplingConfig

        sampling = SamplingConfig(temperature=config.eval.temperature, top_p=config.eval.top_p)
        report = plan_generate(config, sampling, pod, rows=args.rows, prompt=args.prompt, new=args.new)
        print(table(report))
    else:
        from mio_jax.train.plan import plan_train

        report = plan_train(config, stage, pod)
        print(table(report))
    if args.json:
        path = Path(args.json)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if report["fits"] else 1


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    mesh = " x ".join(f"{axis}={size}" for axis, size in report["mesh"].items() if size > 1) or "one device"
    lines = [
        ("config", f"{report['config']}, {report['dtype']}, remat {report['remat']}"),
        ("pod", f"{report['topology']}, {report['chips']} chips, mesh {mesh}"),
        ("parameters", f"{report['parameters'] / 1e9:.3f} billion"),
        ("vocabulary", f"{report['vocabulary']['rows']} rows, {report['vocabulary']['from']}"),
    ]
    if "tokens_per_step" in report:
        shape = f"{report['rows']} rows of {report['length']} tokens in {report['micro_batches']} micro-batches"
        lines.append((f"stage {report['stage']}", shape))
    parts: dict[str, Any] = {name: report[name] for name in ("prefill", "decode") if name in report} or {"": report}
    for name, part in parts.items():
        lines += [("", ""), (name, f"{report['rows']} rows")] if name else []
        lines += part_lines(part)
    return "\n".join(f"{name:<24} {value}".rstrip() for name, value in lines)


def part_lines(part: dict[str, Any]) -> list[tuple[str, str]]:
    """Memory, work and time of one program."""
    spare, gib = part["spare_bytes"], 2**30
    verdict = f"yes, {spare / gib:.1f} GiB to spare" if part["fits"] else f"NO, {-spare / gib:.1f} GiB too much"
    lines = [("fits", f"{verdict} of {part['hbm_per_chip'] / gib:.0f} GiB a chip")]
    lines += [(f"  {kind.replace('_', ' ')}", f"{size / gib:.3f} GiB") for kind, size in part["bytes_per_chip"].items()]
    if part["step_seconds"] is None:
        return lines
    # The compiler gives none for some programs; then the figure is the sum by its rule alone.
    estimate = "compiler's estimate" if part["compiler_seconds_uncorrected"] else "by the compiler's rule"
    again = part["flops_per_step"] / part["model_flops_per_step"]
    lines += [
        ("model FLOPs", f"{part['model_flops_per_step']:.4g}"),
        ("compiled FLOPs", f"{part['flops_per_step']:.4g} ({again:.2f} of the model's)"),
        (estimate, f"{part['compiler_seconds'] - part['kernel_seconds']:.4g} s, products and memory, loops counted"),
    ]
    if part["kernels"]:
        share, runs = part["kernel_share_assumed"], sum(kernel["count"] for kernel in part["kernels"].values())
        told = f"{part['kernel_seconds']:.4g} s in {runs:.0f} runs, taken to reach {100 * share:.0f} % of the rate"
        lines.append(("attention kernels", told))
    lines += [
        (
            "collectives",
            f"{part['collective_seconds']:.4g} s, {part['blocking_collective_seconds']:.4g} s blocking",
        ),
    ]
    for kind, what in part["collectives"].items():
        lines.append(
            (f"  {kind}", f"{what['count']:.0f} times, {what['bytes_sent_per_chip'] / 1e9:.3f} GB sent by a chip")
        )
    if part["kernels_without_figures"]:
        names = ", ".join(f"{name} ({count:.0f})" for name, count in part["kernels_without_figures"].items())
        lines.append(("not in the estimate", names))
    lines += [
        ("step", f"{part['step_seconds']:.4g} s"),
        ("MFU", f"{100 * part['mfu']:.1f} % of the published bfloat16 peak"),
        ("tokens a second", f"{part['tokens_per_second']:.4g}"),
    ]
    if "budget" in part:
        budget = part["budget"]
        whole = f"{budget['steps']} steps, {budget['tokens']:.4g} tokens: {budget['days']:.1f} days"
        lines += [("tokens a day", f"{part['tokens_per_day']:.4g}"), ("the whole stage", whole)]
    return lines


def line_of(report: dict[str, Any]) -> str:
    """One try of a search."""
    mesh = " ".join(f"{axis}={size}" for axis, size in report["mesh"].items() if size > 1) or "one device"
    start = f"{mesh:<28} remat {report['remat']:<5}"
    if "error" in report:
        return f"{start} not possible: {report['error']}"
    size = f"{report['bytes_per_chip']['total'] / 2**30:7.1f} GiB a chip"
    if not report["fits"]:
        return f"{start} {size}, does not fit"
    return f"{start} {size}  step {report['step_seconds']:.4g} s  MFU {100 * report['mfu']:.1f} %"
