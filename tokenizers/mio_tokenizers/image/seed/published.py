"""SEED's published weights in and out: files and folders, a separate vision tower, other grids; nothing is silent."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.seed.key_map import (
    Piece,
    Shape,
    from_published,
    pieces,
    published_shape,
    to_published,
    trunk_pieces,
)
from mio_tokenizers.image.seed.positions import resize_positions
from mio_tokenizers.image.seed.settings import SeedSettings, seed_settings
from mio_tokenizers.weights_check import check_shapes
from mio_tokenizers.weights_file import SUFFIXES
from mio_tokenizers.weights_file import read_arrays as read_arrays  # used through this module

Arrays = dict[str, np.ndarray]
WEIGHTS, TOWER = "seed_quantizer", "eva_vit_g"  # names of published files, without suffix
CONFIG = "config.json"
POSITIONS = "visual_encoder.pos_embed"
IGNORED = ("*.position_ids",)
OTHER_HEAD = {"mlp": ("Reverse_Qformer.*", "reverse_tokens"), "reverse": ("image_down.*",)}
# The text side of BLIP-2's Q-Former, which SEED deletes (section 7.3).
TEXT_SIDE = (
    *("Qformer.cls.*", "Qformer.bert.embeddings.word_embeddings.*", "Qformer.bert.embeddings.position_embeddings.*"),
    *("Qformer.bert.encoder.layer.*.intermediate.*", "Qformer.bert.encoder.layer.[0-9].output.*"),
    "Qformer.bert.encoder.layer.[0-9][0-9].output.*",
)
TOWER_ENDS = ("norm.*", "fc_norm.*", "head.*")  # of EVA's own file, behind the layers that SEED uses


def read_folder(folder: Path) -> tuple[Arrays, SeedSettings]:
    """(published arrays, settings) of a folder of published weights.

    It holds `seed_quantizer` and, if the vision tower is not in it, `eva_vit_g`, each .pt, .pth, .bin or .safetensors;
    `config.json`, where there is one, gives sizes that differ from the published ones (names of `SeedSettings`) and
    `ignore`, patterns of names to leave out.

    Raises:
      MioError: nothing there, several files of one name, or a config that is none.
    """
    main = _one_file(folder, WEIGHTS)
    if main is None:
        raise MioError(f"{folder} holds no {WEIGHTS} file ({', '.join(SUFFIXES)}); it is no SEED tokenizer")
    config: dict[str, object] = {}
    if (folder / CONFIG).is_file():
        try:
            config = json.loads((folder / CONFIG).read_text())
        except (OSError, ValueError) as error:
            raise MioError(f"{folder / CONFIG} is no readable JSON: {error}") from error
        if not isinstance(config, dict):
            raise MioError(f"{folder / CONFIG} holds no JSON object")
    ignore = config.pop("ignore", [])
    if not isinstance(ignore, list) or not all(isinstance(item, str) for item in ignore):
        raise MioError(f"{folder / CONFIG}: ignore must be a list of patterns of names, such as ['temp']")
    settings = seed_settings(config)
    arrays = read_arrays(main)
    tower = _one_file(folder, TOWER)
    if tower is not None and not any(name.startswith("visual_encoder.") for name in arrays):
        arrays |= tower_arrays(read_arrays(tower), settings)
    return drop(arrays, ignore), settings


def is_folder(folder: Path) -> bool:
    """Whether a folder holds published weights of SEED."""
    return folder.is_dir() and any((folder / f"{WEIGHTS}{suffix}").is_file() for suffix in SUFFIXES)


def _one_file(folder: Path, stem: str) -> Path | None:
    found = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise MioError(f"{folder} holds {stem} more than once ({', '.join(p.name for p in found)}); leave one")
    return found[0] if found else None


def tower_arrays(arrays: Mapping[str, np.ndarray], settings: SeedSettings) -> Arrays:
    """EVA's own file, whose names have no prefix -> names with it, without the layers that SEED does not use."""
    kept = {}
    for name, array in drop(arrays, TOWER_ENDS).items():
        block = re.match(r"blocks\.(\d+)\.", name)
        if block is None or int(block[1]) < settings.vit_depth:
            kept[f"visual_encoder.{name}"] = array
    return kept


def drop(arrays: Mapping[str, np.ndarray], patterns: Iterable[str]) -> Arrays:
    """Those whose names match none of the patterns."""
    patterns = tuple(patterns)
    return {name: a for name, a in arrays.items() if not any(fnmatch.fnmatchcase(name, p) for p in patterns)}


def import_arrays(
    published: Mapping[str, np.ndarray], settings: SeedSettings, shapes: Mapping[str, Shape], where: str
) -> Arrays:
    """Published arrays -> those of a tokenizer, in their own dtypes; the head that `settings` do not name is left out.

    Args:
      shapes: of our arrays, by their flat names.

    Raises:
      MioError: one line that lists everything missing, unexpected and misshapen.
    """
    theirs = drop(published, (*IGNORED, *OTHER_HEAD[settings.head]))
    return _import(theirs, settings, list(pieces(settings)), shapes, where)


def import_trunk(
    published: Mapping[str, np.ndarray], settings: SeedSettings, shapes: Mapping[str, Shape], where: str
) -> Arrays:
    """The vision tower and the Q-Former alone, without the text side that BLIP-2's has.

    Raises:
      MioError: one line that lists everything missing, unexpected and misshapen.
    """
    theirs = drop(published, (*IGNORED, *TEXT_SIDE))
    return _import(theirs, settings, list(trunk_pieces(settings)), shapes, where)


def _import(
    theirs: Arrays, settings: SeedSettings, table: Sequence[Piece], shapes: Mapping[str, Shape], where: str
) -> Arrays:
    if POSITIONS in theirs and theirs[POSITIONS].ndim == 3:
        theirs = theirs | {POSITIONS: resize_positions(theirs[POSITIONS][0], settings.grid)[None]}
    one = _layer_shapes(table, shapes)
    wanted = {piece.theirs: published_shape(piece, one(piece)) for piece in table}
    check_shapes({name: array.shape for name, array in theirs.items()}, wanted, where)
    dtypes: dict[str, set[np.dtype]] = {}
    for piece in table:
        dtypes.setdefault(piece.ours, set()).add(theirs[piece.theirs].dtype)
    out: Arrays = {}
    for piece in table:
        array = from_published(piece, theirs[piece.theirs], one(piece))
        if piece.layer is None:
            out[piece.ours] = np.ascontiguousarray(array)
        else:  # one array for all layers, filled layer by layer
            if piece.ours not in out:
                mixed = len(dtypes[piece.ours]) > 1
                out[piece.ours] = np.empty(shapes[piece.ours], np.float32 if mixed else array.dtype)
            out[piece.ours][piece.layer] = array
    return out


def export_arrays(arrays: Mapping[str, np.ndarray], settings: SeedSettings) -> Arrays:
    """Inverse of `import_arrays`: published names and layouts, in the dtypes that the arrays have."""
    parts: dict[str, list[np.ndarray]] = {}
    for piece in pieces(settings):  # the thirds of one array follow one another in the table
        array = np.asarray(arrays[piece.ours])
        parts.setdefault(piece.theirs, []).append(
            to_published(piece, array if piece.layer is None else array[piece.layer])
        )
    return {
        name: np.ascontiguousarray(np.concatenate(all_) if len(all_) > 1 else all_[0]) for name, all_ in parts.items()
    }


def _layer_shapes(table: Iterable[Piece], shapes: Mapping[str, Shape]) -> Callable[[Piece], Shape]:
    """piece -> shape of our array, or of one of its layers."""
    names = {piece.ours for piece in table}
    assert names == set(shapes), sorted(names ^ set(shapes))[:5]  # the table and the model are made for one another
    return lambda piece: shapes[piece.ours] if piece.layer is None else shapes[piece.ours][1:]
