"""Instruction tuning: categories with the published rates, and the sets that the publication names in each.

Rates of single sets are published as a chart only, beside the rule that sets of a category are drawn in proportion to
the square root of their size, with adjustments by hand that are not told (specification, sections 16.2 and 24). Here
they follow the rule alone, over the named sets. Where no set is named, a row says so and holds the category's rate.
"""

from __future__ import annotations

from mio_jax.recipes.unified_io2.mixtures import pretraining
from mio_jax.recipes.unified_io2.mixtures.rows import Category, Row, by_root_of_size

NAME = "unified_io2_instruct"

CATEGORIES: dict[str, Category] = {
    "text_to_image": Category("image_generation", 10.6, 5),
    "controllable_editing": Category("image_generation", 2.92, 4),
    "image_editing": Category("image_generation", 1.66, 3),
    "next_frame": Category("image_generation", 0.96, 2),
    "inpainting": Category("image_generation", 0.79, 3),
    "view_synthesis": Category("image_generation", 0.60, 4),
    "audio_from_text": Category("audio_generation", 5.62, 8),
    "audio_from_video": Category("audio_generation", 1.88, 1),
    "vqa": Category("image_understanding", 6.23, 31),
    "image_captioning": Category("image_understanding", 4.25, 14),
    "region_classification": Category("image_understanding", 2.41, 4),
    "image_tagging": Category("image_understanding", 2.38, 8),
    "relationship": Category("image_understanding", 1.41, 6),
    "region_captioning": Category("image_understanding", 0.60, 1),
    "image_instruction": Category("image_understanding", 0.37, 6),
    "pair_qa": Category("image_understanding", 0.17, 3),
    "detection": Category("image_sparse", 3.08, 9),
    "localization": Category("image_sparse", 1.31, 3),
    "referring_expression": Category("image_sparse", 1.08, 7),
    "boxes_3d": Category("image_sparse", 1.00, 2),
    "text_detection": Category("image_sparse", 0.41, 3),
    "keypoints": Category("image_sparse", 0.38, 2),
    "semantic_segmentation": Category("image_dense", 1.23, 4),
    "localised_segmentation": Category("image_dense", 1.17, 3),
    "surface_normals": Category("image_dense", 1.03, 6),
    "referring_segmentation": Category("image_dense", 0.47, 3),
    "depth": Category("image_dense", 0.11, 1),
    "optical_flow": Category("image_dense", 0.06, 2),
    "video_captioning": Category("video_understanding", 3.75, 3),
    "video_tagging": Category("video_understanding", 3.75, 6),
    "video_qa": Category("video_understanding", 2.84, 9),
    "video_instruction": Category("video_understanding", 0.21, 6),
    "tracking": Category("video_sparse", 2.50, 3),
    "action_localization": Category("video_sparse", 0.61, 1),
    "sound_localization": Category("video_sparse", 0.31, 1),
    "audio_tagging": Category("audio_understanding", 1.25, 5),
    "audio_captioning": Category("audio_understanding", 1.25, 5),
    "text_instruction": Category("natural_language", 12.5, 10),
    "language_modelling": Category("natural_language", 12.5, 7),
    "action_prediction": Category("embodied", 3.37, 12),
    "next_state": Category("embodied", 0.33, 2),
    "goal_generation": Category("embodied", 0.33, 3),
    "embodied_qa": Category("embodied", 0.30, 6),
}

FLAN = 15e6  # examples; the publication's weights of its five parts follow
FLAN_WEIGHTS = {"flan2021": 0.40, "t0": 0.32, "niv2": 0.20, "cot": 0.05, "dialog": 0.03}
REFERRING = (("refcoco", "RefCOCO", 120e3), ("refcoco_plus", "RefCOCO+", 120e3), ("refcocog", "RefCOCOg", 80e3))


def _unnamed(category: str) -> Row:
    """The sets of this category are not named in the publication."""
    return Row(f"unnamed_{category}", "sets that the publication does not name", category, (), 0.0, 1.0)


def _flan() -> tuple[Row, ...]:
    """FlanV2's parts share what its size gives FlanV2 by their own weights, so the roots of their sizes are theirs."""
    return tuple(
        Row(f"flan_{part}", f"FlanV2, {part}", "text_instruction", ("instruction",), 0.0, FLAN * weight**2)
        for part, weight in FLAN_WEIGHTS.items()
    )


def _language() -> tuple[Row, ...]:
    """The text of pre-training in its own proportions: sizes whose roots are its rates."""
    return tuple(
        Row(row.set, row.title, "language_modelling", ("language",), 0.0, row.rate**2)
        for row in pretraining.ROWS
        if row.group == "text"
    )


_ROWS: tuple[Row, ...] = (
    Row("laion_aesthetics", "LAION Aesthetics v2.5", "text_to_image", ("text_to_image",), 0.0, 491e6),
    Row("cc12m", "Conceptual 12M", "text_to_image", ("text_to_image",), 0.0, 11e6),
    Row("coco", "COCO captions", "text_to_image", ("text_to_image",), 0.0, 592e3),
    Row("localized_narratives", "Open Images localized narratives", "text_to_image", ("text_to_image",), 0.0, 507e3),
    Row("visual_genome", "Visual Genome", "text_to_image", ("text_to_image",), 0.0, 108e3),
    Row("multigen", "MultiGen-20M", "controllable_editing", ("condition_to_image",), 0.0, 2.8e6),
    Row("coco_masks", "COCO segmentation", "controllable_editing", ("mask_to_image",), 0.0, 860e3),
    Row("lvis", "LVIS", "controllable_editing", ("mask_to_image",), 0.0, 1.27e6),
    Row("instruct_pix2pix", "InstructPix2Pix", "image_editing", ("image_editing",), 0.0, 313e3),
    Row("magicbrush", "MagicBrush", "image_editing", ("image_editing",), 0.0, 8.8e3),
    _unnamed("next_frame"),
    Row("coco", "COCO", "inpainting", ("inpainting",), 0.0, 118e3),
    Row("objaverse", "Objaverse", "view_synthesis", ("view_synthesis",), 0.0, 0.8e6),
    Row("croco_habitat", "CroCo-Habitat", "view_synthesis", ("view_completion",), 0.0, 2.6e6),
    Row("audiocaps", "AudioCaps", "audio_from_text", ("text_to_audio",), 0.0, 49e3),
    Row("clotho", "Clotho", "audio_from_text", ("text_to_audio",), 0.0, 19e3),
    Row("macs", "MACS", "audio_from_text", ("text_to_audio",), 0.0, 17e3),
    Row("musiccaps", "MusicCaps", "audio_from_text", ("text_to_audio",), 0.0, 2.7e3),
    Row("ljspeech", "LJSpeech", "audio_from_text", ("speech",), 0.0, 13.1e3),
    Row("audioset", "AudioSet", "audio_from_text", ("text_to_audio",), 0.0, 1.7e6),
    Row("vggsound", "VGG-Sound", "audio_from_text", ("text_to_audio",), 0.0, 184e3),
    Row("kinetics_sounds", "Kinetics-Sounds", "audio_from_text", ("text_to_audio",), 0.0, 19e3),
    Row("yt_temporal_1b", "YT-Temporal-1B", "audio_from_video", ("audio_from_video",), 0.0, 146e6),
    Row("vqav2", "VQAv2", "vqa", ("vqa",), 0.0, 444e3),
    Row("gqa", "GQA", "vqa", ("vqa",), 0.0, 943e3),
    Row("tallyqa", "TallyQA", "vqa", ("vqa",), 0.0, 249e3),
    Row("okvqa", "OK-VQA", "vqa", ("vqa",), 0.0, 9e3),
    Row("aokvqa", "A-OKVQA", "vqa", ("vqa", "vqa_choices"), 0.0, 17e3),
    Row("textvqa", "TextVQA", "vqa", ("vqa",), 0.0, 34.6e3),
    Row("ocrvqa", "OCR-VQA", "vqa", ("vqa",), 0.0, 802e3),
    Row("stvqa", "ST-VQA", "vqa", ("vqa",), 0.0, 26e3),
    Row("visual_genome_qa", "Visual Genome questions", "vqa", ("vqa",), 0.0, 1.4e6),
    Row("scienceqa", "ScienceQA", "vqa", ("vqa_choices",), 0.0, 6.2e3),
    Row("vcr", "VCR", "vqa", ("grounded_choices", "grounded_reasons"), 0.0, 213e3),
    Row("vizwiz", "VizWiz", "vqa", ("vqa",), 0.0, 20.5e3),
    Row("clevr", "CLEVR", "vqa", ("vqa",), 0.0, 700e3),
    Row("visdial", "VisDial", "vqa", ("visual_dialog",), 0.0, 123e3),
    Row("vsr", "VSR", "vqa", ("true_or_false",), 0.0, 7.7e3),
    Row("coco", "COCO captions", "image_captioning", ("image_captioning", "constrained_captioning"), 0.0, 592e3),
    Row("localized_narratives", "Open Images localized narratives", "image_captioning", ("narrative",), 0.0, 507e3),
    Row("visual_storytelling", "Visual Storytelling", "image_captioning", ("story",), 0.0, 50e3),
    Row("coco", "COCO", "region_classification", ("box_classification",), 0.0, 860e3),
    Row("visual_genome_objects", "Visual Genome objects", "region_classification", ("box_classification",), 0.0, 3.8e6),
    Row("imagenet", "ImageNet", "image_tagging", ("classification",), 0.0, 1.28e6),
    Row("cub200", "Caltech Birds", "image_tagging", ("classification",), 0.0, 6e3),
    Row("inaturalist", "iNaturalist", "image_tagging", ("classification",), 0.0, 2.7e6),
    Row("sun397", "SUN397", "image_tagging", ("classification",), 0.0, 20e3),
    Row("places365", "Places365", "image_tagging", ("classification",), 0.0, 1.8e6),
    Row("visual_genome_relations", "Visual Genome", "relationship", ("relationship",), 0.0, 2.3e6),
    Row("coco", "COCO", "relationship", ("box_relation",), 0.0, 118e3),
    Row("visual_genome_regions", "Visual Genome", "region_captioning", ("region_captioning",), 0.0, 5.4e6),
    Row("llava_instruct", "LLaVA-Instruct 150K", "image_instruction", ("image_instruction",), 0.0, 158e3),
    Row("m3it", "M3IT", "image_instruction", ("image_instruction",), 0.0, 2.4e6),
    Row("mimic_it", "MIMIC-IT", "image_instruction", ("image_instruction",), 0.0, 2.8e6),
    Row("nlvr2", "NLVR2", "pair_qa", ("pair_true_or_false",), 0.0, 86e3),
    Row("coco", "COCO", "detection", ("detection", "detection_of_classes"), 0.0, 118e3),
    Row("lvis_boxes", "LVIS", "detection", ("detection_of_classes",), 0.0, 100e3),
    Row("visual_genome_objects", "Visual Genome", "detection", ("detection_of_classes",), 0.0, 108e3),
    Row("open_images", "Open Images", "detection", ("detection_of_classes",), 0.0, 1.74e6),
    Row("coco", "COCO", "localization", ("localization", "box_property"), 0.0, 118e3),
    Row("lvis_boxes", "LVIS", "localization", ("localization",), 0.0, 100e3),
    Row("open_images", "Open Images", "localization", ("localization",), 0.0, 1.74e6),
    *(
        Row(n, title, "referring_expression", ("refexp", "box_to_expression"), 0.0, size)
        for n, title, size in REFERRING
    ),
    Row("omni3d", "Omni3D", "boxes_3d", ("box_3d",), 0.0, 234e3),
    Row("coco_text", "COCO-Text", "text_detection", ("text_detection",), 0.0, 43e3),
    Row("coco_keypoints", "COCO keypoints", "keypoints", ("keypoints",), 0.0, 150e3),
    Row("coco_class_masks", "COCO", "semantic_segmentation", ("segmentation_class",), 0.0, 118e3),
    Row("coco_masks", "COCO", "localised_segmentation", ("segmentation_box",), 0.0, 860e3),
    Row("lvis", "LVIS", "localised_segmentation", ("segmentation_box",), 0.0, 1.27e6),
    Row("framenet", "FrameNet", "surface_normals", ("surface_normals",), 0.0, 1.2e6),
    Row("blendedmvs", "BlendedMVS", "surface_normals", ("surface_normals",), 0.0, 17e3),
    Row("taskonomy", "Taskonomy", "surface_normals", ("surface_normals",), 0.0, 4.5e6),
    *(
        Row(f"{n}_masks", title, "referring_segmentation", ("refexp_segmentation",), 0.0, size)
        for n, title, size in REFERRING
    ),
    Row("nyuv2", "NYU Depth v2", "depth", ("depth",), 0.0, 1449),
    Row("flying_chairs", "FlyingChairs", "optical_flow", ("optical_flow",), 0.0, 22e3),
    Row("mpi_sintel", "MPI-Sintel", "optical_flow", ("optical_flow",), 0.0, 1041),
    Row("vatex", "VATEX", "video_captioning", ("video_captioning",), 0.0, 26e3),
    Row("msrvtt", "MSR-VTT", "video_captioning", ("video_captioning",), 0.0, 6.5e3),
    Row("ucf101", "UCF101", "video_tagging", ("video_tagging",), 0.0, 9.5e3),
    Row("kinetics710", "Kinetics-710", "video_tagging", ("video_tagging",), 0.0, 650e3),
    Row("something_something_v2", "Something-Something v2", "video_tagging", ("video_tagging",), 0.0, 169e3),
    Row("epic_kitchens", "EPIC-Kitchens-100", "video_tagging", ("video_tagging",), 0.0, 67e3),
    Row("msrvtt_qa", "MSRVTT-QA", "video_qa", ("video_qa",), 0.0, 158e3),
    Row("msvd_qa", "MSVD-QA", "video_qa", ("video_qa",), 0.0, 31e3),
    Row("star", "STAR", "video_qa", ("video_qa",), 0.0, 46e3),
    Row("m4_vitevqa", "M4-ViteVQA", "video_qa", ("video_qa",), 0.0, 25e3),
    Row("m3it_video", "M3IT, videos", "video_instruction", (), 0.0, 50e3),
    Row("mimic_it_video", "MIMIC-IT, videos", "video_instruction", (), 0.0, 200e3),
    Row("youtube_bb", "YouTube-BB", "tracking", ("tracking",), 0.0, 380e3),
    Row("lasot", "LaSOT", "tracking", ("tracking",), 0.0, 1120),
    Row("got10k", "GOT-10k", "tracking", ("tracking",), 0.0, 9335),
    Row("ava", "AVA", "action_localization", ("action_localization",), 0.0, 210e3),
    _unnamed("sound_localization"),
    Row("audioset", "AudioSet", "audio_tagging", ("audio_tagging",), 0.0, 1.7e6),
    Row("vggsound", "VGG-Sound", "audio_tagging", ("audio_tagging",), 0.0, 184e3),
    Row("kinetics_sounds", "Kinetics-Sounds", "audio_tagging", ("audio_tagging",), 0.0, 19e3),
    Row("audiocaps", "AudioCaps", "audio_captioning", ("audio_captioning",), 0.0, 49e3),
    Row("clotho", "Clotho", "audio_captioning", ("audio_captioning",), 0.0, 19e3),
    Row("macs", "MACS", "audio_captioning", ("audio_captioning",), 0.0, 17e3),
    Row("musiccaps", "MusicCaps", "audio_captioning", ("audio_captioning",), 0.0, 2.7e3),
    *_flan(),
    Row("alpaca", "Alpaca", "text_instruction", ("instruction",), 0.0, 52e3),
    Row("dolly", "Dolly", "text_instruction", ("instruction",), 0.0, 15e3),
    Row("open_assistant", "OpenAssistant", "text_instruction", ("instruction",), 0.0, 88e3),
    Row("mbpp", "MBPP", "text_instruction", ("instruction",), 0.0, 374),
    *_language(),
    Row("vima", "VIMA", "action_prediction", ("robot_plan",), 0.0, 650e3),
    Row("language_table", "Language-Table", "action_prediction", ("robot_action",), 0.0, 442e3),
    Row("bridge_v2", "BridgeData V2", "action_prediction", ("robot_action",), 0.0, 60e3),
    Row("franka_kitchen", "FrankaKitchen", "action_prediction", (), 0.0, 566),
    Row("habitat_pointnav", "Habitat PointNav", "action_prediction", (), 0.0, 1e6),
    _unnamed("next_state"),
    _unnamed("goal_generation"),
    _unnamed("embodied_qa"),
)

ROWS: tuple[Row, ...] = by_root_of_size(_ROWS, CATEGORIES)
