"""Where the answers of `mio chat` go: words to the standard output, media to files, sounds to a player."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mio_jax.generate.reading import Unreadable, Words
from mio_jax.generate.rendering import Pixels, Samples, Shown
from mio_jax.generate.voice import GrowingWav, Player


class Output:
    """Media of answer N are NNN_0.png, NNN_1.wav, ... in `folder`; in the text they stand as [out/NNN_0.png].

    Args:
      play: command that plays sound (`Player`); "": none.
    """

    def __init__(self, folder: Path, play: str = "") -> None:
        self.folder, self._play = folder, play
        self._answer = -1
        self._files = 0
        self._wav: GrowingWav | None = None
        self._player: Player | None = None

    def begin(self, prompt: str) -> None:
        """A new answer. What is still being played is played to its end first."""
        self.close()
        self._answer += 1
        self._files = 0
        print(prompt, end="", flush=True)

    def show(self, parts: Iterable[Shown]) -> None:
        for part in parts:
            if isinstance(part, Words):
                print(part.text, end="", flush=True)
            elif isinstance(part, Pixels):
                self._picture(part)
            elif isinstance(part, Samples):
                self._sound(part)
            elif isinstance(part, Unreadable):
                print(f"[unreadable: {part.why}]", end="", flush=True)

    def end(self) -> None:
        """The answer is complete; it may still be playing."""
        print(flush=True)

    def close(self) -> None:
        """Waits for the player. Raises MioError if it did not play everything."""
        player, self._player = self._player, None
        if player is not None:
            player.close()

    def _path(self, ending: str) -> Path:
        path = self.folder / f"{self._answer:03d}_{self._files}.{ending}"
        self._files += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        print(f"[{path}]", end="", flush=True)
        return path

    def _picture(self, part: Pixels) -> None:
        from PIL import Image

        Image.fromarray(part.picture).save(self._path("png"))

    def _sound(self, part: Samples) -> None:
        if part.first:
            self._wav = GrowingWav(self._path("wav"), part.rate)
            if self._play and self._player is None:
                self._player = Player(self._play, part.rate)
        assert self._wav is not None
        self._wav.write(part.samples)
        if self._player is not None:
            self._player.write(part.samples)
        if part.last:
            self._wav.close()
            self._wav = None
