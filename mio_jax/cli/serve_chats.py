"""Requests of `mio serve` as JSON -> answers as JSON, whatever carries them."""

from __future__ import annotations

import base64
import binascii
import io
import tempfile
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.cli.content import read_medium, segments_of
from mio_jax.cli.generate_requests import SAMPLING
from mio_jax.errors import MioError
from mio_jax.generate.batched import BatchedEngine, Request
from mio_jax.generate.chat import USUAL_TOKENS, Chat, ChatSettings, chat_format_of
from mio_jax.generate.messages import arranged, read_messages
from mio_jax.generate.reading import Unreadable, Words
from mio_jax.generate.rendering import Pixels, Renderer, Samples, Shown
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.serving import Server
from mio_jax.generate.voice import pcm
from mio_jax.train.run import Run

FILES = 64  # media that were sent and are kept for requests to come
OTHERS: dict[str, Any] = {"messages": list, "seed": int, "max_tokens": int, "expect": str, "stream": bool}


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


class Chats:
    """Conversations with one run; safe for many threads.

    Args:
      mode, system: of conversations that bring no system turn; see `chat_format_of`.
    """

    def __init__(
        self, run: Run, engine: Any, rows: int, mode: str = "", system: str = "", *, grammar: bool = True
    ) -> None:
        self.run, self.engine, self._mode, self._system, self._grammar = run, engine, mode, system, grammar
        self._usual = Chat(run, engine, chat_format_of(run, mode, system))  # refuses what cannot work, at the start
        held = run.recipe.grammar(run.space) if grammar else None
        self.server = Server(BatchedEngine(engine, rows, stop_ids=self._usual.stop_ids, grammar=held))
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        self.server.close()

    def keep(self, content: bytes) -> str:
        """Keeps a medium's bytes -> its id. The oldest goes where there are too many."""
        if not content:
            raise MioError("the file is empty")
        name = uuid.uuid4().hex
        with self._lock:
            self._files[name] = content
            while len(self._files) > FILES:
                self._files.popitem(last=False)
        return name

    def answer(self, body: Any) -> Iterator[dict[str, Any]]:
        """The answer to a request, in parts as they come: one each of text, image (PNG), audio (16-bit samples, with
        rate, first and last) or unreadable; at the end finish ("stop" or "length") and the number of tokens.

        Raises MioError on a request that cannot be met, at once.
        """
        if not isinstance(body, dict):
            raise MioError("a request is a JSON object")
        for name, value in body.items():
            kind = {**OTHERS, **SAMPLING}.get(name)
            if kind is None:
                raise MioError(f"a request has no {name!r}; it has: {', '.join([*OTHERS, *SAMPLING])}")
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise MioError(f"{name} is {value!r}, of another type than it should be")
        talk = arranged(read_messages(body.get("messages"), "messages", self._medium), "messages")
        if not talk.turn:
            raise MioError("messages: the last turn must be the user's")
        form = chat_format_of(self.run, "", talk.system) if talk.system else self._usual.form
        tokens = body.get("max_tokens", USUAL_TOKENS)
        sampling = SamplingConfig(**{"top_p": 0.9, **{name: body[name] for name in SAMPLING if name in body}})
        chat = Chat(self.run, self.engine, form, ChatSettings(sampling, tokens, self._grammar))
        for user, reply in talk.exchanges:
            chat.add(segments_of(user, self.run), segments_of(reply, self.run))
        begins = body.get("expect", "") or form.begins if self._grammar else ""
        prompt, _, _ = chat.prompt(segments_of(talk.turn, self.run), begins)
        request = Request(prompt, sampling, tokens, body.get("seed", 0), begins, self._grammar)
        return self._parts(chat, self.server.ask(request))

    def whole(self, body: Any) -> dict[str, Any]:
        """The answer in one: its content as a list of parts, sounds as WAV files."""
        content: list[dict[str, Any]] = []
        end: dict[str, Any] = {}
        sound, rate = b"", 0
        for part in self.answer(body):
            if "audio" in part:
                sound, rate = (b"" if part["first"] else sound) + base64.b64decode(part["audio"]), part["rate"]
                if part["last"]:
                    content.append({"audio": base64_of(_wav(sound, rate))})
            elif "finish" in part:
                end = part
            elif "text" in part and content and "text" in content[-1]:
                content[-1]["text"] += part["text"]
            else:
                content.append(part)
        return {"role": "assistant", "content": content, **end}

    def _parts(self, chat: Chat, pieces: Iterator[np.ndarray]) -> Iterator[dict[str, Any]]:
        reader, renderer = chat.reader(), Renderer(self.run.tokenizers)
        count, last = 0, -1
        try:
            for piece in pieces:
                count, last = count + len(piece), int(piece[-1])
                yield from map(_part, renderer.render(reader.read(piece)))
        finally:
            pieces.close()  # type: ignore[attr-defined]
        yield from map(_part, renderer.render(reader.finish()))
        yield {"finish": "stop" if last in chat.stop_ids else "length", "tokens": count}

    def _medium(self, kind: str, reference: str) -> Any:
        if reference.startswith("file:"):
            with self._lock:
                content = self._files.get(reference.removeprefix("file:"))
            if content is None:
                raise MioError(f"there is no {reference}; send it to /files (the newest {FILES} are kept)")
        else:
            try:
                content = base64.b64decode(reference.rpartition(",")[2], validate=True)
            except binascii.Error as error:
                raise MioError(f"an {kind} is base64 or file:ID, and this is neither: {reference[:40]!r}") from error
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (f"{kind}.wav" if content[:4] == b"RIFF" else kind)
            path.write_bytes(content)
            try:
                return read_medium(kind, path)
            except MioError as error:
                raise MioError(str(error).replace(str(path), f"the {kind} of a message")) from error


def _part(shown: Shown) -> dict[str, Any]:
    if isinstance(shown, Words):
        return {"text": shown.text}
    if isinstance(shown, Pixels):
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(shown.picture).save(file, "PNG")
        return {"image": base64_of(file.getvalue())}
    if isinstance(shown, Samples):
        sound = {"audio": base64_of(pcm(shown.samples)), "rate": shown.rate}
        return {**sound, "first": shown.first, "last": shown.last}
    assert isinstance(shown, Unreadable)
    return {"unreadable": shown.why}


def _wav(samples: bytes, rate: int) -> bytes:
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(rate)
        wav.writeframes(samples)
    return file.getvalue()
