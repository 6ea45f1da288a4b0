"""Any modality out of any modality, from a trained run. Media stand where their placeholders do; those without one
follow the text of a chat turn, and come before a text that is to be continued. --ask puts what is given into the words
that the run was trained with. What comes out is written as .png, .wav and .txt files, with the ids beside them.

A recipe may have tasks by name (--task list prints what each needs and gives): the inputs are put into the task's
words, the answer is held to its form, and what it says is read: boxes, poses, masks, depth, actions, in NNN.json and
drawn on the picture.

  mio generate --task list
  mio generate --run runs/x --task caption --image cat.png
  mio generate --run runs/x --task vqa --image cat.png --text "What is on the mat?" --options cat,dog,horse
  mio generate --run runs/x --task refexp --image cat.png --text "the left ear" --out out/
  mio generate --run runs/x --task segmentation_box --image cat.png --text cat --box 10,20,110,220
  mio generate --run runs/x --task image_generation --text "a red heart" --negative "a photograph" --guidance 5 --n 4

Many requests at once, one JSON object a line, such as {"id": "a", "prompt": "red heart", "ask": "image", "seed": 3}:

  mio generate --run runs/quickstart --requests requests.jsonl --rows 8 --out out/

Without --task:

  mio generate --run runs/quickstart --ask image --prompt "red heart" --n 4 --out out/
  mio generate --run runs/quickstart --ask caption --image cat.png
  mio generate --run runs/quickstart --ask answer --image shape.png --prompt "What color is the shape?" --greedy
  mio generate --run runs/quickstart --ask sound --prompt "flute playing C4" --seed 7
  mio generate --run runs/quickstart --prompt "What do you see? <image_placeholder_0> Draw it." --image a.png
  mio generate --run runs/quickstart --prompt "<image_placeholder_0> The caption of this image is:" --image a.png --base
  mio generate --run runs/x --video film.mp4 --frames 4 --prompt "What happens here?"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mio_jax.cli import generate_task
from mio_jax.cli.content import arrange, place, read_media, read_video, segments_of
from mio_jax.cli.generate_requests import run_requests
from mio_jax.errors import MioError
from mio_jax.protocols import Generated, Recipe

if TYPE_CHECKING:
    import numpy as np

    from mio_jax.generate.sampling import SamplingConfig

SUMMARY = "any modality out of any modality, from a trained run"

ROWS = 64  # responses decoded at once
USUAL_TOKENS = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", metavar="DIR", help="run directory")
    parser.add_argument(
        *("--prompt", "--text"),
        dest="prompt",
        default="",
        metavar="TEXT",
        help="may hold <image_placeholder_0>, <audio_placeholder_0>; of a --task: its text",
    )
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; repeatable")
    parser.add_argument("--audio", action="append", default=[], metavar="FILE", help="a sound; repeatable")
    parser.add_argument("--out", default="out", metavar="DIR", help="where the results go (default: out/)")
    parser.add_argument("--stage", metavar="NAME", help="use this stage's weights (default: the last stage's)")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--chat", action="store_const", const="chat", dest="style", help="ask as a chat turn")
    style.add_argument(
        "--base", action="store_const", const="base", dest="style", help="let the model continue the prompt"
    )
    parser.add_argument(
        "--ask", default="", metavar="WORDING", help="trained words around the prompt and media: image, caption, ..."
    )
    parser.add_argument(
        "--expect", choices=("text", "image", "audio"), default="", help="what the response must begin with"
    )
    parser.add_argument("--n", type=int, default=1, metavar="N", help="responses, with seeds SEED, SEED+1, ...")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="default 256, or what the task needs")
    add_sampling_arguments(parser)
    parser.add_argument(
        "--max-prompt-tokens",
        type=int,
        default=0,
        metavar="N",
        help="cut a longer prompt on its right (default: refuse)",
    )
    parser.add_argument(
        "--animate", action="store_true", help="pictures of an answer also as NNN.gif and NNN_sheet.png"
    )
    parser.add_argument("--no-grammar", action="store_true", help="nothing holds image and sound spans to their form")
    parser.add_argument("--requests", metavar="FILE", help="many requests, a JSON object a line; answers as they end")
    parser.add_argument(
        "--rows", type=int, default=8, metavar="N", help="of --requests: so many run at once (default 8)"
    )
    generate_task.add_arguments(parser)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """How tokens are chosen; read by `sampling_of`."""
    parser.add_argument("--temperature", type=float, metavar="X", help="default 1; 0: greedy")
    parser.add_argument("--top-k", type=int, metavar="N", help="default 0: off")
    parser.add_argument("--top-p", type=float, metavar="X", help="default 0.9; 1: off")
    parser.add_argument("--repetition-penalty", type=float, metavar="X", help="default 1: off")
    parser.add_argument("--greedy", action="store_true", help="always the likeliest token")
    parser.add_argument("--beams", type=int, metavar="N", help="beam search over so many; gives one response")
    parser.add_argument(
        "--published",
        choices=("paper", "repository"),
        help="the publication's settings for what is expected, in place of these defaults",
    )
    parser.add_argument(
        "--output", default="", metavar="KIND", help="of --published, where it is not what is expected: video, ..."
    )


def run(args: argparse.Namespace) -> int:
    if args.task:
        return generate_task.run(args)
    check(args)
    # Before the model is loaded: a bad file should not cost a minute.
    content, loose = place(args.prompt, read_media(args.image, args.audio))
    loose = [*read_video(args.video, args.key_frames, args.frames), *loose]

    from mio_jax.generate.opening import engine_of
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run import find_checkpoint, load_run

    use_compilation_cache()
    run_ = load_run(args.run, stage=args.stage)
    style = args.style or run_.config.stages[find_checkpoint(run_.config, args.stage)[0]].style
    if args.requests:
        run_requests(args, run_, engine_of(run_), style)
        return 0
    begins = args.expect
    if args.ask:
        if style != "chat":
            raise MioError(
                "--ask words a chat turn; this run's last stage continues text: add --chat, or leave --ask out"
            )
        asked, usual = run_.recipe.ask(args.ask, segments_of([*content, *loose], run_))
        begins = begins or usual
    else:
        asked = segments_of(arrange(content, loose, style), run_)
    sampling = sampling_of(args, run_.recipe, begins)
    segments = run_.recipe.prompt(asked, style)
    prompt = run_.recipe.encode_prompt(segments, run_.tokenizers, run_.space, system=run_.config.data.system_prompt)
    prompt = shortened(prompt, args, run_.recipe, style)
    length = run_.config.data.length
    if len(prompt) >= length:
        raise MioError(
            f"the prompt has {len(prompt)} tokens, but the context of {args.run} holds {length}: shorten the text or"
            " leave out media"
        )
    engine = engine_of(run_)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for at in range(0, args.n, ROWS):
        seeds = range(args.seed + at, args.seed + min(at + ROWS, args.n))
        responses = engine.generate(
            [prompt] * len(seeds),
            sampling,
            max_new_tokens=args.max_new_tokens or USUAL_TOKENS,
            stop_ids=(run_.space.eos, *(run_.space.special(s) for s in run_.recipe.stop_strings(style))),
            seeds=seeds,
            grammar=None if args.no_grammar else run_.recipe.grammar(run_.space).replace(begin=begins),
        )
        for seed, ids in zip(seeds, responses, strict=True):
            answer = run_.recipe.parse(ids, run_.tokenizers, run_.space)
            write_response(out, f"{seed - args.seed:03d}", seed, prompt, ids, answer, run_.tokenizers, args.animate)
    return 0


def shortened(prompt: Any, args: argparse.Namespace, recipe: Recipe, style: str) -> Any:
    """A prompt cut on its right to what --max-prompt-tokens or the published code allows; says so if it was longer."""
    most = args.max_prompt_tokens
    if not most and args.published and hasattr(recipe, "published_prompt_tokens"):
        most = recipe.published_prompt_tokens(style)
    if not most or len(prompt) <= most:
        return prompt
    print(f"note: the prompt's {len(prompt)} tokens were cut on the right to {most}", file=sys.stderr)
    return prompt[:most]


def sampling_of(args: argparse.Namespace, recipe: Recipe, begins: str) -> SamplingConfig:
    """The settings that were asked for: defaults or the publication's, with what was given on the command line."""
    from mio_jax.generate.sampling import SamplingConfig

    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.beams is not None:
        given["num_beams"] = args.beams
    if args.greedy:
        given["greedy"] = True
    if args.output and not args.published:
        raise MioError("--output is of --published: say whose settings, paper or repository")
    if args.published:
        kind = "audio to audio" if begins == "audio" and args.audio else begins or "interleaved"
        usual = recipe.published_sampling(args.output or kind, args.published)
    else:
        usual = SamplingConfig(top_p=1.0 if (args.beams or 1) > 1 else 0.9)
    return dataclasses.replace(usual, **given)


def check(args: argparse.Namespace) -> None:
    """Refuses what cannot work, before anything is loaded."""
    if not args.run:
        raise MioError("which run is to answer? give --run DIR (see `mio generate --help`)")
    of_tasks = ("box", "options", "negative", "guidance")
    for name in of_tasks:
        if getattr(args, name):
            raise MioError(f"--{name} is for tasks: name one with --task (`mio generate --task list` prints them)")
    if args.requests:
        if args.prompt or args.image or args.audio or args.video or args.n > 1:
            raise MioError("--requests brings prompts and media of its own, for one answer each: leave others out")
    elif not args.prompt and not args.image and not args.audio and not args.video:
        raise MioError("nothing to answer: give --prompt, --image, --audio or --video")
    for name, value in (("--n", args.n), ("--max-new-tokens", args.max_new_tokens), ("--frames", args.frames)):
        if value is not None and value < 1:
            raise MioError(f"{name} is {value}; it must be at least 1")
    if (args.beams or 1) > 1 and args.n > 1:
        raise MioError(
            f"beam search does not sample: its {args.n} responses would be the same; leave --n or --beams out"
        )
    if not 0 <= args.seed <= 2**32 - args.n:
        raise MioError(f"--seed is {args.seed}; it and the {args.n} that follow must be 0 or more and below 2**32")


def write_response(
    out: Path,
    name: str,
    seed: int,
    prompt: Any,
    ids: np.ndarray,
    answer: Generated,
    tokenizers: Any,
    animate: bool = False,
) -> None:
    """NAME.txt with the text (media as file names), NAME_K.png and NAME_K.wav, and NAME.json with the ids.

    animate: where there are several pictures, NAME.gif and NAME_sheet.png too.
    """
    from PIL import Image

    from mio_jax.generate.answer_files import write_frames
    from mio_tokenizers.audio.io import write_wav

    words: list[str] = []
    files: list[str] = []
    pictures: list[np.ndarray] = []
    for segment in answer.segments:
        if segment.kind == "text":
            words.append(segment.value)
            continue
        path = out / f"{name}_{len(files)}.{'png' if segment.kind == 'image' else 'wav'}"
        if segment.kind == "image":
            pictures.append(tokenizers.image.decode(segment.value))
            Image.fromarray(pictures[-1]).save(path)
        else:
            write_wav(path, tokenizers.audio.decode(segment.value))
        files.append(path.name)
        words.append(f"[{path.name}]")
    text = "".join(words)
    if animate and len(pictures) > 1:
        files += [path.name for path in write_frames(out / name, pictures)]
    (out / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    facts = {"seed": seed, "prompt_ids": prompt.tolist(), "ids": ids.tolist(), "files": files, "error": answer.error}
    (out / f"{name}.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    note = f"  (unreadable: {answer.error})" if answer.error else ""
    written = ", ".join(str(out / name) for name in (f"{name}.txt", *files, f"{name}.json"))
    print(f"{text}{note}\n  wrote {written}", flush=True)
