"""Structured values as tokens and as text: boxes, points, poses, actions, 3-D boxes; dense ones as pictures."""

from mio_tokenizers.structured.extra_ids import Parsed
from mio_tokenizers.structured.keypoints import KEYPOINTS, keypoint_schedule
from mio_tokenizers.structured.location import COORDINATES, LocationTokenizer

__all__ = ["COORDINATES", "KEYPOINTS", "LocationTokenizer", "Parsed", "keypoint_schedule"]
