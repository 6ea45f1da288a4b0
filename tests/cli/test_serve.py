"""`mio serve`: conversations as JSON, whole and as events, with media both ways."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.cli.serve_chats import Chats
from mio_jax.errors import MioError
from mio_jax.generate.opening import engine_of
from mio_jax.train.run import load_run


@pytest.fixture(scope="module")
def chats(run_dir: str) -> Iterator[Chats]:
    run = load_run(run_dir)
    chats = Chats(run, engine_of(run), 2)
    yield chats
    chats.close()


def user(*content: dict[str, str] | str) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def test_a_picture_as_events_and_as_a_whole(chats: Chats, media: dict[str, str]) -> None:
    picture = base64.b64encode(Path(media["in.png"]).read_bytes()).decode()
    body = {"messages": [user({"text": "Again?"}, {"image": picture})], "expect": "image", "max_tokens": 70, "seed": 3}
    *parts, end = chats.answer(body)
    whole = chats.whole(body)
    [drawn] = [part["image"] for part in parts if "image" in part][:1]
    assert Image.open(io.BytesIO(base64.b64decode(drawn))).size == (64, 64)
    assert whole["content"][0] == {"image": drawn}
    assert {name: whole[name] for name in ("finish", "tokens")} == end
    assert end["tokens"] <= 70


def test_a_sound_comes_in_parts_and_as_a_file(chats: Chats, media: dict[str, str]) -> None:
    name = chats.keep(Path(media["in.wav"]).read_bytes())
    body = {"messages": [user({"audio": f"file:{name}"}, {"text": "Go on."})], "expect": "audio", "max_tokens": 40}
    parts = [part for part in chats.answer(body) if "audio" in part]
    heard = b"".join(base64.b64decode(part["audio"]) for part in parts if part["audio"])
    files = [part["audio"] for part in chats.whole(body)["content"] if "audio" in part]
    rate, _ = scipy.io.wavfile.read(io.BytesIO(base64.b64decode(files[0])))
    assert rate == parts[0]["rate"]
    assert parts[0]["first"]
    assert parts[-1]["last"]
    waves = [scipy.io.wavfile.read(io.BytesIO(base64.b64decode(file)))[1] for file in files]
    assert heard == np.concatenate(waves).tobytes()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "a request is a JSON object"),
        ({}, "messages: a conversation is a list of turns"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "turn 0 is of the assistant"),
        ({"messages": [user("x"), {"role": "assistant", "content": "y"}]}, "the last turn must be the user's"),
        ({"messages": [user("x")], "colour": 1}, "a request has no 'colour'"),
        ({"messages": [user("x")], "seed": "1"}, "seed is '1', of another type"),
        ({"messages": [user("x")], "top_p": 3}, "top_p is 3"),
        ({"messages": [user("x")], "expect": "smell"}, "cannot begin with 'smell'"),
        ({"messages": [user("word " * 400)]}, "the context is full"),
        ({"messages": [user({"image": "file:none"})]}, "there is no file:none"),
        ({"messages": [user({"image": "?"})]}, "an image is base64 or file:ID"),
        ({"messages": [user({"image": "aGVsbG8="})]}, "the image of a message"),
    ],
)
def test_bad_requests(body: Any, message: str, chats: Chats) -> None:
    with pytest.raises(MioError, match=message.replace("?", r"\?")):
        chats.answer(body)


def test_a_server_that_cannot_start(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--run", run_dir, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "--port is 0" in error or "install it with" in error


def test_the_application(chats: Chats) -> None:
    pytest.importorskip("starlette")
    from mio_jax.cli.serve_app import make_app

    app = make_app(chats)

    def call(method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request, spoken as an application of this kind is spoken to."""
        sent: list[Any] = []
        given: list[bytes] = []

        async def receive() -> Any:
            if given:
                await asyncio.Event().wait()  # nothing more comes, and nobody goes
            given.append(body)
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path}
        scope |= {"raw_path": path.encode(), "query_string": b"", "headers": [], "scheme": "http", "root_path": ""}
        asyncio.run(app({**scope, "server": ("here", 80), "client": ("there", 1)}, receive, send))
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    status, health = call("GET", "/health")
    assert (status, json.loads(health)["busy"]) == (200, 0)
    asked = {"messages": [user("x")], "max_tokens": 3, "greedy": True}
    status, whole = call("POST", "/v1/chat/completions", json.dumps(asked).encode())
    assert (status, json.loads(whole)["role"]) == (200, "assistant")
    status, events = call("POST", "/v1/chat/completions", json.dumps({**asked, "stream": True}).encode())
    parts = [json.loads(line.removeprefix("data: ")) for line in events.decode().split("\n\n") if line]
    assert parts[-1]["tokens"] == json.loads(whole)["tokens"]
    assert call("POST", "/v1/chat/completions", b"{")[0] == 400
    assert json.loads(call("POST", "/files", b"")[1]) == {"error": "the file is empty"}
    assert len(json.loads(call("POST", "/files", b"RIFF")[1])["id"]) == 32
