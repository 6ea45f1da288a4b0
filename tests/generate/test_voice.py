"""Sound on its way out: growing files, players, decoding in chunks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.io.wavfile

from mio_jax.errors import MioError
from mio_jax.generate.reading import Frames, Reader, Unreadable
from mio_jax.generate.rendering import Renderer, Samples
from mio_jax.generate.voice import GrowingWav, Player, SoundTimes, pcm, sound_decoder
from mio_jax.nn.base import init_params
from mio_jax.recipes.mio.features import audio_ids
from mio_jax.recipes.mio.tokens import mio_token_space
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.audio.streaming import StreamingDecoder
from mio_tokenizers.audio.tokenizer import AudioTokenizer

RATE = 16000


class PlainCodec:
    """A codec whose frame n is 4 samples of its code."""

    rate, hop = RATE, 4

    def decode(self, codes: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(samples=np.repeat(codes[0] / 100, 4).astype(np.float32))


def test_a_growing_file_is_whole_after_every_write(tmp_path: Path) -> None:
    wav = GrowingWav(tmp_path / "deep" / "a.wav", RATE)
    wave = np.sin(np.arange(900) / 7).astype(np.float32) * 1.2
    for start in range(0, 900, 300):
        wav.write(wave[start : start + 300])
        rate, samples = scipy.io.wavfile.read(wav.path)
        assert rate == RATE
        assert samples.tobytes() == pcm(wave[: start + 300])
    wav.close()


def test_a_player_gets_every_sample_in_order(tmp_path: Path) -> None:
    out = tmp_path / "heard"
    copy = f"import sys; open({str(out)!r}, 'wb').write(sys.argv[1].encode() + sys.stdin.buffer.read())"
    player = Player(f'{sys.executable} -c "{copy}" {{rate}}', RATE)
    chunks = [np.full(n, n / 1000, np.float32) for n in (10, 500, 3)]
    for chunk in chunks:
        player.write(chunk)
    player.close()
    assert out.read_bytes() == b"16000" + pcm(np.concatenate(chunks))


def test_a_player_that_fails_is_told_about() -> None:
    player = Player(f'{sys.executable} -c "raise SystemExit(3)"', RATE)
    player.write(np.zeros(10, np.float32))
    with pytest.raises(MioError, match="ended with status 3"):
        player.close()


def test_sounds_of_an_answer_are_rendered_as_they_come() -> None:
    renderer = Renderer(SimpleNamespace(audio=PlainCodec()))
    frame = np.asarray([[50]])
    none = np.zeros((1, 0), np.int32)
    shown = list(renderer.render([Frames(frame, True, False), Frames(frame, False, False), Frames(none, False, True)]))
    assert all(isinstance(s, Samples) for s in shown)
    assert [s.first for s in shown] == [True] + [False] * (len(shown) - 1)
    assert [s.last for s in shown] == [False] * (len(shown) - 1) + [True]
    np.testing.assert_allclose(np.concatenate([s.samples for s in shown]), np.full(8, 0.5))
    # A second one, cut short: what came of it is heard, and then why it ended.
    *heard, fault = renderer.render([Frames(frame, True, False), Unreadable("cut")])
    assert fault == Unreadable("cut")
    assert heard[-1].last
    assert sum(len(s.samples) for s in heard) == 4
    assert renderer.times.sound_seconds == pytest.approx(12 / RATE)


def test_times() -> None:
    times = SoundTimes()
    assert str(times) == "no sound"
    times.heard(0, RATE)
    assert times.first_sound is None
    times.heard(RATE, RATE)
    assert times.first_sound is not None
    assert times.real_time_factor == times.ended > 0


@pytest.fixture
def quick_compilation() -> Iterator[None]:
    """A model so small that compiling it is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.usefixtures("quick_compilation")
def test_a_codec_that_can_is_heard_before_its_span_closes() -> None:
    """Four layers as MIO writes them: chunks sound while the last layer comes, and are the sound of the whole."""
    seanet = SEANetSpec(n_filters=2, strides=(5, 4), dimension=6, n_residual_layers=1)
    spec = CodecSpec(seanet, n_q=4, codebook_size=16, sample_rate=1000)
    params = jax.jit(partial(init_params, partial(Codec, spec)))(jax.random.key(0))
    codec = AudioTokenizer.from_training(spec, params, jax.random.normal(jax.random.key(1), (4, 16, 6)))
    assert isinstance(sound_decoder(codec), StreamingDecoder)
    space = mio_token_space(20, image_codes=7, image_length=5, speech_codes=64, speech_layers=4)
    codes = np.random.default_rng(0).integers(0, 16, (4, 60))
    reader = Reader(space, lambda ids: "")
    renderer = Renderer(SimpleNamespace(audio=codec))
    ids = audio_ids(codes, space)
    came = [(i, part) for i, token in enumerate(ids) for part in renderer.render(reader.read([token]))]
    heard = [part for _, part in came if isinstance(part, Samples)]
    assert len(heard) == len(came)
    first = next(i for i, part in came if len(part.samples))
    assert 3 * 60 < first < 4 * 60 - 20, "sound comes with the last layer's codes, well before its end"
    np.testing.assert_allclose(
        np.concatenate([part.samples for part in heard]), codec.decode(codes).samples, rtol=1e-4, atol=1e-5
    )
