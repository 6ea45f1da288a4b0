"""The picks of the mixture of denoisers follow their weights and come from the generator alone."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from mio_jax.config_denoising import UL2, DenoiserConfig, DenoisingConfig
from mio_jax.errors import MioError
from mio_jax.objectives.denoising import pick_denoiser, pick_inputs, pick_target

N = 3000  # draws; a share of a half has a standard error of 0.009


def test_targets_are_drawn_by_modality_first() -> None:
    config, rng = DenoisingConfig(image_target=2.0), np.random.default_rng(0)
    present = ["image", "text", "image", "image", "audio"]
    drawn = Counter(pick_target(present, config, rng) for _ in range(N))
    assert {i: n / N for i, n in drawn.items()} == {
        i: pytest.approx(share, abs=0.03) for i, share in {0: 1 / 6, 1: 1 / 4, 2: 1 / 6, 3: 1 / 6, 4: 1 / 4}.items()
    }
    with pytest.raises(MioError, match="is a denoising target"):
        pick_target(["audio"], DenoisingConfig(audio_target=0), rng)
    with pytest.raises(MioError, match="not 'smell'"):
        pick_target(["smell"], config, rng)


def test_inputs_are_kept_and_the_target_never() -> None:
    rng = np.random.default_rng(0)
    kept = np.asarray([pick_inputs(3, 1, DenoisingConfig(keep_inputs=0.9), rng) for _ in range(N)])
    assert kept.mean(0).tolist() == [pytest.approx(0.9, abs=0.02), 0, pytest.approx(0.9, abs=0.02)]


def test_denoisers_are_drawn_by_weight() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(pick_denoiser("text", DenoisingConfig(), rng).name for _ in range(N))
    assert {d.name: pytest.approx(drawn[d.name] / N, abs=0.025) for d in UL2} == {d.name: 1 / 7 for d in UL2}
    only = tuple(dataclasses.replace(d, weight=float(d.name == "x64")) for d in UL2)
    assert {pick_denoiser("text", DenoisingConfig(text=only), rng).name for _ in range(20)} == {"x64"}
    config = DenoisingConfig(reconstruct=0.25, image_rate=0.6, audio_rate=0.8)
    for modality, rate in (("image", 0.6), ("audio", 0.8)):
        media = [pick_denoiser(modality, config, rng) for _ in range(N)]
        assert np.mean([d.paradigm == "R" for d in media]) == pytest.approx(0.25, abs=0.03)
        assert {d.rate for d in media if d.paradigm == "R"} == {rate}
    with pytest.raises(MioError, match="not 'smell'"):
        pick_denoiser("smell", config, rng)


def test_the_mixture_is_ul2s_seven() -> None:
    table = [(d.paradigm, d.mean_span, d.rate) for d in UL2]
    assert table == [
        *(("R", 3, 0.15), ("R", 8, 0.15), ("S", 0, 0.25)),
        *(("X", 3, 0.5), ("X", 8, 0.5), ("X", 64, 0.15), ("X", 64, 0.5)),
    ]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: DenoiserConfig(paradigm="Q"), "paradigm is 'Q'"),
        (lambda: DenoiserConfig(rate=1.0), "rate is 1.0"),
        (lambda: DenoiserConfig(mean_span=0.5), "mean_span is 0.5"),
        (lambda: DenoiserConfig(paradigm="S"), "leave it 0"),
        (lambda: DenoiserConfig(weight=-1.0), "weight is -1"),
        (lambda: DenoisingConfig(text=(DenoiserConfig(), DenoiserConfig())), "twice"),
        (lambda: DenoisingConfig(text=(DenoiserConfig(weight=0.0),)), "above 0"),
        (lambda: DenoisingConfig(text_target=0, image_target=0, audio_target=0), "targets have weights"),
        (lambda: DenoisingConfig(keep_inputs=1.5), "keep_inputs is 1.5"),
        (lambda: DenoisingConfig(image_rate=0.0), "image_rate is 0"),
        (lambda: DenoisingConfig(seen_weight=-1.0), "seen_weight is -1"),
    ],
)
def test_wrong_configs_are_answered_in_one_line(make, words: str) -> None:
    with pytest.raises(MioError, match=words):
        make()
