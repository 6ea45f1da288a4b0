"""Texts of large sets, in the files of their publishers: JSON lines (plain, gzip, zstd) or Parquet.

C4         FOLDER/en/c4-train.00000-of-01024.json.gz, c4-validation.00000-of-00008.json.gz
mC4        FOLDER/multilingual/c4-de.tfrecord-00000-of-02048.json.gz, c4-de-validation.tfrecord-....json.gz
Stack      FOLDER/data/python/train-00000-of-00206.parquet, ...          (stack_markdown: data/markdown/ alone)
Wikipedia  FOLDER/20231101.en/train-00000-of-00041.parquet, ...
RefinedWeb FOLDER/data/train-00000-of-05534-....parquet, ...
RedPajama  FOLDER/common_crawl/2023-06/en_head_0000.json.gz.dedup.classifier.jsonl.zst, ...; FOLDER/book/book.jsonl
"""

from __future__ import annotations

from typing import Any, ClassVar

from mio_jax.data.sources.row_shards import Shards


class TextShards(Shards):
    """id, text."""

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"text": str(row[self.columns[0]])}


class C4(TextShards):
    name = "c4"
    licence = "ODC-BY"
    attribution = "C4 by Raffel et al., as published by AI2"
    files: ClassVar = {"train": "en/c4-train.*.json.gz", "test": "en/c4-validation.*.json.gz"}


class MC4(TextShards):
    """All languages whose files there are."""

    name = "mc4"
    licence = "ODC-BY"
    attribution = "mC4 by Xue et al., as published by AI2"
    files: ClassVar = {"train": "multilingual/c4-*.json.gz", "test": "multilingual/c4-*-validation.*.json.gz"}


class Stack(TextShards):
    name = "stack"
    licence = "the files' own, all permissive"
    attribution = "The Stack by Kocetkov et al., BigCode"
    columns = ("content",)
    files: ClassVar = {"train": "data/*/*.parquet"}


class StackMarkdown(Stack):
    name = "stack_markdown"
    folder_name = "stack"
    files: ClassVar = {"train": "data/markdown/*.parquet"}


class Wikipedia(TextShards):
    name = "wikipedia"
    licence = "CC BY-SA 3.0"
    attribution = "Wikipedia, as published by the Wikimedia Foundation"
    files: ClassVar = {"train": "*/*.parquet"}


class RefinedWeb(TextShards):
    name = "refinedweb"
    licence = "ODC-BY; Common Crawl's terms of use"
    attribution = "RefinedWeb by Penedo et al., TII"
    columns = ("content",)
    files: ClassVar = {"train": "data/train-*.parquet"}


class RedPajamaCommonCrawl(TextShards):
    name = "redpajama_common_crawl"
    folder_name = "redpajama"
    licence = "Common Crawl's terms of use"
    attribution = "RedPajama by Together"
    files: ClassVar = {"train": "common_crawl/*/*.jsonl.zst"}


class RedPajamaBook(TextShards):
    name = "redpajama_book"
    folder_name = "redpajama"
    licence = "see the set's own page"
    attribution = "RedPajama by Together"
    files: ClassVar = {"train": "book/*.jsonl"}
