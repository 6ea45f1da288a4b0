"""Who may import whom, what the core must do without, and that setup.py names everything that is imported."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"mio_jax": ROOT / "mio_jax", "mio_tokenizers": ROOT / "tokenizers" / "mio_tokenizers"}

# Importable from everywhere; they themselves import only each other.
BASE = ("mio_jax.errors", "mio_jax.config", "mio_jax.config_loading", "mio_jax.protocols", "mio_jax.version")
BASE += ("mio_jax.config_gin", "mio_jax.config_origins", "mio_jax.config_denoising", "mio_jax.task_protocol")
BASE += ("mio_jax.config_checks", "mio_jax.config_sets")

# Layer -> what it may import beside itself and BASE. Nothing imports upwards.
LAYERS: dict[str, tuple[str, ...]] = {
    "mio_jax.nn": (),
    "mio_jax.objectives": ("mio_jax.nn",),
    "mio_tokenizers": ("mio_jax.nn",),
    "mio_jax.parallel": ("mio_jax.nn",),
    "mio_jax.data": ("mio_jax.nn", "mio_jax.objectives", "mio_tokenizers"),
    # A recipe picks the engine's sampling settings and describes its grammar with the engine's types.
    "mio_jax.recipes": (
        *("mio_jax.nn", "mio_jax.objectives", "mio_tokenizers", "mio_jax.data"),
        *("mio_jax.generate.grammar", "mio_jax.generate.sampling", "mio_jax.generate.steering"),
    ),
    "mio_jax.train": ("mio_jax.nn", "mio_jax.objectives", "mio_tokenizers", "mio_jax.data", "mio_jax.parallel"),
    "mio_jax.generate": (
        *("mio_jax.nn", "mio_jax.objectives", "mio_tokenizers", "mio_jax.data", "mio_jax.parallel", "mio_jax.train"),
    ),
    "mio_jax.evaluate": (
        *("mio_jax.nn", "mio_jax.objectives", "mio_tokenizers", "mio_jax.data", "mio_jax.parallel"),
        *("mio_jax.train", "mio_jax.generate"),
    ),
    "mio_jax.web": (),
    "mio_jax.cli": ("mio_jax", "mio_tokenizers"),
}

HEAVY = ("tensorflow", "tensorflow_text", "tensorflow_datasets", "seqio", "grain", "ml_collections", "array_record")
# The loader is made of Grain's classes. Whatever needs it imports it where it is used.
NEED_THEM = ("mio_jax.data.loader",)


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every source file."""
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(source: str, name: str, is_package: bool = False) -> list[str]:
    """Every module that the source imports, at any depth; type-checking blocks, which never run, are left out."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            # `from mio_jax import recipes` imports mio_jax.recipes.
            found.extend(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))
    return found


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def violations(name: str, source: str, is_package: bool = False) -> list[str]:
    """What the module imports of this project against the rules."""
    if name.endswith("__main__"):  # `python -m mio_jax.train` is a door to the command
        return []
    ours = [i for i in imports(source, name, is_package) if under(i, "mio_jax") or under(i, "mio_tokenizers")]
    layer = next((layer for layer in LAYERS if under(name, layer)), None)
    if layer is None:  # errors, config, ...: only each other, and recipes by name at run time
        allowed: tuple[str, ...] = ("mio_jax.recipes",) if name == "mio_jax.protocols" else ()
    else:
        allowed = (*LAYERS[layer], layer)
    bad = [i for i in ours if not any(under(i, a) for a in (*allowed, *BASE)) and i != "mio_jax.__version__"]
    if layer == "mio_jax.recipes":  # one recipe never builds on another; shared files lie beside the folders
        own = ".".join(name.split(".")[:3])
        folders = {f"mio_jax.recipes.{p.name}" for p in (SOURCES["mio_jax"] / "recipes").iterdir() if p.is_dir()}
        bad += [i for i in ours if any(under(i, f) for f in folders - {own})]
    return bad


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[n for n, _ in modules()])
def test_module_keeps_the_import_rules(name: str, path: Path) -> None:
    bad = violations(name, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    assert not bad, f"{name} imports {bad}; see the README of its folder for what it may import"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mio_jax.nn.attention", "from mio_jax.objectives import causal"),
        ("mio_jax.nn.attention", "def f():\n    import mio_jax.train.step"),
        ("mio_jax.data.loader", "from mio_jax import recipes"),
        ("mio_jax.data.loader", "from ..recipes import mio"),
        ("mio_jax.train.loop", "import mio_jax.recipes.mio"),
        ("mio_jax.generate.engine", "from mio_jax.evaluate import METRICS"),
        ("mio_jax.web.report", "from mio_jax.train import train"),
        ("mio_jax.recipes.fourm.model", "from mio_jax.recipes.mio.model import x"),
        ("mio_tokenizers.base", "from mio_jax.data import records"),
        ("mio_jax.config", "from mio_jax.nn import base"),
    ],
)
def test_the_rules_catch_a_violation(name: str, source: str) -> None:
    assert violations(name, source)


def test_type_checking_imports_are_free() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mio_jax.train import train\n"
    assert violations("mio_jax.nn.base", source) == []


def test_core_imports_without_the_data_libraries() -> None:
    """Every module but the loader, in a process where TensorFlow, SeqIO, Grain and ml_collections do not exist."""
    names = [n for n, _ in modules() if not n.endswith("__main__") and n not in NEED_THEM]
    script = f"""
import sys, importlib
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
failed = {{}}
for name in {names!r}:
    try:
        importlib.import_module(name)
    except BaseException as error:
        failed[name] = f"{{type(error).__name__}}: {{error}}"
print(failed)
sys.exit(bool(failed))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tokenizers")])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@functools.cache
def declared() -> set[str]:
    """Import names of the distributions that setup.py requires or offers as an extra."""
    strings = [n.value for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Constant)]
    matches = (re.match(r"([A-Za-z0-9._-]+)(\[[a-z0-9]+\])?[<>=]=", s) for s in strings if isinstance(s, str))
    wanted = {normal(m[1]) for m in matches if m}
    assert {"jax", "numpy", "seqio"} <= wanted
    installed = {
        module
        for module, dists in importlib.metadata.packages_distributions().items()
        if wanted & {normal(d) for d in dists}
    }
    # An extra that is not installed is taken to be imported by its own name.
    return installed | {name.replace("-", "_") for name in wanted}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# Come with a required package and are its interface to us: jaxlib with jax, tensorflow with seqio, absl with grain.
BROUGHT = {"jaxlib", "tensorflow", "tensorflow_text", "absl", "apache_beam", "ml_dtypes", "etils"}


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=[n for n, _ in modules()])
def test_imports_are_declared_in_setup(name: str, path: Path) -> None:
    tops = {i.split(".")[0] for i in imports(path.read_text(encoding="utf-8"), name, path.name == "__init__.py")}
    unknown = tops - set(sys.stdlib_module_names) - set(SOURCES) - declared() - BROUGHT
    assert not unknown, f"{name} imports {sorted(unknown)}, which setup.py does not require"


def test_no_source_file_is_too_long() -> None:
    long = {n: size for n, p in modules() if (size := len(p.read_text(encoding="utf-8").splitlines())) > 600}
    assert not long, f"over 600 lines, time to split: {long}"


def test_every_folder_has_a_readme() -> None:
    top = [p for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith((".", "__")) and tracked(p)]
    packages = [p.parent for folder in SOURCES.values() for p in folder.rglob("__init__.py")]
    missing = [str(p.relative_to(ROOT)) for p in [*top, *packages] if not (p / "README.md").is_file()]
    assert not missing, f"no README.md in {missing}"


def tracked(folder: Path) -> bool:
    """Not a build product or a run's output."""
    return folder.name not in ("runs", "data", "build", "dist", "out", "site") and not folder.name.endswith(".egg-info")
