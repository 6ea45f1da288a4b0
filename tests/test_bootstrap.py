"""Two commands on a fresh machine: what the installer does once, what it resumes, and its one line for each failure."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = (
    *("bash", "sh", "env", "dirname", "cat", "awk", "df", "date", "tail", "head", "grep", "sed"),
    *("tr", "cut", "tee", "cp", "rm", "mkdir", "ls", "make", "cksum"),
)

# An interpreter that answers what the installer asks and notes it, so that no test installs gigabytes.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
  "-c "*) echo "3.11" ;;
  "--version") echo "Python 3.11.9" ;;
  "-") cat > /dev/null; echo key ;;
  "- "*) cat > /dev/null; shift; cat "$@" | cksum | tr -d ' ' ;;
  "-m venv "*)
    echo "venv" >> "$FAKE_LOG"
    if [ -n "$FAKE_VENV_ERROR" ]; then echo "$FAKE_VENV_ERROR"; exit 1; fi
    rm -rf "${@: -1}" && mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  "-m pip --version") echo pip ;;
  "-m pip install "*)
    echo "pip ${*:3}" >> "$FAKE_LOG"
    echo "Collecting something"
    if [ -n "$FAKE_PIP_ERROR" ]; then echo "$FAKE_PIP_ERROR"; exit 1; fi ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Machine:
    """A clone of what the installer reads, and a PATH that holds only what a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.log = folder / "clone", folder / "bin", folder / "log"
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"this machine has no {tool}"))
        for name in ("setup.py", "pyproject.toml", "README.md", "Makefile"):
            self.root.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        for name in ("scripts", "constraints", ".ci"):
            shutil.copytree(ROOT / name, self.root / name)
        self.env = {"PATH": str(self.bin), "HOME": str(folder), "FAKE_LOG": str(self.log), "TMPDIR": str(folder)}

    def tool(self, name: str, text: str) -> None:
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "bash"), *command], cwd=self.root, env=self.env | env, capture_output=True, text=True
        )

    def bootstrap(self, what: str = "base", **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("scripts/bootstrap.sh", what, **env)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.tool("python3.11", FAKE_PYTHON)
    return made


def assert_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


def test_installs_once(machine: Machine) -> None:
    assert machine.bootstrap().returncode == 0
    assert machine.calls() == ["venv", "pip install --disable-pip-version-check -c constraints/py311.txt -e ."]
    again = machine.bootstrap()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(machine.calls()) == 2
    assert float((machine.root / ".venv" / ".install-seconds").read_text()) >= 0


def test_dev_adds_to_base_and_covers_it(machine: Machine) -> None:
    machine.bootstrap("base")
    machine.bootstrap("dev")
    assert machine.calls()[2:] == ["pip install --disable-pip-version-check -c constraints/py311.txt -e .[dev]"]
    machine.bootstrap("dev")
    (machine.root / ".venv" / ".stamp-base").unlink()
    machine.bootstrap("base")  # dev has all of it
    assert len(machine.calls()) == 3


@pytest.mark.parametrize("changed", ["setup.py", "constraints/py311.txt"])
def test_a_change_of_requirements_installs_again(machine: Machine, changed: str) -> None:
    machine.bootstrap()
    with open(machine.root / changed, "a") as file:
        file.write("# new\n")
    machine.bootstrap()
    assert [c.split()[0] for c in machine.calls()] == ["venv", "pip", "pip"]


def test_an_interrupted_installation_goes_on(machine: Machine) -> None:
    assert machine.bootstrap(FAKE_PIP_ERROR="ERROR: killed").returncode == 1
    assert not (machine.root / ".venv" / ".stamp-base").exists()
    assert machine.bootstrap().returncode == 0
    assert [c.split()[0] for c in machine.calls()] == ["venv", "pip", "pip"]  # the environment itself is kept


def test_a_broken_environment_is_made_anew(machine: Machine) -> None:
    (machine.root / ".venv" / "bin").mkdir(parents=True)
    (machine.root / ".venv" / "bin" / "python").write_text("half written")
    assert machine.bootstrap().returncode == 0
    assert machine.calls()[0] == "venv"


def test_no_python(machine: Machine) -> None:
    machine.tool(
        "python3.11", "#!/bin/bash\necho 'pyenv: python3.11: command not found' >&2; exit 127\n"
    )  # a bare shim
    machine.tool("python3", "#!/bin/bash\nexit 0\n")  # an old one: the version test prints nothing
    assert_one_line(machine.bootstrap(), "no Python 3.11 or newer found")


def test_python_in_pyenvs_versions_is_found(machine: Machine) -> None:
    machine.tool("python3.11", "#!/bin/bash\nexit 127\n")
    folder = Path(machine.env["HOME"]) / ".pyenv" / "versions" / "3.12.4" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").write_text(FAKE_PYTHON)
    (folder / "python").chmod(0o755)
    assert machine.bootstrap().returncode == 0


def test_python_named_by_the_user_comes_first(machine: Machine) -> None:
    machine.tool("mine", FAKE_PYTHON.replace("3.11", "3.12"))
    assert machine.bootstrap(PYTHON="mine").returncode == 0
    assert "py312.txt" in machine.calls()[1]


def test_full_disk_before(machine: Machine) -> None:
    assert_one_line(machine.bootstrap(MIO_NEED_MB="999999999"), "needs 999999999 MB")
    machine.tool("df", "#!/bin/bash\necho Filesystem\necho '/dev/x 100 90 17 90% /'\n")
    assert_one_line(machine.bootstrap(), "and 17 MB are free")
    assert machine.calls() == []  # found before anything was written


def test_full_disk_while_installing(machine: Machine) -> None:
    error = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert_one_line(machine.bootstrap(FAKE_PIP_ERROR=error), "the disk is full: pip could not install")
    shutil.rmtree(machine.root / ".venv")
    assert_one_line(machine.bootstrap(FAKE_VENV_ERROR="OSError: No space left on device"), "the disk is full")


def test_python_without_venv(machine: Machine) -> None:
    done = machine.bootstrap(FAKE_VENV_ERROR="ensurepip is not available")
    assert_one_line(done, "could not make .venv with python3.11: ensurepip is not available")


def test_any_other_failure_of_pip_is_quoted(machine: Machine) -> None:
    done = machine.bootstrap(FAKE_PIP_ERROR="ERROR: Failed building wheel for promise")
    assert_one_line(done, "Failed building wheel for promise (log: .venv/install.log)")
    assert "Failed building" in (machine.root / ".venv" / "install.log").read_text()


def test_no_network_with_the_real_pip(machine: Machine) -> None:
    """A package index on a closed port of this machine: nothing answers, and nothing leaves it."""
    done = machine.bootstrap(
        PYTHON=sys.executable,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_CONFIG_FILE=os.devnull,
        PIP_RETRIES="1",
        PIP_DEFAULT_TIMEOUT="2",
        PIP_NO_CACHE_DIR="1",
    )
    assert_one_line(done, "no network: pip could not reach its package index")


def test_unknown_environment(machine: Machine) -> None:
    assert_one_line(machine.bootstrap("prod"), "not 'prod'")


def test_make_stops_where_the_installer_fails(machine: Machine) -> None:
    done = machine.run("-c", "make quickstart", MIO_NEED_MB="999999999")
    assert done.returncode == 2  # make's own
    assert done.stderr.splitlines()[0].startswith("error: the disk is too full")


def test_make_lists_its_targets(machine: Machine) -> None:
    shown = machine.run("-c", "make").stdout
    for target in ("quickstart", "test", "golden", "bench-llama", "bench-gpu", "lint", "help"):
        assert f"\n  {target} " in shown


def test_bench_gpu_without_a_gpu_is_one_line(machine: Machine) -> None:
    done = machine.run("-c", "make bench-gpu")
    assert done.returncode == 0
    assert done.stdout == "bench-gpu: no NVIDIA GPU on this machine; nothing was run\n"


def test_ci_runs_the_command_of_the_readme(machine: Machine) -> None:
    machine.tool("make", '#!/bin/bash\necho "made: $*"; exit 3\n')
    done = machine.run(".ci/run")
    assert done.stdout == "+ make test\nmade: test\n"
    assert done.returncode == 3  # the tests' own verdict
    (machine.root / "README.md").write_text("no command\n")
    assert machine.run(".ci/run").returncode == 1


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda p: p.name)
def test_constraints_are_exact_and_complete(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_]+", line) for line in lines)
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines}
    strings = [n.value for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Constant)]
    needed = [re.match(r"([A-Za-z0-9._-]+)[<>=]=", s) for s in strings if isinstance(s, str)]
    names = {re.sub(r"[-_.]+", "-", m[1]).lower() for m in needed if m}
    optional = {"apache-beam", "starlette", "uvicorn", "mkdocs", "mkdocs-material", "wandb"}
    optional |= {
        "pycocoevalcap",
        "pycocotools",
        "diffusers",
        "torch",
        "transformers",
        "accelerate",
        "py3langid",
        "lm-eval",
    }
    assert names - optional - pinned == set()
