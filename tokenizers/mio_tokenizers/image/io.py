"""Pictures as arrays: reading files, and bringing any picture to a tokenizer's square."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mio_jax.errors import MioError

MAX_PIXELS = 50_000_000  # larger files are refused before they are decoded


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file as uint8 [height, width, 3]; transparency is laid over white.

    Raises:
      MioError: no such file, no picture in it, damaged, or larger than MAX_PIXELS.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.width * image.height > MAX_PIXELS:
                raise MioError(
                    f"{path} has {image.width}x{image.height} pixels; scale it below {MAX_PIXELS} pixels first"
                )
            image.load()
            if "A" in image.getbands() or "transparency" in image.info:
                rgba = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise MioError(f"there is no picture {path}") from None
    except IsADirectoryError:
        raise MioError(f"{path} is a folder, not a picture") from None
    except UnidentifiedImageError:
        raise MioError(f"{path} is not a picture in a known format (PNG, JPEG, WebP, GIF, BMP, ...)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # before anything is decoded
        raise MioError(f"{path} has too many pixels; scale it below {MAX_PIXELS} pixels first") from None
    # Pillow's decoders raise all of these on damaged files.
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MioError(f"{path} is damaged or cannot be read as a picture: {error}") from error


def check_picture(media: object) -> np.ndarray:
    """Returns `media` if it is a uint8 [height, width, 3] array with at least one pixel; MioError otherwise."""
    if not isinstance(media, np.ndarray) or media.dtype != np.uint8 or media.ndim != 3 or media.shape[2] != 3:
        got = f"{media.dtype} {media.shape}" if isinstance(media, np.ndarray) else type(media).__name__
        raise MioError(f"a picture must be a uint8 array [height, width, 3], not {got}")
    if not media.size:
        raise MioError(f"the picture is empty: its shape is {media.shape}")
    return media


def to_square(picture: np.ndarray, size: int) -> np.ndarray:
    """uint8 [height, width, 3] -> [size, size, 3]: padded to a square with its border's median colour, then resized.

    A picture of the right size is returned as it is.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    if (height, width) == (size, size):
        return picture
    if height != width:
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        side = max(height, width)
        square = np.empty((side, side, 3), np.uint8)
        square[:] = np.median(border, axis=0).astype(np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = picture
        picture = square
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


def mask_picture(mask: np.ndarray) -> np.ndarray:
    """bool [height, width] -> the uint8 [height, width, 3] picture that stands for it: white on black."""
    return np.repeat(np.where(mask, np.uint8(255), np.uint8(0))[..., None], 3, axis=-1)


def picture_mask(picture: np.ndarray) -> np.ndarray:
    """The bool [height, width] mask that a (decoded) white-on-black picture shows."""
    return picture.astype(np.float32).mean(axis=-1) > 127.5
