"""Trains tokenizers, measures them on held-out media, and lists the bundled ones.

mio tokenizer train --config configs/tokenizers/image_vq_tiny.py
mio tokenizer eval --config configs/tokenizers/image_vq_tiny.py [--tokenizer bundled:image_vq_tiny] [--out eval.json]
mio tokenizer export-media --config configs/tokenizers/image_vq_tiny.py --out media.npz
mio tokenizer train --config configs/tokenizers/image_vq_tiny.py --media media.npz   # where the data sets are not
mio tokenizer features --config configs/tokenizers/speechtokenizer.py --teacher hubert:weights/hubert --out data/hubert
mio tokenizer import --from weights/speechtokenizer --out weights/speechtokenizer.safetensors
mio tokenizer encode --tokenizer weights/speechtokenizer.safetensors --audio long.wav --out codes.npy
mio tokenizer decode --tokenizer weights/speechtokenizer.safetensors --codes codes.npy --out again.wav
mio tokenizer list
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.cli import tokenizer_speech
from mio_jax.cli.tokenizer_speech import ACTIONS as SPEECH
from mio_jax.config_loading import add_config_arguments, config_from_args, save_json
from mio_jax.errors import MioError
from mio_tokenizers.training.config import TokenizerTrainConfig

SUMMARY = "train and evaluate tokenizers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("train", "eval", "export-media", "features", "list", *SPEECH))
    add_config_arguments(parser)
    parser.add_argument("--media", metavar="NPZ", help="media written by export-media (default: read the data sets)")
    parser.add_argument("--tokenizer", metavar="SPEC", help="which tokenizer (eval: by default the config's `out`)")
    parser.add_argument("--out", metavar="FILE", help="the file to write; eval: JSON (default: WORK_DIR/eval.json)")
    tokenizer_speech.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list()
    if args.action in SPEECH:
        return SPEECH[args.action](args)
    if args.gin_file:  # whose class names must exist before the file is read
        from mio_tokenizers.text import training as _text  # noqa: F401
        from mio_tokenizers.training import audio as _audio  # noqa: F401
        from mio_tokenizers.training import hifigan as _hifigan  # noqa: F401
        from mio_tokenizers.training import image as _image  # noqa: F401
        from mio_tokenizers.training import seed_codebook as _seed_codebook  # noqa: F401
        from mio_tokenizers.training import seed_decoder as _seed_decoder  # noqa: F401
        from mio_tokenizers.training import seed_qformer as _seed_qformer  # noqa: F401
        from mio_tokenizers.training import speechtokenizer as _speechtokenizer  # noqa: F401
        from mio_tokenizers.training import vit_vqgan as _vit_vqgan  # noqa: F401
        from mio_tokenizers.training import vqgan as _vqgan  # noqa: F401
    config = config_from_args(args, TokenizerTrainConfig)
    if args.action == "export-media":
        return _export(config, args.out)
    if args.action == "features":
        return tokenizer_speech.features(args, config, _media(config, args.media, ("train", "test")))
    media = _media(config, args.media, ("train", "test") if args.action == "train" else ("test",))
    if args.action == "train":
        return _train(config, media)
    return _evaluate(config, media, args.tokenizer or config.out, args.out)


def _media(config: TokenizerTrainConfig, path: str | None, splits: tuple[str, ...]) -> dict[str, np.ndarray]:
    from mio_jax.data.media_arrays import collect_media, load_media

    if path:
        return load_media(path)
    return collect_media(config.media, splits, raw_dir=config.raw_dir, window=config.window)


def _export(config: TokenizerTrainConfig, out: str | None) -> int:
    from mio_jax.data.media_arrays import collect_media, save_media

    if not out:
        raise MioError("export-media needs --out FILE.npz")
    media = collect_media(config.media, raw_dir=config.raw_dir, window=config.window)
    save_media(out, media)
    for name, array in sorted(media.items()):
        print(f"{name}: {array.dtype} {list(array.shape)}")
    print(f"wrote {out} ({os.path.getsize(out) / 2**20:.1f} MiB)")
    return 0


def _train(config: TokenizerTrainConfig, media: dict[str, np.ndarray]) -> int:
    from mio_tokenizers.training.kinds import trainable

    save_json(config, Path(config.work_dir) / "config.json")
    kind = trainable(config.kind)
    tokenizer = kind.train(config, media)
    print(f"wrote {config.out} ({os.path.getsize(config.out) / 2**20:.2f} MiB), {tokenizer.fingerprint}")
    return _report(kind.evaluate(config, tokenizer, media), Path(config.work_dir) / "eval.json")


def _evaluate(config: TokenizerTrainConfig, media: dict[str, np.ndarray], spec: str, out: str | None) -> int:
    from mio_tokenizers import load
    from mio_tokenizers.training.kinds import trainable

    figures = trainable(config.kind).evaluate(config, load(spec), media)
    return _report(figures, Path(out) if out else Path(config.work_dir) / "eval.json")


def _report(figures: dict[str, Any], path: Path) -> int:
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"wrote {path}")
    return 0


def _list() -> int:
    from mio_tokenizers import bundled, load

    for name, path in bundled().items():
        tokenizer = load(f"bundled:{name}")
        print(
            f"bundled:{name:16} {tokenizer.modality:6} {tokenizer.vocab_size:5} codes  "
            f"{path.stat().st_size / 2**20:5.2f} MiB  {tokenizer.fingerprint}"
        )
    return 0
