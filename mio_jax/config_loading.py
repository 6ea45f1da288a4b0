"""Configs from files, dictionaries and command lines: strict, and wrong input is answered in one line.

A config file is Python with `get_config()` that returns a locked `ml_collections.ConfigDict` (made by
`to_config_dict`) or the dataclass itself, or a gin file (`config_gin.py`); `--config.a.b=value` replaces one field.
Whatever the way in, the result is the same frozen dataclass, and every key and type has been checked before anything
is built.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import importlib.util
import json
import os
import tempfile
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from mio_jax.config import RunConfig
from mio_jax.errors import MioError

T = TypeVar("T")


# ---------------------------------------------------------------------------------------------- to plain data


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested dicts and lists of plain values, ready for JSON."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"to_dict needs a dataclass instance, not {type(config).__name__}")
    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def plain(value: Any) -> Any:
    """`value` as nested dicts and lists: dataclasses and ConfigDicts become dicts, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "items"):  # dict and ConfigDict
        return {k: plain(v) for k, v in value.items()}
    return value


def to_config_dict(config: Any) -> Any:
    """A dataclass as a locked `ml_collections.ConfigDict`: what a config file's `get_config()` returns."""
    from ml_collections import ConfigDict

    return ConfigDict(to_dict(config)).lock()


# ---------------------------------------------------------------------------------------------- from plain data


def from_dict(cls: type[T], data: Any, where: str = "config") -> T:
    """Builds the dataclass `cls` from nested plain data (dict or ConfigDict); lists become tuples.

    Raises:
      MioError: an unknown key (with the nearest right one), a value of a wrong type, or what the dataclass itself
        refuses. `where` opens the message: the file or flag the data came from.
    """
    return typing.cast(T, _build(cls, plain(data), "", where, cls))


def _build(cls: Any, data: Any, path: str, where: str, root: Any) -> Any:
    if not isinstance(data, dict):
        raise _wrong_type(path or cls.__name__, data, cls.__name__, where)
    hints = typing.get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for key in data:
        if key not in known:
            raise _unknown_key(_join(path, str(key)), where, cls, path, root)
    values = {k: convert(hints[k], v, _join(path, k), where, root) for k, v in data.items()}
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.init
        and f.name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise MioError(f"{where}: {_join(path, missing[0])} is required and is not set")
    try:
        return cls(**values)
    except MioError as error:
        raise MioError(f"{where}: {error}") from None


def convert(hint: Any, value: Any, path: str, where: str, root: Any) -> Any:
    """`value` checked against the annotation `hint`; never changes meaning, only int -> float and list -> tuple.

    Raises:
      MioError: "`where`: `path` is VALUE (TYPE); it must be TYPE". Unknown keys are looked for in all of `root`.
    """
    if hint is Any:
        return value
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        options = [h for h in inner if h is not type(None)]
        for option in options[:-1]:
            try:
                return convert(option, value, path, where, root)
            except MioError:
                continue
        try:
            return convert(options[-1], value, path, where, root)
        except MioError:
            if dataclasses.is_dataclass(options[-1]) and isinstance(value, dict):
                raise  # the message about the inner key says more than the type would
            raise _wrong_type(path, value, _type_name(hint), where) from None
    if origin is typing.Literal:
        if value not in inner or isinstance(value, bool) != any(isinstance(v, bool) for v in inner):
            raise MioError(f"{where}: {path} is {value!r}; it must be one of {', '.join(map(repr, inner))}")
        return value
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path, where, root)
    if origin in (tuple, list):
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(path, value, _type_name(hint), where)
        if origin is list or inner[-1] is Ellipsis:
            items = [convert(inner[0], v, _join(path, str(i)), where, root) for i, v in enumerate(value)]
        elif len(inner) != len(value):
            raise MioError(f"{where}: {path} has {len(value)} values; it must have {len(inner)}")
        else:
            pairs = enumerate(zip(inner, value, strict=True))
            items = [convert(h, v, _join(path, str(i)), where, root) for i, (h, v) in pairs]
        return origin(items)
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong_type(path, value, _type_name(hint), where)
        return {k: convert(inner[1], v, _join(path, str(k)), where, root) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise _wrong_type(path, value, _type_name(hint), where)
    return value


def _wrong_type(path: str, value: Any, expected: str, where: str) -> MioError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return MioError(f"{where}: {path} is {shown} ({_type_name(type(value))}); it must be {expected}")


def _type_name(hint: Any) -> str:
    if hint is type(None):
        return "None"
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_type_name(h) for h in typing.get_args(hint))
    if typing.get_origin(hint) in (tuple, list):
        return f"a list of {_type_name(typing.get_args(hint)[0])}"
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def all_paths(cls: Any, prefix: str = "") -> list[str]:
    """Every settable path of a config class; list items stand as `N`: `stages.N.optim.learning_rate`."""
    paths = []
    for name, hint in typing.get_type_hints(cls).items():
        path = _join(prefix, name)
        paths.append(path)
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                nested = path if inner is hint or typing.get_origin(hint) is not tuple else f"{path}.N"
                paths.extend(all_paths(inner, nested))
    return paths


def _unknown_key(path: str, where: str, cls: Any, parent: str, root: Any) -> MioError:
    """Names the nearest key of the same level, or else the nearest path anywhere in the config."""
    key = path.rsplit(".", 1)[-1]
    siblings = [f.name for f in dataclasses.fields(cls) if f.init]
    near = [_join(parent, n) for n in difflib.get_close_matches(key, siblings, n=1, cutoff=0.6)]
    if not near:
        anywhere = all_paths(root)
        by_last = {p.rsplit(".", 1)[-1]: p for p in reversed(anywhere)}
        near = [by_last[n] for n in difflib.get_close_matches(key, by_last, n=1, cutoff=0.75)]
        near = near or difflib.get_close_matches(path, anywhere, n=1, cutoff=0.75)
    hint = f"did you mean {near[0]}?" if near else f"keys of {parent or 'the config'}: {', '.join(siblings)}"
    return MioError(f"{where}: unknown key {path}; {hint}")


# ---------------------------------------------------------------------------------------------- overrides


def apply_overrides(config: T, overrides: typing.Sequence[str]) -> T:
    """A copy of `config` with `path=value` strings applied in order and the whole validated once, at the end.

    A list item is named by its index or by its name: `stages.0.steps=5`, `stages.alignment.steps=5`.
    """
    return override(config, overrides)[0]


def override(config: T, overrides: typing.Sequence[str]) -> tuple[T, list[str]]:
    """`apply_overrides`, and the paths that were set, with list items by index."""
    cls = type(config)
    data = to_dict(config)
    paths = []
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise MioError(f"--config.{text}: write it as --config.KEY=VALUE")
        paths.append(_set_path(cls, data, path, value))
    return (from_dict(cls, data, "config") if overrides else config), paths


def _set_path(cls: Any, data: Any, path: str, text: str) -> str:
    """Sets one value in plain data and returns its path with list items by index."""
    flag, hint, node, walked = f"--config.{path}", cls, data, ""
    slots: list[str] = []
    keys = path.split(".")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        hint = bare_hint(hint)
        if dataclasses.is_dataclass(hint):
            hints = typing.get_type_hints(hint)
            if key not in hints:
                raise _unknown_key(_join(walked, key), "command line", hint, walked, cls)
            hint, slot = hints[key], key
        elif typing.get_origin(hint) in (tuple, list):
            slot = _item_index(node, key, walked)
            hint = typing.get_args(hint)[0]
        elif typing.get_origin(hint) is dict:
            hint, slot = typing.get_args(hint)[1], key
        else:
            raise MioError(f"command line: {walked} is {_type_name(hint)} and has no key {key!r}")
        walked = _join(walked, key)
        slots.append(str(slot))
        if last:
            node[slot] = plain(convert(hint, _parse(hint, text, flag), walked, "command line", cls))
        else:
            if node[slot] is None:
                node[slot] = {}
            node = node[slot]
    return ".".join(slots)


def bare_hint(hint: Any) -> Any:
    """`X` of `X | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [h for h in typing.get_args(hint) if h is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def _item_index(items: list[Any], key: str, path: str) -> Any:
    """Position of a list item by index or by what names it: its `name`, else its first string field."""

    def label(item: Any) -> str:
        if not isinstance(item, dict):
            return ""
        return str(item.get("name") or next((v for v in item.values() if isinstance(v, str)), ""))

    labels = [label(item) for item in items]
    if key.isdigit() and int(key) < len(items):
        return int(key)
    if key in labels:
        return labels.index(key)
    named = ", ".join(n for n in labels if n)
    near = difflib.get_close_matches(key, labels, n=1)
    hint = f"; did you mean {path}.{near[0]}?" if near else ""
    raise MioError(
        f"command line: {path} has no item {key!r}; it has {len(items)}" + (f" ({named})" if named else "") + hint
    )


def _parse(hint: Any, text: str, flag: str) -> Any:
    """A command-line string as a plain value of about the right type; `convert` then checks it strictly."""
    accepts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if type(None) in accepts and text.lower() in ("none", "null"):
        return None
    hint = bare_hint(hint)
    if hint is str:
        return text
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[0] is str and not text.startswith(("[", "(")):
        return [part.strip() for part in text.split(",") if part.strip()]
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


# ---------------------------------------------------------------------------------------------- files


@typing.overload
def load_config_file(path: str | os.PathLike[str], overrides: typing.Sequence[str] = ()) -> RunConfig: ...
@typing.overload
def load_config_file(path: str | os.PathLike[str], overrides: typing.Sequence[str], cls: type[T]) -> T: ...
def load_config_file(path: str | os.PathLike[str], overrides: typing.Sequence[str] = (), cls: Any = RunConfig) -> Any:
    """Runs `get_config()` of a config file, checks the result and applies overrides.

    `path` may end in `:argument`, a string that is then passed to `get_config`.

    Raises:
      MioError: no such file, an error inside it, no get_config, or a config that does not validate.
    """
    file, _, argument = str(path).partition(".py:")
    file = f"{file}.py" if argument else str(path)
    if not Path(file).is_file():
        raise MioError(f"no config file {file}{_near_file(file)}")
    spec = importlib.util.spec_from_file_location(f"mio_config_{abs(hash(os.path.abspath(file)))}", file)
    if spec is None or spec.loader is None:
        raise MioError(f"{file}: a config file is a Python file with get_config(); see configs/quickstart.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise MioError("it has no get_config(); see configs/quickstart.py")
        made = module.get_config(argument) if argument else module.get_config()
    except MioError as error:
        raise MioError(f"{file}: {error}") from None
    except Exception as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else _line_in(error, file)
        raise MioError(f"{file}{line}: {type(error).__name__}: {error}") from error
    if isinstance(made, cls):
        config = made
    elif dataclasses.is_dataclass(made) or not hasattr(made, "items"):
        raise MioError(f"{file}: get_config() returned {type(made).__name__}; this command needs {cls.__name__}")
    else:
        config = from_dict(cls, made, file)
    return apply_overrides(config, overrides)


def _line_in(error: BaseException, file: str) -> str:
    """` line N` of the innermost frame of `error` that lies in `file`."""
    number, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            number = trace.tb_lineno
        trace = trace.tb_next
    return f" line {number}" if number else ""


def _near_file(file: str) -> str:
    folder = Path(file).parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    near = difflib.get_close_matches(Path(file).name, [p.name for p in folder.glob("*.py")], n=1)
    return f"; did you mean {folder / near[0]}?" if near else ""


def save_json(config: Any, path: str | os.PathLike[str]) -> None:
    """Writes the resolved config; a reader sees the old file or the new one, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(to_dict(config), out, indent=2, ensure_ascii=False)
            out.write("\n")
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def load_json(cls: type[T], path: str | os.PathLike[str]) -> T:
    """Reads what `save_json` wrote. Raises MioError if the file is missing, is not JSON or does not validate."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MioError(f"no config at {path}: is this a run directory?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MioError(f"{path} is not a config: {error}") from None
    return from_dict(cls, data, str(path))


# ---------------------------------------------------------------------------------------------- command line


def add_config_arguments(
    parser: argparse.ArgumentParser, *, required: bool = False, default: str | None = None
) -> None:
    """Declares `--config FILE` and `--gin_file FILE`, of which one is given.

    The flags that change values, `--config.KEY=VALUE` and `--gin.NAME=VALUE`, are taken out by `parse_args`.
    """
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="config file, e.g. configs/quickstart.py" + (f" (default: {default})" if default else ""),
    )
    parser.add_argument(
        "--config.KEY",
        dest="config_overrides",
        metavar="VALUE",
        action="append",
        default=[],
        help="replace one field, e.g. --config.model.depth=4 --config.stages.alignment.steps=50",
    )
    parser.add_argument(
        "--gin_file",
        metavar="FILE",
        action="append",
        default=[],
        help="the config as gin, e.g. configs/gin/quickstart.gin; may be given several times",
    )
    parser.add_argument(
        "--gin.NAME",
        dest="gin_bindings",
        metavar="VALUE",
        action="append",
        default=[],
        help="bind one name of the gin config, e.g. --gin.BATCH_SIZE=16 --gin.sft/StageConfig.steps=50",
    )
    parser.set_defaults(config_required=required, config_default=default)


def parse_args(parser: argparse.ArgumentParser, argv: typing.Sequence[str]) -> argparse.Namespace:
    """`parser.parse_args(argv)` with every `--config.a.b=v` (or `--config.a.b v`) collected in `config_overrides`, and
    every `--gin.NAME=v` in `gin_bindings`; `config` is its default where neither it nor a gin file was given."""
    rest: list[str] = []
    flags: dict[str, list[str]] = {"--config.": [], "--gin.": []}
    words = iter(argv)
    for word in words:
        prefix = next((p for p in flags if word.startswith(p)), None)
        if word == "--":
            rest.extend([word, *words])
        elif prefix:
            text = word[len(prefix) :]
            if "=" not in text:
                value = next(words, None)
                if value is None or value.startswith("--"):
                    raise MioError(f"{word} has no value: write {word}=VALUE")
                text = f"{text}={value}"
            flags[prefix].append(text)
        else:
            rest.append(word)
    args = parser.parse_args(rest)
    if not hasattr(args, "config_overrides"):
        for prefix, given in flags.items():
            if given:
                raise MioError(f"{parser.prog} takes no config, so {prefix}{given[0]} has no meaning here")
        return args
    args.config_overrides, args.gin_bindings = flags["--config."], flags["--gin."]
    if args.config and args.gin_file:
        raise MioError(f"--config {args.config} and --gin_file {args.gin_file[0]} are two configs; give one")
    if args.gin_bindings and not args.gin_file:
        raise MioError(f"--gin.{args.gin_bindings[0]} binds a name of a gin file; give one with --gin_file")
    if not args.config and not args.gin_file:
        if args.config_required:
            raise MioError(
                f"{parser.prog} needs a config: --config FILE or --gin_file FILE (see `{parser.prog} --help`)"
            )
        args.config = args.config_default
    return args


def config_given(args: argparse.Namespace) -> bool:
    """Whether the command line says anything about a config."""
    return bool(args.config or args.config_overrides or args.gin_file or args.gin_bindings)


def config_words(args: argparse.Namespace) -> str:
    """The file flags of a command as they were given, for messages that name the next command."""
    return " ".join(f"--gin_file {file}" for file in args.gin_file) or f"--config {args.config}"


@typing.overload
def config_from_args(args: argparse.Namespace) -> RunConfig: ...
@typing.overload
def config_from_args(args: argparse.Namespace, cls: type[T]) -> T: ...
def config_from_args(args: argparse.Namespace, cls: Any = RunConfig) -> Any:
    """The config that `--config` or `--gin_file` and their overrides describe. Raises MioError if neither was given."""
    if args.gin_file:
        from mio_jax.config_gin import load_gin

        return apply_overrides(load_gin(args.gin_file, args.gin_bindings, cls)[0], args.config_overrides)
    if not args.config:
        raise MioError("no config: pass --config FILE, e.g. --config configs/quickstart.py (or --gin_file FILE)")
    return load_config_file(args.config, args.config_overrides, cls)
