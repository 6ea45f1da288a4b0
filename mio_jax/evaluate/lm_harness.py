"""The tasks of EleutherAI's lm-evaluation-harness over a trained run (`mio eval --suite lm_harness`).

The library has the tasks, their data, prompts, few-shot examples and metrics; here is only the model that it asks.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError
from mio_jax.evaluate.language import LanguageModel
from mio_jax.generate.sampling import SamplingConfig

NAME = "lm_harness"
MOST = 256  # new tokens, where a task does not say
KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"}


def need_library() -> None:
    """Raises MioError without lm-eval."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MioError("suite 'lm_harness' needs the package lm-eval: pip install -e '.[lm]'")


def harness_model(language: LanguageModel) -> Any:
    """The library's `LM` around a run. Raises MioError without the library."""
    need_library()
    from lm_eval.api.model import LM

    class Model(LM):  # type: ignore[misc, unused-ignore]
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return language.likelihoods([(str(context), str(said)) for context, said in (r.args for r in requests)])

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return language.rolling([str(r.args[0]) for r in requests])

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            out: list[str] = [""] * len(requests)
            alike: dict[str, list[int]] = {}
            for i, request in enumerate(requests):
                alike.setdefault(repr(sorted(request.args[1].items(), key=str)), []).append(i)
            for some in alike.values():
                contexts = [str(requests[i].args[0]) for i in some]
                until, most, sampling = said_how(requests[some[0]].args[1])
                for i, text in zip(some, language.texts(contexts, until, most, sampling), strict=True):
                    out[i] = text
            return out

    return Model()


def said_how(settings: dict[str, Any]) -> tuple[list[str], int, SamplingConfig]:
    """A task's generation settings -> the strings that end an answer, its most tokens, how tokens are chosen.

    Raises MioError on a setting that is not known here.
    """
    unknown = sorted(set(settings) - KNOWN)
    if unknown:
        raise MioError(f"a task asks for the generation setting {unknown[0]!r}; known are {', '.join(sorted(KNOWN))}")
    until = settings.get("until") or []
    ends = [until] if isinstance(until, str) else [str(one) for one in until]
    most = int(settings.get("max_gen_toks", MOST))
    if not settings.get("do_sample", False) or not settings.get("temperature", 1.0):
        return ends, most, SamplingConfig(greedy=True)
    sampling = SamplingConfig(
        temperature=float(settings.get("temperature", 1.0)),
        top_p=float(settings.get("top_p", 1.0)),
        top_k=int(settings.get("top_k", 0)),
    )
    return ends, most, sampling


def evaluate_language(
    run_dir: str,
    tasks: Sequence[str],
    *,
    folder: str = "",
    examples: int | None = None,
    rows: int = 16,
    stage: str | None = None,
) -> dict[str, Any]:
    """Scores a run on tasks of the library -> the content of its suites/lm_harness/results.json.

    Args:
      tasks: names as the library has them, of tasks or groups.
      folder: of further task files (the library's YAML), which go before its own.
      examples: at most so many of each task.

    Raises:
      MioError: no library, no task named or an unknown one, a folder that is not there.
    """
    need_library()
    if not tasks:
        raise MioError("suite 'lm_harness' has hundreds of tasks: name some, as --tasks hellaswag,arc_easy")
    if folder and not Path(folder).is_dir():
        raise MioError(f"--data {folder}: no such folder; it holds task files of yours (YAML), and may be left out")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from mio_jax.data.records import write_json
    from mio_jax.generate.opening import engine_of
    from mio_jax.train.run import load_run

    manager = TaskManager(include_path=folder or None)
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        raise MioError(f"lm-eval has no task {unknown[0]!r}; `lm-eval ls tasks` lists them")
    run = load_run(run_dir, stage=stage)
    began = time.monotonic()
    found = simple_evaluate(
        harness_model(LanguageModel(run, engine_of(run), rows)),
        tasks=list(tasks),
        task_manager=manager,
        limit=examples,
        log_samples=False,
        bootstrap_iters=1000,
    )
    assert found is not None  # None is for processes other than the first
    results = {
        "suite": NAME,
        "tasks": {name: dict(scores) for name, scores in found["results"].items()},
        "versions": dict(found["versions"]),
        "few_shot": dict(found["n-shot"]),
        "examples": {name: dict(n) for name, n in found["n-samples"].items()},
        "seconds": round(time.monotonic() - began, 1),
    }
    target = Path(run_dir) / "suites" / NAME / "results.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_json(target, results)
    return results
