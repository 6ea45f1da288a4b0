"""A small server: conversations with a trained run as JSON, many at once. It needs `pip install -e .[serve]`.

POST /v1/chat/completions takes {"messages": [{"role": "user", "content": ...}], ...}; content is text or a list of
{"text": ...}, {"image": ...} and {"audio": ...}, media as base64 or as "file:ID" of one that was sent to POST /files.
Beside it: seed, max_tokens, temperature, top_p, top_k, repetition_penalty, greedy, expect (what an answer begins with),
and stream (true: server-sent events, as the answer comes).

  mio serve --run runs/quickstart
  mio serve --run runs/own_speech --mode voice --port 8080 --rows 16
"""

from __future__ import annotations

import argparse

from mio_jax.errors import MioError

SUMMARY = "serve conversations with a trained run as JSON, many at once"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    parser.add_argument("--stage", metavar="NAME", help="use this stage's weights (default: the last stage's)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, metavar="N")
    parser.add_argument("--rows", type=int, default=8, metavar="N", help="answers generated at once (default 8)")
    parser.add_argument("--mode", default="", metavar="NAME", help="std, voice or custom; as of `mio chat`")
    parser.add_argument("--system", default="", metavar="TEXT", help="of conversations without a system turn")
    parser.add_argument("--no-grammar", action="store_true", help="nothing holds image and sound spans to their form")


def run(args: argparse.Namespace) -> int:
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise MioError(f"mio serve needs {error.name}: install it with `pip install -e .[serve]`") from error
    if not 0 < args.port < 1 << 16:
        raise MioError(f"--port is {args.port}; it must be 1 to 65535")

    from mio_jax.cli.serve_app import make_app
    from mio_jax.cli.serve_chats import Chats
    from mio_jax.generate.opening import engine_of
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run import load_run

    use_compilation_cache()
    run_ = load_run(args.run, stage=args.stage)
    chats = Chats(run_, engine_of(run_), args.rows, args.mode, args.system, grammar=not args.no_grammar)
    print(f"http://{args.host}:{args.port}/v1/chat/completions (Ctrl-C ends)", flush=True)
    try:
        uvicorn.run(make_app(chats), host=args.host, port=args.port, log_level="warning")
    finally:
        chats.close()
    return 0
