"""How a model takes its images: their size in pixels, their channels, and how another aspect ratio is brought to it."""

from dataclasses import dataclass
from typing import Literal

Fit = Literal["stretch", "crop"]
"""How an image of another aspect ratio is brought to the model's: stretched, or cropped to its largest centred part."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Pixels as a model takes them, `u8[height, width, channels]`; channels: 1 (grey) or 3 (RGB)."""

    height: int
    width: int
    channels: int
    fit: Fit = "stretch"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def array(self) -> tuple[int, int, int]:
        """The shape of an array that holds one image."""
        return self.height, self.width, self.channels

    @property
    def nbytes(self) -> int:
        """Bytes of one image's pixels."""
        return self.height * self.width * self.channels
