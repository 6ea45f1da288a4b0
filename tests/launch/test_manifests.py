"""What the launchers for clusters write and would run: schemas, shell lint, and the scripts run with stand-ins."""

from __future__ import annotations

import copy
import os
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from launch import gke, slurm, tpu_pod
from mio_jax.errors import MioError

ROOT = Path(__file__).parents[2]
CONFIG = ["--config", "configs/quickstart.py", "--config.run_dir=/mnt/shared/a b"]


def shellcheck(text: str) -> str:
    """What shellcheck says about a bash script; empty: nothing."""
    program = shutil.which("shellcheck") or str(Path(sysconfig.get_path("scripts")) / "shellcheck")
    done = subprocess.run([program, "--shell=bash", "-"], input=text, capture_output=True, text=True)
    return done.stdout + done.stderr


def shown(capsys: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], int], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("path", sorted([*ROOT.glob("launch/*.sh"), *ROOT.glob("scripts/*.sh")]), ids=lambda p: p.name)
def test_shell_files_pass_shellcheck(path: Path) -> None:
    assert shellcheck(path.read_text(encoding="utf-8")) == ""


def test_shellcheck_sees_something() -> None:
    assert "SC2086" in shellcheck("#!/bin/bash\nrm -r $1\n")


# ------------------------------------------------------------------------------------------------- GKE

# The fields of jobset.x-k8s.io/v1alpha2 that are used; the jobs inside are checked with Kubernetes' own schema.
JOBSET: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
        "kind": {"const": "JobSet"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63},
                "namespace": {"type": "string"},
                "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
                "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["replicatedJobs"],
            "properties": {
                "failurePolicy": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "maxRestarts": {"type": "integer", "minimum": 0},
                        "rules": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "additionalProperties": False,
                                "required": ["name", "action"],
                                "properties": {
                                    "name": {"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
                                    "action": {
                                        "enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
                                    },
                                    "onJobFailureReasons": {
                                        "type": "array",
                                        "items": {
                                            "enum": [
                                                *("BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes"),
                                                *("MaxFailedIndexesExceeded", "PodFailurePolicy"),
                                            ]
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
                "replicatedJobs": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "template"],
                        "properties": {
                            "name": {"type": "string"},
                            "replicas": {"type": "integer", "minimum": 1},
                            "template": {"type": "object", "required": ["spec"]},
                        },
                    },
                },
            },
        },
    },
}


def validate(found: dict[str, Any]) -> None:
    jsonschema.validate(found, JOBSET)
    for job in found["spec"]["replicatedJobs"]:
        whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}, **job["template"]}
        kubernetes_validate.validate(whole, "1.33", strict=True)


GKE = ["--name", "mio-7b", "--image", "registry/mio:1", "--dry-run"]


@pytest.mark.parametrize(
    ("chip", "topology", "pods", "chips"),
    [
        *(("v4", "2x2x4", 4, 4), ("v5p", "4x4x8", 32, 4), ("v5p", "2x2x1", 1, 4), ("tpu7x", "2x2x2", 2, 4)),
        *(("v5e", "4x8", 8, 4), ("v5e", "2x4", 1, 8), ("v6e", "16x16", 64, 4), ("v6e", "1x1", 1, 1)),
    ],
)
def test_the_manifest_is_a_valid_jobset(
    capsys: pytest.CaptureFixture[str], chip: str, topology: str, pods: int, chips: int
) -> None:
    words = [*GKE, "--chip", chip, "--topology", topology, "--slices", "2", "--claim", "disk", "--", *CONFIG]
    text = shown(capsys, gke.main, *words)
    assert text.splitlines()[-1] == "# would run kubectl apply -f runs/gke/mio-7b.yaml"
    found = yaml.safe_load("\n".join(text.splitlines()[1:-1]))
    validate(found)
    job = found["spec"]["replicatedJobs"][0]
    assert job["replicas"] == 2
    assert job["template"]["spec"]["parallelism"] == job["template"]["spec"]["completions"] == pods
    container = job["template"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"google.com/tpu": chips}
    assert container["command"] == [".venv/bin/mio", "train", "--coordinator", "auto", *CONFIG]
    assert container["volumeMounts"][0]["mountPath"] == "/mnt/shared"


def test_the_schemas_catch_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*GKE, "--chip", "v5p", "--topology", "2x2x2", "--", *CONFIG]
    found = yaml.safe_load("\n".join(shown(capsys, gke.main, *words).splitlines()[1:-1]))
    validate(found)

    def broken(change: Callable[[dict[str, Any]], Any]) -> None:
        other = copy.deepcopy(found)
        change(other)
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            validate(other)

    broken(lambda f: f["spec"].update(replicas=2))
    broken(lambda f: f["spec"]["failurePolicy"]["rules"][0].pop("name"))
    broken(lambda f: f["spec"]["replicatedJobs"][0]["template"]["spec"].update(completion=2))
    broken(lambda f: f["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"].update(hostNetwork="yes"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--chip", "v5p", "--topology", "4x4"], "v5p has 3 numbers in a topology, e.g. 4x4x4"),
        (["--chip", "v6e", "--topology", "3x3"], "9 chips do not fill hosts of 4"),
        (["--chip", "v6e", "--topology", "4x4", "--slices", "0"], "--slices is 0"),
        (["--chip", "v6e", "--topology", "4x4", "--name", "Mio_7B"], "--name Mio_7B"),
        (["--chip", "v9", "--topology", "4x4"], "invalid choice: 'v9'"),
    ],
)
def test_wrong_sizes_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(MioError) as caught:
        gke.main([*GKE, *words, "--", *CONFIG])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (gke.main, [*GKE, "--chip", "v5p", "--topology", "2x2x2"]),
        (slurm.main, ["--dry-run"]),
        (tpu_pod.main, ["run", "--name", "a", "--zone", "z", "--dry-run"]),
    ],
    ids=["gke", "slurm", "tpu_pod"],
)
def test_nothing_to_train_is_refused(main: Callable[[Sequence[str]], int], words: list[str]) -> None:
    with pytest.raises(MioError, match="say what to train"):
        main(words)


# ------------------------------------------------------------------------------------------------- Slurm


def stand_in(folder: Path, name: str, body: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
    (folder / name).chmod(0o755)


def test_the_sbatch_script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--nodes", "4", "--gpus", "8", "--requeues", "2", "--sbatch=--partition=gpu", "--folder", str(tmp_path)]
    text = shown(capsys, slurm.main, *words, "--dry-run", "--", *CONFIG)
    assert text.splitlines()[-1] == "# would run sbatch runs/slurm/mio.sbatch"
    script = "\n".join(text.splitlines()[1:-1]) + "\n"
    assert shellcheck(script) == ""
    for line in (
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=8",
        "#SBATCH --partition=gpu",
        "#SBATCH --signal=TERM@120",
    ):
        assert line in script.splitlines()

    # A stand-in for srun writes its words and ends as the test says; scontrol notes what it is asked for.
    stand_in(tmp_path / "bin", "srun", 'printf "%s\\n" "$@" > words; exit "$STATUS"')
    stand_in(tmp_path / "bin", "scontrol", 'echo "$@" >> requeued')
    (tmp_path / "job.sbatch").write_text(script)

    def ends(status: int, restarts: int) -> tuple[int, bool]:
        (tmp_path / "requeued").unlink(missing_ok=True)
        env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "STATUS": str(status)}
        env |= {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
        done = subprocess.run(["bash", tmp_path / "job.sbatch"], env=env, capture_output=True, text=True)
        return done.returncode, (tmp_path / "requeued").exists()

    assert ends(0, 0) == (0, False)
    expected = ["--kill-on-bad-exit=1", ".venv/bin/mio", "train", "--coordinator", "auto", *CONFIG]
    assert (tmp_path / "words").read_text().splitlines() == expected
    assert ends(2, 0) == (2, False)  # a wrong config would be just as wrong again
    for status in (143, 75, 137):
        assert ends(status, 1) == (0, True)
        assert ends(status, 2) == (status, False)


def test_the_script_is_written_and_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "bin", "sbatch", f'echo "$@" > {tmp_path}/submitted')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert slurm.main(["--logs", str(tmp_path / "logs"), "--name", "x", "--", *CONFIG]) == 0
    assert (tmp_path / "submitted").read_text().strip() == str(tmp_path / "logs" / "x.sbatch")
    assert "#SBATCH --job-name=x" in (tmp_path / "logs" / "x.sbatch").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MioError, match="sbatch is not on the PATH"):
        slurm.main(["--logs", str(tmp_path / "logs"), "--", *CONFIG])
    with pytest.raises(MioError, match="--gpus is 0"):
        slurm.main(["--gpus", "0", "--", *CONFIG])


# ------------------------------------------------------------------------------------------------- TPU pods

POD = ["--name", "mio", "--zone", "us-east5-a", "--project", "p", "--dry-run"]


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line.removeprefix("# would run ")) for line in text.splitlines() if line.startswith("# would")]


def test_a_pod_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["gcloud", "compute", "tpus", "queued-resources"]
    found = commands(shown(capsys, tpu_pod.main, "create", *POD, "--type", "v5p-128", "--spot", "--wait", "6h"))
    given = ["--node-id=mio", "--accelerator-type=v5p-128", "--runtime-version=v2-alpha-tpuv5", "--spot"]
    where = ["--zone=us-east5-a", "--project=p"]
    assert found == [[*base, "create", "mio", *given, "--valid-until-duration=6h", *where]]
    found = commands(shown(capsys, tpu_pod.main, "create", *POD, "--type", "v6e-256", "--slices", "2"))
    assert {"--node-prefix=mio", "--node-count=2", "--runtime-version=v2-alpha-tpuv6e"} <= set(found[0])
    assert commands(shown(capsys, tpu_pod.main, "status", *POD)) == [[*base, "describe", "mio", *where]]
    assert commands(shown(capsys, tpu_pod.main, "delete", *POD))[0][:6] == [*base, "delete", "mio"]
    assert "tail -n 50 -f" in shown(capsys, tpu_pod.main, "logs", *POD)
    for words, said in (
        (["create", *POD], "create needs --type"),
        (["create", *POD, "--type", "v9-8"], "known are v4-N"),
        (["status", *POD, "--", "--config", "x"], "status trains nothing"),
    ):
        with pytest.raises(MioError) as caught:
            tpu_pod.main(words)
        assert said in str(caught.value)


def test_every_host_of_every_slice_is_started(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["run", *POD, "--slices", "2", "--restarts", "3", "--setup", "echo hello > setup.txt", "--", *CONFIG]
    found = commands(shown(capsys, tpu_pod.main, *words))
    assert found[0][:2] == ["git", "archive"]
    assert [c[4:6] for c in found[1:]] == [["scp", "mio_jax.tar.gz"]] * 2 + [["ssh", "mio-0"], ["ssh", "mio-1"]]
    start = next(w for w in found[-1] if w.startswith("--command=")).removeprefix("--command=")
    assert shellcheck(f"#!/bin/bash\n{start}\n") == ""

    # The command on a host, with the archive of a stand-in for the repository.
    stand_in(tmp_path / "repo" / "launch", "tpu_worker.sh", 'printf "%s\\n" "$@" > words')
    subprocess.run(["tar", "-czf", tmp_path / "mio_jax.tar.gz", "-C", tmp_path / "repo", "launch"], check=True)
    subprocess.run(["bash", "-c", f"{start}; wait"], cwd=tmp_path, check=True)
    assert (tmp_path / "mio_jax" / "words").read_text().splitlines() == ["3", *CONFIG]
    assert (tmp_path / "mio_jax" / "setup.txt").read_text() == "hello\n"


def test_a_host_starts_again_when_another_was_lost(tmp_path: Path) -> None:
    stand_in(tmp_path / "launch", "tpu_worker.sh", "")
    shutil.copy(ROOT / "launch" / "tpu_worker.sh", tmp_path / "launch")
    stand_in(tmp_path / "scripts", "bootstrap.sh", "exit 0")
    stand_in(tmp_path / ".venv" / "bin", "python", "exit 0")
    stand_in(tmp_path / "bin", "sleep", "exit 0")
    stand_in(tmp_path / ".venv" / "bin", "mio", 'echo "$@" >> calls; exit "$(sed -n "$(wc -l < calls)p" statuses)"')

    def run(*statuses: int) -> tuple[int, int]:
        (tmp_path / "calls").unlink(missing_ok=True)
        (tmp_path / "statuses").write_text("".join(f"{s}\n" for s in statuses))
        env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", tmp_path / "launch" / "tpu_worker.sh", "2", "--run", "r"], env=env, text=True)
        return done.returncode, len((tmp_path / "calls").read_text().splitlines())

    assert run(75, 137, 0) == (0, 3)
    assert (tmp_path / "calls").read_text().splitlines()[0] == "train --coordinator auto --run r"
    assert run(2) == (2, 1)
    assert run(75, 75, 75) == (75, 3)
