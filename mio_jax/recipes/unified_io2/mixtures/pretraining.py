"""Pre-training: groups, sets and sampling rates as published (specification, section 16.1).

For stages with objective "denoising": most kinds give whole examples, in which the objective picks what is asked for.
"""

from __future__ import annotations

from mio_jax.recipes.unified_io2.mixtures.rows import Row

NAME = "unified_io2_pretrain"

GROUPS: dict[str, float] = {  # per cent, as published: rounded, so that the rows' own sums differ in the second place
    "text": 33.0,
    "image_text": 31.3,
    "video": 25.0,
    "interleaved": 8.70,
    "multi_view": 0.67,
    "trajectories": 0.33,
    "synthetic": 1.00,
}

PAIR = ("pair",)
PATCHES = ("patch_detection", "patch_counting")

ROWS: tuple[Row, ...] = (
    Row("mc4", "mC4", "text", ("document",), 11.7, 5.0e9),
    Row("c4", "C4", "text", ("document",), 10.6, 266e6),
    Row("stack", "The Stack", "text", ("document",), 3.55, 147e6),
    Row("redpajama_common_crawl", "RedPajama CommonCrawl", "text", ("document",), 3.55, 1.2e9),
    Row("wikipedia", "Wikipedia", "text", ("document",), 1.42, 6.8e6),
    Row("redpajama_book", "RedPajama Book", "text", ("document",), 1.06, 13e6),
    Row("stack_markdown", "The Stack, Markdown", "text", ("document",), 1.06, 34e6),
    Row("laion_aesthetics", "LAION Aesthetics v2.5", "image_text", PAIR, 17.7, 491e6),
    # Pictures are made after the Aesthetics subset alone; of LAION-400M only captions are learned.
    Row("laion_400m", "LAION-400M", "image_text", ("seen_pair",), 8.95, 346e6),
    Row("cc12m", "Conceptual 12M", "image_text", PAIR, 1.48, 11e6),
    Row("redcaps", "RedCaps", "image_text", PAIR, 1.39, 12e6),
    Row("web_images", "pictures and icons of web pages", "image_text", (), 1.33, 107e6),
    Row("cc3m", "Conceptual Captions 3M", "image_text", PAIR, 0.49, 3e6),
    Row("yt_temporal_1b", "YT-Temporal-1B", "video", ("heard_video", "sounding_video"), 13.7, 146e6),
    Row("acav100m", "ACAV100M", "video", ("sounding_video",), 3.98, 17e6),
    Row("hd_vila", "HD-VILA", "video", ("sounding_video",), 2.75, 7.1e6),
    Row("audioset", "AudioSet", "video", ("sound_pair",), 2.75, 1.7e6),
    Row("webvid", "WebVid", "video", ("video_pair",), 1.23, 9.2e6),
    Row("ego4d", "Ego4D", "video", ("video_pair",), 0.55, 0.7e6),
    Row("obelics_shown", "OBELICS", "interleaved", ("interleaved_document",), 8.00, 131e6),
    Row("cc12m_interleaved", "interleaved from CC12M", "interleaved", ("interleaved",), 0.35, 11e6),
    Row("cc3m_interleaved", "interleaved from CC3M", "interleaved", ("interleaved",), 0.21, 3e6),
    Row("redcaps_interleaved", "interleaved from RedCaps", "interleaved", ("interleaved",), 0.14, 12e6),
    Row("croco_habitat", "CroCo-Habitat", "multi_view", ("pair_of_views",), 0.33, 2.6e6),
    Row("objaverse", "Objaverse", "multi_view", ("view_synthesis", "camera_transform"), 0.33, 0.8e6),
    Row("procthor", "ProcTHOR", "trajectories", (), 0.17, 0.7e6),
    Row("habitat", "Habitat", "trajectories", (), 0.17, 0.6e6),
    Row("sam", "SA-1B", "synthetic", ("box_to_mask",), 0.50, 1.1e6),
    Row("laion_patches", "patches of LAION Aesthetics", "synthetic", PATCHES, 0.45, 491e6),
    Row("redcaps_patches", "patches of RedCaps", "synthetic", PATCHES, 0.05, 12e6),
)
