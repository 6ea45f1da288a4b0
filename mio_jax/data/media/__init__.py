"""Pictures and video frames in numpy: resizing, placing in a square and back, patches, choice of frames."""

from mio_jax.data.media.placement import Placement, fit, random_placement
from mio_jax.data.media.resize import METHODS, resize, resize_nearest

__all__ = ["METHODS", "Placement", "fit", "random_placement", "resize", "resize_nearest"]
