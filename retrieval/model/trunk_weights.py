"""The trunk's shape and its weights, which come with the package. Importing this does not import JAX."""

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from retrieval.errors import ModelError
from retrieval.schema.arrays import Float32

WEIGHTS = Path(__file__).parents[1] / "data" / "trunk" / "efficientnet-lite0.safetensors"
SHA256 = "78efa77911c2f8aaaf6d5497472511e78771dd481d6e610e3548331a58cfdf90"
"""Of the file WEIGHTS: a model that stands on the trunk names it."""
CENTRE, SCALE = 127.0, 128.0
"""A pixel of 0 to 255 enters as (pixel − CENTRE) / SCALE."""


class Stage(NamedTuple):
    """Inverted residuals of one width.

    expand: a block's inner width, in times its input's · kernel: side of its depthwise kernel, in pixels ·
    stride: of the first block's · width: channels of the output · blocks: how many
    """

    expand: int
    kernel: int
    stride: int
    width: int
    blocks: int


STEM = 32
"""Channels that the first convolution makes of three colours."""
MIDDLE = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
HEAD = 1280
"""Channels of the last feature map, and numbers of `embed`."""
WIDTHS = (STEM, *(stage.width for stage in MIDDLE), HEAD)
"""Channels of each stage's feature map: stage 0 is the stem, stage 8 the head."""
STRIDES = (2, 2, 4, 8, 16, 16, 32, 32, 32)
"""Pixels of the image to a position of each stage's feature map."""
LAST = len(WIDTHS) - 1
POOLED = 4 * WIDTHS[LAST - 1] + WIDTHS[LAST]
"""Numbers that stand for an image: 320 for each quarter of it, and 1,280 for the whole."""
HIDDEN = 512
"""Width of the hidden layer."""


def padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side, as TensorFlow's "SAME" has them: ⌈side / stride⌉ positions, the odd one after."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def read_trunk(path: Path = WEIGHTS) -> dict[str, Float32[np.ndarray, "..."]]:
    """The weights by dotted name. Raises ModelError when the file is missing or another than was shipped."""
    again = "install retrieval again"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the trunk's weights cannot be read: {error.strerror}", hint=again) from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise ModelError(
            f"{path}: the trunk's weights are damaged: their SHA-256 is {found[:8]}, not {SHA256[:8]}",
            hint=again,
        )
    return {name: array.astype(np.float32) for name, array in safetensors.numpy.load(data).items()}
