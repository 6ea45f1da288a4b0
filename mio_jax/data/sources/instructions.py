"""Written instructions with their answers.

Alpaca         FOLDER/alpaca_data.json
Dolly          FOLDER/databricks-dolly-15k.jsonl
OpenAssistant  FOLDER/2023-04-12_oasst_ready.trees.jsonl.gz
MBPP           FOLDER/mbpp.jsonl
FlanV2         FOLDER/flan_zs_opt_train.jsonl.gz and t0_, niv2_, cot_, dialog_..., a line each: inputs, targets, task
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from mio_jax.data.sources.files import read_json, read_json_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.row_shards import Shards


class Asked(NamedTuple):
    instruction: str
    context: str
    response: str


class Instructions(FolderSource):
    """id, instruction, context (may be empty), response. 2 % are "test", where the set has no split of its own."""

    media = ()

    @abc.abstractmethod
    def asked(self) -> Iterable[Asked]:
        """Every instruction of the set, in the order of its file."""

    def items(self, split: str) -> Sequence[Any]:
        whole = [(n, one) for n, one in enumerate(self.asked()) if one.instruction.strip() and one.response.strip()]
        return [(number, one) for number, one in whole if self.kept(split, f"{one.instruction} {one.context}")]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        number, one = item
        return {"id": self.id(split, number), **{name: text.strip() for name, text in one._asdict().items()}}


class Alpaca(Instructions):
    name = "alpaca"
    licence = "CC BY-NC 4.0"
    attribution = "Alpaca by Taori et al., Stanford"

    def asked(self) -> Iterable[Asked]:
        for one in read_json(self.folder / "alpaca_data.json"):
            yield Asked(one["instruction"], one["input"], one["output"])


class Dolly(Instructions):
    name = "dolly"
    licence = "CC BY-SA 3.0"
    attribution = "databricks-dolly-15k by Databricks"

    def asked(self) -> Iterable[Asked]:
        for one in read_json_lines(self.folder / "databricks-dolly-15k.jsonl"):
            yield Asked(one["instruction"], one["context"], one["response"])


class OpenAssistant(Instructions):
    """The first turn of every English tree, with the answer that people ranked best."""

    name = "open_assistant"
    licence = "Apache-2.0"
    attribution = "OpenAssistant Conversations by Köpf et al."

    def asked(self) -> Iterable[Asked]:
        for tree in read_json_lines(self.folder / "2023-04-12_oasst_ready.trees.jsonl.gz"):
            prompt = tree["prompt"]
            ranked = [reply for reply in prompt["replies"] if reply.get("rank") is not None] or prompt["replies"]
            if prompt.get("lang", "en") == "en" and ranked:
                yield Asked(prompt["text"], "", min(ranked, key=lambda reply: reply.get("rank") or 0)["text"])


class Mbpp(FolderSource):
    """Small tasks of programming, in the published split: tasks 11 to 510 are "test", 601 to 974 "train"."""

    name = "mbpp"
    licence = "CC BY 4.0"
    attribution = "MBPP by Austin et al., Google"
    media = ()
    tasks: ClassVar[dict[str, range]] = {"train": range(601, 975), "test": range(11, 511)}

    def items(self, split: str) -> Sequence[Any]:
        return [one for one in read_json_lines(self.folder / "mbpp.jsonl") if one["task_id"] in self.tasks[split]]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        """id, instruction, context "", response: the code."""
        code = item["code"].replace("\r\n", "\n").strip()
        return {"id": self.id(split, item["task_id"]), "instruction": item["text"], "context": "", "response": code}


class Flan(Shards):
    """id, instruction, context "", response, task. One of FlanV2's five parts, too large to be held."""

    name = "flan_flan2021"
    folder_name = "flan"
    licence = "Apache-2.0; the tasks' own"
    attribution = "FlanV2 by Longpre et al., Google"
    columns = ("inputs", "targets", "task")
    files: ClassVar = {"train": "flan_*_train*.jsonl.gz"}

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        said = {"instruction": row["inputs"].strip(), "context": "", "response": row["targets"].strip()}
        return {**said, "task": str(row.get("task", ""))}


class FlanT0(Flan):
    name = "flan_t0"
    files: ClassVar = {"train": "t0_*_train*.jsonl.gz"}


class FlanNiv2(Flan):
    name = "flan_niv2"
    files: ClassVar = {"train": "niv2_*_train*.jsonl.gz"}


class FlanCot(Flan):
    name = "flan_cot"
    files: ClassVar = {"train": "cot_*_train*.jsonl.gz"}


class FlanDialog(Flan):
    name = "flan_dialog"
    files: ClassVar = {"train": "dialog_*_train*.jsonl.gz"}
