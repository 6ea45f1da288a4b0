"""The stages' mixtures as tables: sets, kinds, sizes (specification, section 5).

Published: which sets are in which stage, and the rows of a step that each group gets. Not published: how often the sets
of a group are drawn. Here the square roots of their sizes say it, as Unified-IO 2 has it: the largest sets come most
often, and the small ones more often than their share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One set in a mixture.

    Attributes:
      set: the record set, which is the source's name (`mio_jax.data.sources`), or what it would be called.
      title: as its authors call it.
      kinds: (kind, share of the row's examples).
      examples: about how many there are.
      task: which of the publication's tasks of instruction tuning.
      why: why it cannot be read here; empty where it can.
    """

    set: str
    title: str
    kinds: tuple[tuple[str, float], ...]
    examples: float
    task: str = ""
    why: str = ""


BOTH = (("caption", 0.5), ("text_to_image", 0.5))  # image first or text first, at random
TEXT_FIRST = (("text_to_image", 1.0),)
VIDEO = (("text_to_video", 0.6), ("video_caption", 0.4))
LISTEN_AND_SPEAK = (("transcription", 0.5), ("speech", 0.5))  # the share of each is not published
LISTEN_AND_SPEAK_3 = (("transcription_3", 0.5), ("speech", 0.5))
DOCUMENT = (("interleaved", 1.0),)

SBU = Row("sbu", "SBU Captions", BOTH, 1e6)
CC3M = Row("cc3m_told", "Conceptual Captions 3M", BOTH, 3e6)
LAION_COCO = Row("laion_coco", "LAION-COCO", BOTH, 600e6)
JOURNEYDB = Row("journeydb", "JourneyDB", TEXT_FIRST, 4.4e6)
REFINEDWEB = Row("refinedweb", "RefinedWeb", (("language", 1.0),), 968e6)
OBELICS = Row("obelics", "OBELICS", DOCUMENT, 141e6)
MMC4 = Row("mmc4_core_ff", "MMC4-core-ff", DOCUMENT, 5.5e6)
WEBVID = Row("webvid_8", "WebVid-10M", VIDEO, 10.7e6)
HOWTO100M = Row("howto100m", "HowTo100M", DOCUMENT, 1.2e6)
YT_TEMPORAL_180M = Row("yt_temporal_180m", "YT-Temporal-180M", DOCUMENT, 6e6)
LIBRIHEAVY = Row("libriheavy", "Libriheavy", LISTEN_AND_SPEAK, 11e6)

# What of LAION-COCO is of "high quality" in stage III is not published: raise its score in data.filters for that.
PRETRAINING: dict[str, tuple[Row, ...]] = {
    "mio_stage1_image_text": (SBU, CC3M, LAION_COCO, JOURNEYDB),
    "mio_stage1_text": (REFINEDWEB,),
    "mio_stage1_speech": (LIBRIHEAVY,),
    "mio_stage2_image_text": (SBU, CC3M, LAION_COCO, JOURNEYDB),
    "mio_stage2_text": (REFINEDWEB,),
    "mio_stage2_interleaved_and_video": (OBELICS, MMC4, WEBVID, HOWTO100M, YT_TEMPORAL_180M),
    "mio_stage2_speech": (LIBRIHEAVY,),
    "mio_stage3_image_text": (CC3M, LAION_COCO),
    "mio_stage3_text": (REFINEDWEB,),
    "mio_stage3_interleaved_and_video": (MMC4, WEBVID, HOWTO100M, YT_TEMPORAL_180M),
    "mio_stage3_speech": (LIBRIHEAVY._replace(kinds=LISTEN_AND_SPEAK_3),),
}

SPEECH_INSTRUCT = (
    "it is published as HuBERT units and not as sound, so the codes of MIO's speech tokenizer cannot be made of it; "
    "the sound that MIO used is not published"
)


def _sft(name: str, title: str, kind: str, examples: float, task: str) -> Row:
    return Row(name, title, ((kind, 1.0),), examples, task)


# 16 tasks, 34 sets counted for each task.
INSTRUCTION: tuple[Row, ...] = (
    _sft("openhermes", "OpenHermes-2.5", "chat_conversation", 1.0e6, "language"),
    _sft("mmicl", "MMICL", "chat_conversation", 5.8e6, "in-context learning"),
    _sft("scienceqa_reasons", "ScienceQA", "chat_reasons", 6.2e3, "chain of thought"),
    _sft("geo170k", "Geo170K", "chat_conversation", 177e3, "charts"),
    _sft("instruct_pix2pix", "InstructPix2Pix", "chat_edit", 313e3, "instructional image generation"),
    _sft("magicbrush", "MagicBrush", "chat_edit", 8.8e3, "instructional image generation"),
    _sft("librispeech", "LibriSpeech", "chat_transcription", 281e3, "ASR"),
    _sft("gigaspeech", "GigaSpeech", "chat_transcription", 8.3e6, "ASR"),
    _sft("common_voice", "Common Voice", "chat_transcription", 1.1e6, "ASR"),
    _sft("videochat2_it", "VideoChat2-IT", "chat_video", 25e3, "video dialogue"),
    _sft("vision_flan", "Vision-Flan", "chat_conversation", 186e3, "image QA"),
    _sft("vizwiz", "VizWiz", "chat_questions", 20.5e3, "image QA"),
    _sft("laion_gpt4v", "LAION-GPT4V", "chat_long_caption", 12.4e3, "image QA"),
    _sft("llavar", "LLaVAR", "chat_conversation", 16e3, "image QA"),
    _sft("ocrvqa", "OCR-VQA", "chat_questions", 166e3, "image QA"),
    _sft("vqav2", "VQAv2", "chat_questions", 83e3, "image QA"),
    _sft("textvqa", "TextVQA", "chat_questions", 22e3, "image QA"),
    _sft("okvqa", "OK-VQA", "chat_questions", 9e3, "image QA"),
    _sft("mantis_instruct", "Mantis-Instruct", "chat_conversation", 721e3, "image QA"),
    Row("speech_instruct", "SpeechInstruct", (), 9e6, "speech generation", SPEECH_INSTRUCT),
    Row("speech_instruct", "SpeechInstruct", (), 9e6, "speech understanding", SPEECH_INSTRUCT),
    _sft("flickr30k", "Flickr30K", "chat_caption", 31e3, "captioning"),
    _sft("coco", "COCO", "chat_caption", 118e3, "captioning"),
    _sft("flickr30k", "Flickr30K", "chat_text_to_image", 31e3, "descriptive image generation"),
    _sft("coco", "COCO", "chat_text_to_image", 118e3, "descriptive image generation"),
    _sft("gigaspeech", "GigaSpeech", "chat_speech", 8.3e6, "TTS"),
    _sft("common_voice", "Common Voice", "chat_speech", 1.1e6, "TTS"),
    _sft("msrvtt_8", "MSR-VTT", "chat_text_to_video", 7e3, "video generation"),
    _sft("msvd", "MSVD", "chat_text_to_video", 1.2e3, "video generation"),
    _sft("msrvtt_8", "MSR-VTT", "chat_video_caption", 7e3, "video understanding"),
    _sft("msvd", "MSVD", "chat_video_caption", 1.2e3, "video understanding"),
    _sft("msvd_qa_8", "MSVD-QA", "chat_video_questions", 1.2e3, "video understanding"),
    _sft("msrvtt_qa_8", "MSRVTT-QA", "chat_video_questions", 6.5e3, "video understanding"),
    _sft("vist", "VIST", "chat_story", 40e3, "storytelling"),
)

MIXTURES: dict[str, tuple[Row, ...]] = {**PRETRAINING, "mio_instruct": INSTRUCTION}


def rate(row: Row) -> float:
    """How often a set is drawn, beside the others of its mixture."""
    return math.sqrt(row.examples)


def sets_of(rows: Sequence[Row]) -> list[str]:
    """The sets of a mixture that can be read, each once."""
    return list(dict.fromkeys(row.set for row in rows if row.kinds))
