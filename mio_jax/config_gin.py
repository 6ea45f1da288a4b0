"""gin files and bindings as the same frozen dataclasses that ml_collections files give, with the same strictness.

Every config class is a gin configurable under its own name: `StageConfig.steps = 100`, `RunConfig.stages =
[@sft/StageConfig()]`, `sft/OptimConfig.learning_rate = 3e-3`, macros in capitals (`BATCH_SIZE = 8`, `%BATCH_SIZE`). gin
does not check types and ignores bindings that nothing reads; here both are errors of one line. A nested config need
not be referred to: `ModelConfig.depth = 4` alone reaches `RunConfig.model`.

gin's state is global. What a program has put into it is set aside while a config is built, and put back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import re
import threading
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mio_jax.config_loading import bare_hint, convert, plain
from mio_jax.errors import MioError

T = TypeVar("T")
Key = tuple[str, str, str]  # scope, selector and parameter of a binding
COMMAND_LINE = "command line"

_lock = threading.RLock()
_registered: dict[type, str] = {}  # config class -> its gin selector
_active: list[_Session] = []  # the session that configurables report to


class _Draft(NamedTuple):
    """What a configurable was given, not yet checked; `origins` says where each value came from."""

    cls: type
    scope: str
    values: dict[str, Any]
    origins: dict[str, str]


def load_gin(files: Sequence[str], bindings: Sequence[str], cls: type[T]) -> tuple[T, dict[str, str]]:
    """Builds `cls` from gin files, in order, and then `NAME=value` bindings of the command line.

    Returns:
      The config, and for each dotted path that was bound (`stages.0.steps`) the file or "command line" it came from.

    Raises:
      MioError: no such file, a syntax error, an unknown name (with the nearest right one), a value of a wrong type, a
        required value that is not set, a binding that has no effect, or what the dataclass itself refuses.
    """
    for file in files:
        if not Path(file).is_file():
            raise MioError(f"no gin file {file}")
    with _lock, _set_aside():
        roots = [cls, *_subclasses(cls)]
        for root in roots:
            _register(root)
        session = _Session(roots)
        for file in files:
            session.parse(Path(file).read_text(encoding="utf-8"), file)
        for binding in bindings:
            name, equals, value = binding.partition("=")
            if not equals:
                raise MioError(f"--gin.{binding}: write it as --gin.NAME=VALUE")
            session.parse(f"{name.strip()} = {value.strip()}", COMMAND_LINE)
        return session.build()


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [found for child in children for found in (child, *_subclasses(child))]


def _classes(cls: type) -> list[type]:
    """`cls` and every config class that its annotations reach."""
    found, queue = [cls], [cls]
    while queue:
        for hint in typing.get_type_hints(queue.pop()).values():
            for inner in _walk_hint(hint):
                if inner not in found:
                    found.append(inner)
                    queue.append(inner)
    return found


def _walk_hint(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    return [cls for inner in typing.get_args(hint) for cls in _walk_hint(inner)]


def _register(cls: type) -> None:
    """Makes `cls` and the classes in it gin configurables, once a process. They make drafts, not the classes."""
    import gin

    def maker(made: type) -> Callable[..., _Draft]:
        return lambda **values: _active[-1].draft(made, values)

    for found in _classes(cls):
        if found not in _registered:
            gin.external_configurable(maker(found), name=found.__name__, module=found.__module__)
            _registered[found] = f"{found.__module__}.{found.__name__}"


@contextlib.contextmanager
def _set_aside() -> Iterator[None]:
    """gin's global state is empty inside, and as it was afterwards. gin 0.5 has no public way to save it."""
    from gin import config as state

    kept = {scope: dict(values) for scope, values in state._CONFIG.items()}
    operative = {scope: dict(values) for scope, values in state._OPERATIVE_CONFIG.items()}
    imports, prefixes = set(state._IMPORTS), list(state._LOCATION_PREFIXES)
    singletons, locked = dict(state._SINGLETONS), state.config_is_locked()
    state.clear_config()
    try:
        with state.config_scope(None):
            yield
    finally:
        state.clear_config()
        state._CONFIG.update(kept)
        state._OPERATIVE_CONFIG.update(operative)
        state._IMPORTS.update(imports)
        state._LOCATION_PREFIXES[:] = prefixes
        state._SINGLETONS.update(singletons)
        state._set_config_is_locked(locked)


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """gin logs every folder in which an included file is not before it looks in the next; a file that is in none of
    them is an error of its own."""

    def found(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Path not found")

    root = logging.getLogger()
    root.addFilter(found)
    try:
        yield
    finally:
        root.removeFilter(found)


class _Session:
    """One config being built: what was bound, by which source, and what of it was read."""

    def __init__(self, roots: list[type]) -> None:
        self._roots = roots
        self._selectors = {_registered[cls]: cls for root in roots for cls in _classes(root)}
        self._bound: dict[tuple[str, str], dict[str, Any]] = {}
        self._sources: list[str] = []
        self._from: dict[Key, int] = {}  # binding -> which source
        self._read: set[Key] = set()

    # ------------------------------------------------------------------------------------------ reading

    def parse(self, text: str, source: str) -> None:
        """Adds the bindings of one file, or one binding of the command line."""
        from gin import config as state

        if source not in self._sources:
            self._sources.append(source)
        state._CONFIG.clear()  # so that what is there afterwards is this source's
        if source != COMMAND_LINE:
            state.add_config_file_search_path(str(Path(source).parent))  # for its includes
        try:
            with _without_notes():
                state.parse_config(text)
        except Exception as error:
            raise self._parse_error(error, text, source) from error
        for place, values in state._CONFIG.items():
            self._bound.setdefault(place, {}).update(values)
            for parameter in values:
                self._from[(*place, parameter)] = self._sources.index(source)
        for (scope, selector), values in state._CONFIG.items():
            if selector in self._selectors:
                for parameter in values:
                    self._check_name(scope, selector, parameter, source)

    def _check_name(self, scope: str, selector: str, parameter: str, source: str) -> None:
        cls = self._selectors[selector]
        names = [f.name for f in dataclasses.fields(cls) if f.init]
        if parameter in names:
            return
        near = [f"{cls.__name__}.{n}" for n in difflib.get_close_matches(parameter, names, n=1, cutoff=0.6)]
        if not near:
            every = {f.name: c.__name__ for c in self._selectors.values() for f in dataclasses.fields(c) if f.init}
            near = [f"{every[n]}.{n}" for n in difflib.get_close_matches(parameter, every, n=1, cutoff=0.75)]
        hint = f"did you mean {near[0]}?" if near else f"keys of {cls.__name__}: {', '.join(names)}"
        raise MioError(f"{source}: unknown key {_shown(scope, cls)}.{parameter}; {hint}")

    def _parse_error(self, error: Exception, text: str, source: str) -> MioError:
        """gin's message as one line, with the nearest name, or how a string is written."""
        where = source
        number = re.search(r"line (\d+)", str(error))
        if number and source != COMMAND_LINE:
            where = f"{source} line {number[1]}"
        if source == COMMAND_LINE:
            where = f"{source}: --gin.{text.replace(' = ', '=', 1)}"
        unknown = re.search(r"No configurable matching ['\"]?(?:.*/)?([\w.]+)", str(error))
        if unknown:
            names = {cls.__name__ for cls in self._selectors.values()}
            name = unknown[1].split("/")[-1]
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
            if near:
                return MioError(f"{where}: unknown config class {name}; did you mean {near[0]}?")
            path = re.split(r"[=\s]", text, maxsplit=1)[0]
            if source == COMMAND_LINE and path.split(".")[0] in [f.name for f in dataclasses.fields(self._roots[0])]:
                return MioError(f"{where}: gin names classes; write it as --config.{text.replace(' = ', '=', 1)}")
            return MioError(f"{where}: unknown config class {name}; they are {', '.join(sorted(names))}")
        name, _, value = text.partition(" = ")
        if source == COMMAND_LINE and re.fullmatch(r"[\w./:+-]*", value):  # the shell has eaten the quotes
            quoted = f"--gin.{name}='\"{value}\"'"
            return MioError(f"{where}: {value or 'nothing'} is no gin value; a string is written {quoted}")
        return MioError(f"{where}: {_first_line(error)}")

    # ------------------------------------------------------------------------------------------ building

    def build(self) -> tuple[Any, dict[str, str]]:
        import gin
        from gin import config as state

        state._CONFIG.clear()
        state._CONFIG.update(self._bound)
        _active.append(self)
        try:
            gin.finalize()
            draft = gin.get_configurable(_registered[self._root()])()
        except MioError:
            raise
        except Exception as error:
            raise MioError(f"{self._everything()}: {_first_line(error)}") from error
        finally:
            _active.pop()
        origins: dict[str, str] = {}
        config = self._finish(draft, "", origins)
        for key in self._from:
            if key not in self._read:
                raise self._no_effect(key)
        return config, origins

    def _root(self) -> type:
        """The class to build: the one that is bound, where a command takes several kinds of config."""
        bound = [cls for cls in self._roots if any(selector == _registered[cls] for _, selector in self._bound)]
        if len(bound) > 1:
            raise MioError(
                f"{self._everything()}: it binds {' and '.join(c.__name__ for c in bound)}; bind one of them"
            )
        return bound[0] if bound else self._roots[0]

    def draft(self, cls: type, values: dict[str, Any]) -> _Draft:
        """Called by gin in place of `cls`: notes where values came from, and fills in nested configs that are bound."""
        import gin

        scope = list(gin.current_scope())
        origins = {name: self._sources[self._note_read(scope, cls, name)] for name in values}
        for field in dataclasses.fields(cls):
            nested = bare_hint(typing.get_type_hints(cls)[field.name])
            if field.name not in values and dataclasses.is_dataclass(nested):
                inner = gin.get_configurable(_registered[typing.cast(type, nested)])()
                if inner.values:
                    values[field.name] = inner
                    origins[field.name] = next(iter(inner.origins.values()))
        return _Draft(cls, "/".join(scope), values, origins)

    def _note_read(self, scope: list[str], cls: type, name: str) -> int:
        """Notes the binding that gave the value, and the macros in it; returns the last source among them."""
        for size in range(len(scope), -1, -1):
            key = ("/".join(scope[:size]), _registered[cls], name)
            if key in self._from:
                return self._note(key)
        raise AssertionError(f"gin passed {cls.__name__}.{name}, which nothing binds")

    def _note(self, key: Key) -> int:
        from gin import config as state

        self._read.add(key)
        source = self._from[key]
        for reference in state.iterate_references(self._bound[key[:2]][key[2]]):
            inner = (*reference.config_key, "value")  # of a macro; other references note what they read themselves
            if inner in self._from:
                source = max(source, self._note(inner))
        return source

    def _no_effect(self, key: Key) -> MioError:
        scope, selector, parameter = key
        source = self._sources[self._from[key]]
        if selector == "gin.macro":
            macros = [k[0] for k in self._from if k[1] == "gin.macro" and k in self._read]
            near = difflib.get_close_matches(scope, macros, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; macros in use: {', '.join(macros) or 'none'}"
            return MioError(f"{source}: nothing uses the macro {scope}, so setting it has no effect{hint}")
        cls = self._selectors.get(selector)
        name = f"{_shown(scope, cls)}.{parameter}" if cls else f"{selector}.{parameter}"
        scopes = sorted({k[0] for k in self._from if k[1:] == key[1:] and k in self._read})
        hint = f"; it is set by {', '.join(f'{s}/{cls.__name__}.{parameter}' for s in scopes if cls)}" if scopes else ""
        return MioError(f"{source}: {name} has no effect: nothing reads it{hint}")

    # ------------------------------------------------------------------------------------------ checking

    def _finish(self, draft: _Draft, path: str, origins: dict[str, str]) -> Any:
        """The dataclass of a draft, every value checked against its annotation."""
        hints = typing.get_type_hints(draft.cls)
        made = {}
        for name, value in draft.values.items():
            binding = f"{_shown(draft.scope, draft.cls)}.{name}"
            where, at = draft.origins[name], f"{path}.{name}" if path else name
            allowed = _walk_hint(hints[name])
            if not isinstance(value, _Draft) and not (
                isinstance(value, list) and any(isinstance(v, _Draft) for v in value)
            ):
                origins[at] = where
            data = plain(self._inner(value, at, origins, binding, where, allowed))
            made[name] = convert(hints[name], data, binding, where, draft.cls)
        try:
            return draft.cls(**made)
        except MioError as error:
            raise MioError(f"{self._everything()}: {error}") from None
        except TypeError:
            missing = next(f.name for f in dataclasses.fields(draft.cls) if _required(f) and f.name not in made)
            raise MioError(f"{self._everything()}: {_shown(draft.scope, draft.cls)}.{missing} is required") from None

    def _inner(
        self, value: Any, path: str, origins: dict[str, str], binding: str, where: str, allowed: list[type]
    ) -> Any:
        """`value` with the drafts in it finished."""
        if isinstance(value, _Draft):
            if value.cls not in allowed:
                names = " or ".join(f"@{cls.__name__}()" for cls in allowed) or "no config class"
                raise MioError(f"{where}: {binding} is @{value.cls.__name__}(); it must be {names}")
            return self._finish(value, path, origins)
        if isinstance(value, (list, tuple)):
            return [self._inner(v, f"{path}.{i}", origins, binding, where, allowed) for i, v in enumerate(value)]
        if callable(value):
            raise MioError(f"{where}: {binding} is a reference that is not called; write @NAME() with its brackets")
        return value

    def _everything(self) -> str:
        return ", ".join(self._sources) or "gin"


def _first_line(error: Exception) -> str:
    """gin's own message, in one line and in the words of gin files."""
    text = str(error)
    if isinstance(error, SyntaxError) or "EOF in multi-line" in text:
        return "it is no valid gin; a binding is NAME = VALUE, a value is a Python literal, @NAME() or %MACRO"
    if required := re.search(r"(\S+?)(?:/macro\.value)? set to `%gin.REQUIRED`", text):
        return f"{required[1]} is required and is not set; set it with --gin.{required[1]}=VALUE"
    if unset := re.search(r"No bindings specified for '(?:(.*)/)?gin\.macro'", text):
        return f"the macro {unset[1]} is used and nothing sets it"
    return next(iter(text.strip().splitlines()), type(error).__name__)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _shown(scope: str, cls: type) -> str:
    return f"{scope}/{cls.__name__}" if scope else cls.__name__
