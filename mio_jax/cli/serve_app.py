"""The web application of `mio serve`: routes, bodies and server-sent events around `Chats`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mio_jax.cli.serve_chats import Chats
from mio_jax.errors import MioError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LARGEST_BODY = 64 << 20  # bytes


def make_app(chats: Chats) -> Starlette:
    """POST /v1/chat/completions, POST /files, GET /health."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    async def complete(request: Request) -> Response:
        try:
            body = json.loads(await _body(request))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise MioError(f"the body is no JSON: {error}") from error
        if isinstance(body, dict) and body.get("stream") is True:
            parts = await run_in_threadpool(chats.answer, body)
            return StreamingResponse(_events(parts), media_type="text/event-stream")
        return JSONResponse(await run_in_threadpool(chats.whole, body))

    async def file(request: Request) -> Response:
        return JSONResponse({"id": chats.keep(await _body(request))})

    async def health(request: Request) -> Response:
        facts = {"run": chats.run.config.name, "context": chats.engine.max_length, "busy": chats.server.busy}
        return JSONResponse(facts)

    async def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status_code=400)

    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/files", file, methods=["POST"]),
        Route("/health", health),
    ]
    return Starlette(routes=routes, exception_handlers={MioError: refused})


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > LARGEST_BODY:
            raise MioError(f"the body is larger than {LARGEST_BODY >> 20} MiB")
    return bytes(content)


def _events(parts: Iterator[dict[str, Any]]) -> Iterator[str]:
    try:
        for part in parts:
            yield f"data: {json.dumps(part, ensure_ascii=False)}\n\n"
    except MioError as error:  # the status has been sent: the reader learns of it here
        yield f"data: {json.dumps({'error': str(error)})}\n\n"
