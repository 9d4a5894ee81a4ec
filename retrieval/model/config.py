"""The network's hyperparameters. Importing them does not import JAX."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from retrieval.errors import ModelError
from retrieval.schema.image_shape import Fit, ImageShape

MIN_SIDE = 8
"""Smallest height and width, in pixels, that the convolutions can process."""
MAX_SIDE = 512

TRUNK = "efficientnet-lite0-78efa77911c2f8aa"
"""The trunk of this package, with the first digits of its weights' SHA-256."""
TRUNK_STRIDE = 32
"""Pixels to a position of the trunk's last feature map: the sides of its images are multiples of this."""
TRUNK_PICTURE = 4
"""The decoder of a model on the trunk draws images of a quarter of the input's height and width."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """All that is needed to rebuild the network; part of the model's fingerprint.

    image_size: (height, width) in pixels, each from MIN_SIDE to MAX_SIDE
    channels: 1 (grey) or 3 (colour)
    dim: dimension of the embedding
    widths: channels of each encoder stage; a stage halves the resolution. None if there is a trunk
    blocks: number of residual blocks after each stage
    trunk: the network, not trained here, on whose feature maps the model stands; None: the model sees pixels
    fit: how an image of another aspect ratio is brought to image_size
    stem: the first stage reduces the resolution to a half (2) or a quarter (4)
    Raises ModelError for a value out of range.
    """

    image_size: tuple[int, int]
    channels: int
    dim: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    trunk: str | None = None
    fit: Fit = "stretch"
    stem: int = 2

    def __post_init__(self) -> None:
        if min(self.image_size) < MIN_SIDE or max(self.image_size) > MAX_SIDE:
            height, width = self.image_size
            raise ModelError(f"image size {height}×{width}: each side must be between {MIN_SIDE} and {MAX_SIDE} pixels")
        if self.channels not in (1, 3):
            raise ModelError(f"channels = {self.channels}: must be 1 (grey) or 3 (colour)")
        if self.fit not in get_args(Fit):
            raise ModelError(f"fit = {self.fit}: must be one of {', '.join(get_args(Fit))}")
        if self.trunk not in (None, TRUNK):
            raise ModelError(f"trunk = {self.trunk}: this version of retrieval has {TRUNK}")
        if self.trunk and (self.widths or self.channels != 3 or any(side % TRUNK_STRIDE for side in self.image_size)):
            raise ModelError(
                f"widths = {self.widths}, channels = {self.channels}, image_size = {self.image_size}: a model on the"
                f" trunk has no stages of its own, 3 channels and sides that are multiples of {TRUNK_STRIDE}"
            )
        if self.dim < 1 or not (self.widths or self.trunk):
            raise ModelError(f"dim = {self.dim}, widths = {self.widths}: a network needs at least one of each")
        if self.stem not in (2, 4):
            raise ModelError(f"stem = {self.stem}: must be 2 or 4")
        if len(self.blocks) != len(self.widths):
            raise ModelError(f"blocks = {self.blocks}, widths = {self.widths}: must have the same length")

    @property
    def shape(self) -> ImageShape:
        """How the model takes images."""
        return ImageShape(*self.image_size, self.channels, self.fit)

    @property
    def picture(self) -> tuple[int, int]:
        """(height, width) of the images that the decoder draws."""
        height, width = self.image_size
        return (height // TRUNK_PICTURE, width // TRUNK_PICTURE) if self.trunk else self.image_size

    @property
    def drawn_shape(self) -> ImageShape:
        """Images at the size that the decoder draws."""
        return ImageShape(*self.picture, self.channels, self.fit)

    def to_json(self) -> dict[str, Any]:
        """The fields, without those added since 0.1.0 that have their defaults: fingerprints stay the same."""
        data = dataclasses.asdict(self)
        new = {"trunk": None, "fit": "stretch", "stem": 2}
        return {name: value for name, value in data.items() if name not in new or value != new[name]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """Read a config back; raises ModelError when a field is missing, unknown or out of range."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ModelError(f"not a model's config: {error}") from error
