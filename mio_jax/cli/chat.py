"""A conversation with a trained run in the terminal, in any modality; the run remembers what was said. Words are
printed, pictures and sounds written, as they are generated. Where the standard input is no terminal, each of its lines
is a turn.

In a turn, lines such as these stand for themselves:

  /image FILE     a picture for the next turn (/audio FILE: a sound)
  /ask WORDING    puts the next turn into words that the run was trained with: image, caption, answer, ...
  /seed N         seed of the next answer; those after it take N+1, ...
  /reset          forgets the conversation
  /help, /quit

  mio chat --run runs/quickstart
  mio chat --run runs/own_speech --mode voice --play "aplay -q -t raw -f S16_LE -r {rate}"
  mio chat --run runs/quickstart --history talk.json --greedy
  echo "What is an emoji?" | mio chat --run runs/quickstart --system "You are a librarian." --seed 7
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mio_jax.cli.content import Content, arrange, place, read_media, read_medium, segments_of
from mio_jax.cli.generate import add_sampling_arguments, sampling_of
from mio_jax.errors import MioError

if TYPE_CHECKING:
    from mio_jax.cli.chat_output import Output
    from mio_jax.generate.chat import Chat
    from mio_jax.generate.messages import Conversation
    from mio_jax.train.run import Run

SUMMARY = "talk to a trained run in the terminal, with pictures and sounds"

COMMANDS = "/image FILE, /audio FILE, /ask WORDING, /seed N, /reset, /help, /quit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    parser.add_argument("--stage", metavar="NAME", help="use this stage's weights (default: the last stage's)")
    parser.add_argument("--mode", default="", metavar="NAME", help="std, voice (answers are speech) or custom")
    parser.add_argument("--system", default="", metavar="TEXT", help="a system prompt of your own (mode custom)")
    parser.add_argument("--history", metavar="FILE", help="what was said before: a JSON list of turns")
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="for the first turn; repeatable")
    parser.add_argument("--audio", action="append", default=[], metavar="FILE", help="for the first turn; repeatable")
    parser.add_argument("--out", default="out", metavar="DIR", help="where pictures and sounds go (default: out/)")
    parser.add_argument("--play", default="", metavar="CMD", help="plays raw 16-bit samples; {rate}: their rate in Hz")
    parser.add_argument("--seed", type=int, default=0, help="of the first answer; the next ones take SEED+1, ...")
    parser.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="of one answer (default 512)")
    parser.add_argument("--max-seconds", type=float, default=0, metavar="X", help="of one sound; default 0: no bound")
    parser.add_argument("--window", action="store_true", help="forget the oldest turns where the context is full")
    add_sampling_arguments(parser)
    parser.add_argument("--no-grammar", action="store_true", help="nothing holds image and sound spans to their form")


def run(args: argparse.Namespace) -> int:
    check_seed(args.seed)
    media = read_media(args.image, args.audio)  # before the model is loaded: a bad file should not cost a minute
    history = read_history(args.history) if args.history else None

    from mio_jax.cli.chat_output import Output
    from mio_jax.generate.chat import Chat, ChatSettings, chat_format_of
    from mio_jax.generate.opening import engine_of
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run import find_checkpoint, load_run

    use_compilation_cache()
    run_ = load_run(args.run, stage=args.stage)
    system = args.system
    if history is not None and history.system:
        if system:
            raise MioError("--system and a system turn in --history: give one of them")
        system = history.system
    form = chat_format_of(run_, args.mode, system)
    settings = ChatSettings(
        sampling=sampling_of(args, run_.recipe, form.begins),
        max_new_tokens=args.max_new_tokens,
        grammar=not args.no_grammar,
        max_frames=frames_of(args.max_seconds, run_.tokenizers.audio),
        window=args.window,
    )
    chat = Chat(run_, engine_of(run_), form, settings)
    stage = run_.config.stages[find_checkpoint(run_.config, args.stage)[0]]
    if stage.style != "chat":
        print(f"note: stage {stage.name!r} was trained to continue text, not to chat", file=sys.stderr)
    output = Output(Path(args.out), args.play)
    talk = Talk(chat, output, args.seed, media)
    try:
        if history is not None:
            talk.remember(history)
        return talk.listen()
    finally:
        output.close()


def check_seed(seed: int) -> None:
    if not 0 <= seed < 1 << 32:
        raise MioError(f"--seed is {seed}; it must be 0 or more and below 2**32")


def frames_of(seconds: float, codec: Any) -> int:
    """Frames of a sound of at most so many seconds; 0: no bound. Raises MioError below 0."""
    if seconds < 0:
        raise MioError(f"--max-seconds is {seconds}; it must be positive (0: no bound)")
    return max(1, int(seconds * codec.rate / codec.hop)) if seconds else 0


def read_history(path: str) -> Conversation:
    """A conversation from a JSON file; media are files, looked for beside it. Raises MioError on anything else."""
    from mio_jax.generate.messages import arranged, read_messages

    try:
        turns = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MioError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MioError(f"{path} is no JSON: {error}") from error
    folder = Path(path).parent
    return arranged(read_messages(turns, path, lambda kind, name: read_medium(kind, folder / name)), path)


class Talk:
    """Turns from the standard input, answers to the standard output."""

    def __init__(self, chat: Chat, output: Output, seed: int, media: dict[str, list[Any]]) -> None:
        self.chat, self.output, self.seed, self.media = chat, output, seed, media
        self.wording = ""
        self.terminal = sys.stdin.isatty()

    @property
    def run(self) -> Run:
        return self.chat.run

    def remember(self, history: Conversation) -> None:
        for user, reply in history.exchanges:
            self.chat.add(segments_of(user, self.run), segments_of(reply, self.run))
        if history.turn:
            self.answer(history.turn)

    def listen(self) -> int:
        """Takes turns until the input ends. In a terminal a bad turn is told about; elsewhere it ends the command."""
        if self.terminal:
            print(f"{COMMANDS}; Ctrl-C stops an answer, Ctrl-D ends", file=sys.stderr)
        for line in self.lines():
            try:
                if line.startswith("/") and not line.startswith("//"):
                    if not self.command(line):
                        break
                elif line.strip() or any(self.media.values()):
                    self.turn(line.removeprefix("/") if line.startswith("//") else line)
            except MioError as error:
                if not self.terminal:
                    raise
                print(f"error: {error}", file=sys.stderr)
        return 0

    def lines(self) -> Iterator[str]:
        if not self.terminal:
            yield from (line.rstrip("\n") for line in sys.stdin)
            return
        import readline  # noqa: F401 - gives `input` a line that can be edited

        while True:
            try:
                yield input("you> ")
            except EOFError:
                print()
                return
            except KeyboardInterrupt:
                print()

    def command(self, line: str) -> bool:
        """Does what a line that begins with a slash says; False: the conversation is over."""
        name, _, value = line[1:].strip().partition(" ")
        value = value.strip()
        if name in ("image", "audio", "ask", "seed") and not value:
            raise MioError(f"/{name} needs something behind it: {COMMANDS}")
        if name in ("image", "audio"):
            self.media[name].append(read_medium(name, value))
        elif name == "ask":
            self.wording = value
        elif name == "seed":
            if not value.isdecimal():
                raise MioError(f"/seed takes a whole number, not {value!r}")
            check_seed(int(value))
            self.seed = int(value)
        elif name == "reset":
            self.chat.reset()
            self.media, self.wording = {"image": [], "audio": []}, ""
        elif name == "help":
            print(COMMANDS)
        elif name in ("quit", "exit"):
            return False
        else:
            raise MioError(f"there is no /{name}; there are {COMMANDS} (// begins a turn with a slash)")
        return True

    def turn(self, text: str) -> None:
        media, wording = self.media, self.wording
        # What a refused turn brought is not repeated by the next.
        self.media, self.wording = {"image": [], "audio": []}, ""
        content, loose = place(text, media)
        if not wording:
            self.answer(arrange(content, loose, "chat"))
            return
        asked, begins = self.run.recipe.ask(wording, segments_of([*content, *loose], self.run))
        self.say(asked, begins)

    def answer(self, content: Content) -> None:
        self.say(segments_of(content, self.run), "")

    def say(self, segments: list[Any], begins: str) -> None:
        from mio_jax.generate.rendering import Renderer

        chat, renderer = self.chat, Renderer(self.run.tokenizers)
        forgotten = chat.forgotten
        pieces = chat.ask(segments, seed=self.seed, begins=begins)
        self.seed = (self.seed + 1) % (1 << 32)
        if chat.forgotten > forgotten:
            print(f"note: {chat.forgotten - forgotten} old exchanges were forgotten for room", file=sys.stderr)
        reader = chat.reader()
        self.output.begin("mio> " if self.terminal else "")
        try:
            for piece in pieces:
                self.output.show(renderer.render(reader.read(piece)))
        except KeyboardInterrupt:
            if not self.terminal:
                raise
        finally:
            pieces.close()  # type: ignore[attr-defined]
            self.output.show(renderer.render(reader.finish()))
            self.output.end()
        if chat.cut:
            print("note: the answer was cut; allow more with --max-new-tokens, or begin anew", file=sys.stderr)
        if renderer.times.first_sound is not None:
            print(f"note: {renderer.times}", file=sys.stderr)
