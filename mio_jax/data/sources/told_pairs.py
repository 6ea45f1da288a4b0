"""Pictures of the web with their texts and what else a list tells of them, as img2dataset writes them.

FOLDER/00000.tar, 00001.tar, ... as in `pair_shards`; in "told" the shard's own JSON of each pair: the columns that
img2dataset was asked to save (--save_additional_columns), a CLIP score of yours among them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mio_jax.data.sources.pair_shards import Pair, PairShards
from mio_jax.errors import MioError


class ToldPairs(PairShards):
    """id, image, captions [one text], told {column: value}."""

    def example(self, split: str, tar: Path, pairs: list[Pair]) -> dict[str, Any]:
        [pair] = pairs
        try:
            told = json.loads(pair.told) if pair.told else {}
        except ValueError as error:
            raise MioError(f"{pair.key} in {tar}: its JSON cannot be read ({error})") from error
        return {**super().example(split, tar, pairs), "told": told}


class Sbu(ToldPairs):
    name = "sbu"
    attribution = "SBU Captions by Ordonez et al., on Flickr"


class Cc3MTold(ToldPairs):
    name = "cc3m_told"
    folder_name = "cc3m"
    attribution = "Conceptual Captions by Sharma et al., Google"


class LaionCoco(ToldPairs):
    """Captions that BLIP and CLIP made: img2dataset with --caption_col top_caption."""

    name = "laion_coco"
    licence = "list CC BY 4.0; the pictures are their authors'"
    attribution = "LAION-COCO by Schuhmann et al."


class LaionGpt4V(ToldPairs):
    """Long captions that GPT-4V made: img2dataset with --url_col link --caption_col caption."""

    name = "laion_gpt4v"
    licence = "list as on its page; the pictures are their authors'"
    attribution = "LAION GPT-4V dataset"
