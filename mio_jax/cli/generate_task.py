"""`mio generate --task NAME`: reads the inputs, asks the recipe's task runner, writes the answers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError
from mio_jax.task_protocol import INPUTS, Box, TaskInfo, TaskInputs, TaskSettings, as_box

LIST = "list"
KEY_FRAMES = ("auto", "scenes", "uniform", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tasks (--task list prints what each needs and gives)")
    group.add_argument("--task", default="", metavar="NAME", help="a task by name: refexp, vqa, caption, depth, ...")
    group.add_argument("--video", metavar="PATH", help=INPUTS["video"][1])
    group.add_argument("--key-frames", choices=KEY_FRAMES, help="which frames of a video are shown (default: auto)")
    group.add_argument("--frames", type=int, metavar="N", help="at most so many frames, shown or made")
    group.add_argument("--box", metavar="X1,Y1,X2,Y2", help="in pixels of the picture, from its upper left corner")
    group.add_argument("--options", metavar="A,B|FILE", help=INPUTS["options"][1])
    group.add_argument("--average-options", action="store_true", help="compare options by their mean, not their sum")
    group.add_argument("--negative", default="", metavar="TEXT", help=INPUTS["negative"][1])
    group.add_argument("--guidance", type=float, metavar="X", help="strength of classifier-free guidance; 0: off")
    group.add_argument("--segments", type=int, default=1, metavar="N", help="segments of a sound (default 1)")


def run(args: argparse.Namespace) -> int:
    if args.task == LIST:
        print(listing(args.run), end="")
        return 0
    if not args.run:
        raise MioError("which run is to answer? give --run DIR (`mio generate --task list` needs none)")
    for flag, value in (("--ask", args.ask), ("--expect", args.expect), ("--published", args.published)):
        if value:
            raise MioError(f"{flag} is for prompts of your own; a --task has its own words and settings: leave it out")
    inputs = read_inputs(args)  # before the model is loaded: a bad file should not cost a minute
    if args.n < 1 or not 0 <= args.seed <= 2**32 - args.n:
        raise MioError(f"--n {args.n} --seed {args.seed}: at least one answer, with seeds from 0 to 2**32 - 1")
    if args.frames is not None and args.frames < 1:
        raise MioError(f"--frames is {args.frames}; it must be at least 1")

    from mio_jax.generate.answer_files import write_answer
    from mio_jax.generate.opening import engine_of, task_runner_of
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run import load_run
    from mio_jax.train.run_dir import load_config

    infos = task_infos(load_config(args.run).recipe)
    require_task(infos, args.task).check(inputs)
    use_compilation_cache()
    run_ = load_run(args.run, stage=args.stage)
    runner = task_runner_of(run_, engine_of(run_))
    seeds = list(range(args.seed, args.seed + args.n))
    answers = runner.run(args.task, [inputs] * args.n, settings_of(args), seeds=seeds)
    for number, (seed, answer) in enumerate(zip(seeds, answers, strict=True)):
        facts = {"task": args.task, "seed": seed, "given": told(args)}
        files = write_answer(Path(args.out), number, inputs, answer, facts)
        note = f"\n  ({answer.note})" if answer.note else ""
        print(f"{summary(answer)}{note}\n  wrote {', '.join(map(str, files))}", flush=True)
    return 0


def task_infos(recipe: str) -> dict[str, TaskInfo]:
    """The tasks of a recipe. Raises MioError if it has no task runner."""
    from mio_jax.protocols import load_recipe

    loaded: Any = load_recipe(recipe)
    if not hasattr(loaded, "task_infos"):
        raise MioError(f"recipe {recipe!r} has no tasks by name; ask it with --prompt or --ask")
    infos: dict[str, TaskInfo] = loaded.task_infos()
    return infos


def require_task(infos: dict[str, TaskInfo], name: str) -> TaskInfo:
    """Raises MioError naming the nearest task."""
    import difflib

    if name not in infos:
        near = difflib.get_close_matches(name, infos, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise MioError(f"there is no task {name!r}; {hint}`mio generate --task list` prints all of them")
    return infos[name]


def listing(run: str | None) -> str:
    """What `--task list` prints: of a run's recipe, or of every recipe that has tasks."""
    import pkgutil

    import mio_jax.recipes
    from mio_jax.train.run_dir import load_config

    if run:
        tables = {load_config(run).recipe: task_infos(load_config(run).recipe)}
    else:
        names = sorted(m.name for m in pkgutil.iter_modules(mio_jax.recipes.__path__) if m.ispkg)
        tables = {}
        for name in names:
            try:
                tables[name] = task_infos(name)
            except MioError:  # a recipe without tasks by name
                continue
    lines = []
    for recipe, infos in tables.items():
        width = max(map(len, infos))
        lines.append(f"tasks of {recipe}:")
        for info in infos.values():
            needs = " ".join(INPUTS[name][0] for name in info.needs)
            takes = "".join(f" [{INPUTS[name][0]}]" for name in info.takes)
            lines.append(f"  {info.name:<{width}}  {info.summary}; needs {needs}{takes}; gives {', '.join(info.gives)}")
    return "\n".join([*lines, ""])


def read_inputs(args: argparse.Namespace) -> TaskInputs:
    """Files and words of the command line. Raises MioError on what cannot be read."""
    from mio_jax.data.media.video_reader import open_video
    from mio_tokenizers.audio.io import read_audio
    from mio_tokenizers.image.io import read_image

    for flag, files in (("--image", args.image), ("--audio", args.audio)):
        if len(files) > 1:
            raise MioError(
                f"a task takes one {flag}, not {len(files)}; frames of a video go into a folder: --video DIR"
            )
    return TaskInputs(
        text=args.prompt,
        image=read_image(args.image[0]) if args.image else None,
        video=open_video(args.video) if args.video else None,
        audio=read_audio(args.audio[0]) if args.audio else None,
        box=read_box(args.box) if args.box else None,
        options=read_options(args.options) if args.options else (),
        negative=args.negative,
    )


def read_box(written: str) -> Box:
    """ "x1,y1,x2,y2" -> numbers. Raises MioError on anything else."""
    try:
        return as_box(float(part) for part in written.split(","))
    except ValueError:
        raise MioError(f"--box is {written!r}; it must be four numbers, x1,y1,x2,y2, such as 10,20,110,220") from None


def read_options(written: str) -> tuple[str, ...]:
    """A file with an option on each line, or options between commas. Raises MioError on fewer than two."""
    path = Path(written)
    parts = path.read_text(encoding="utf-8").splitlines() if path.is_file() else written.split(",")
    options = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if len(options) < 2:
        raise MioError(f"--options {written!r} has {len(options)} answers to choose from; it needs two or more")
    return options


def settings_of(args: argparse.Namespace) -> TaskSettings:
    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    sampling = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.greedy:
        sampling["greedy"] = True
    if args.beams is not None:
        sampling["num_beams"] = args.beams
    return TaskSettings(
        sampling=sampling,
        guidance=args.guidance,
        max_new_tokens=args.max_new_tokens,
        average_options=args.average_options,
        segments=args.segments,
        style=args.style or "",
        key_frames=args.key_frames or "",
        frames=args.frames or 0,
    )


def told(args: argparse.Namespace) -> dict[str, Any]:
    """What was given, for the answer's file."""
    given = {
        "text": args.prompt,
        "image": (args.image or [""])[0],
        "video": args.video,
        "audio": (args.audio or [""])[0],
        "box": args.box,
        "options": args.options,
        "negative": args.negative,
    }
    return {name: value for name, value in given.items() if value}


def summary(answer: Any) -> str:
    """One line about an answer."""
    from mio_jax.generate.answer_files import answer_facts

    facts = answer_facts(answer)
    if facts.get("boxes"):
        boxes = [
            f"{box.get('label', 'box')} ({box['x1']:g}, {box['y1']:g}, {box['x2']:g}, {box['y2']:g})"
            for box in facts["boxes"]
        ]
        return "; ".join(boxes)
    if answer.poses is not None:
        return f"{len(answer.poses)} poses"
    if answer.boxes is not None:
        return "no box"
    if answer.masks is not None:
        return f"{len(answer.masks)} masks, of {', '.join(str(int(mask.sum())) for mask in answer.masks)} pixels"
    if answer.sound is not None:
        return f"a sound of {len(answer.sound.samples) / answer.sound.rate:.2f} s"
    if answer.picture is not None:
        return f"a picture of {answer.picture.shape[1]}x{answer.picture.shape[0]}"
    if answer.video is not None:
        return f"{len(answer.video)} frames of {answer.video.shape[2]}x{answer.video.shape[1]}"
    return str(facts["text"])
