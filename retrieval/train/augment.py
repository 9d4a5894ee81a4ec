"""Augmentation: random distorted views of images, to which embeddings should be invariant. Pure JAX, by batch."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from retrieval.images.reduce import block_means
from retrieval.train.drawings import is_drawn

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
ELASTIC_GRID = 5
"""Number of knots along each side of the elastic distortion's field."""
ELASTIC_WIDTH = 0.6
"""Standard deviation of the Gaussian around each knot, in distances between knots."""

BATCH, BATCH_PIXELS = 256, 2**21
"""Maximum number of images, and of their pixels, that are distorted at a time."""

QUERIES, REFERENCES = 500, 4000
COMPARED_SIDE = 40
"""Pixels: larger images are mirrored at a half, a third, … of their size, but no smaller than this."""
MAX_MIRROR_RATIO = 1.02
"""Largest `mirror_distance_ratio` at which images may be mirrored.

Measured with 200 images and more: 1.34 to 1.39 for MNIST, 1.00 to 1.01 for CIFAR-10.
"""


@dataclass(frozen=True, slots=True)
class Distortion:
    """Strength of each augmentation. Amounts are drawn uniformly from ± the value; 0 switches one off.

    turn: rotation, radians
    scale, shear: relative
    shift: share of the side
    elastic: standard deviation in pixels of a smooth random field (Simard et al. 2003, for handwriting)
    crop: smallest share of the area that is kept, in (0, 1]; 1 keeps all (Szegedy et al. 2014, arXiv 1409.4842)
    flip: mirror left to right with probability 0.5
    stroke: dilation or erosion of strokes; 1 is one pixel on each side
    light: brightness and contrast
    colour: saturation and tint
    grey: probability that an image loses its colour
    """

    turn: float = 0.26
    scale: float = 0.15
    shear: float = 0.2
    shift: float = 0.09
    elastic: float = 0.0
    crop: float = 1.0
    flip: bool = False
    stroke: float = 0.7
    light: float = 0.0
    colour: float = 0.0
    grey: float = 0.0


DRAWN = Distortion()
"""For drawings, such as scans and handwriting: the width of strokes varies, the brightness does not."""

GREY_PHOTO = Distortion(stroke=0.0, light=0.4)
"""For grey photographs: lighting varies."""

PHOTO = Distortion(turn=0.1, scale=0.0, shear=0.1, shift=0.0, crop=0.6, stroke=0.0, light=0.2, colour=0.1)
"""For photographs in colour: framing and lighting vary. Colour is kept, which tells groceries apart: decision 0026."""

MILD = Distortion(turn=0.0, scale=0.0, shear=0.0, shift=0.0, crop=0.6, stroke=0.0, light=0.2, colour=0.1)
"""For a model on the trunk, which hardly minds light and framing by itself: docs/decisions/0025."""


def default_distortion(images: UInt8[np.ndarray, "n h w c"]) -> Distortion:
    """The augmentation that suits the images: drawings or photographs, and with mirroring if `is_mirror_safe`."""
    photo = GREY_PHOTO if images.shape[-1] == 1 else PHOTO
    return replace(DRAWN if is_drawn(images) else photo, flip=is_mirror_safe(images))


def trunk_distortion(images: UInt8[np.ndarray, "n h w c"]) -> Distortion:
    """The augmentation for a model on the trunk: mild, and with mirroring if `is_mirror_safe`."""
    return replace(MILD, flip=is_mirror_safe(images))


def make_views(
    key: Key[Array, ""], images: Float[Array, "b h w c"], how: Distortion = DRAWN
) -> Float[Array, "b h w c"]:
    """One random distorted view of each image; images and views in [0, 1]. Borders are extended outwards."""
    places_key, stroke_key, light_key = jax.random.split(key, 3)
    seen = grid_sample(images, sampling_grid(places_key, images.shape, how))
    return vary_colour(light_key, vary_stroke(stroke_key, seen, how), how)


def sampling_grid(key: Key[Array, ""], shape: tuple[int, ...], how: Distortion) -> Float[Array, "b h w 2"]:
    """Position (row, column), in pixels, in its image from which each pixel of a view is taken; may be outside.

    shape: (b, h, w, c) of the images
    """
    b, h, w, _ = shape
    map_key, crop_key, flip_key, elastic_key = jax.random.split(key, 4)
    limits = jnp.array([how.turn, how.scale, how.scale, how.shear, how.shift * h, how.shift * w])
    turn, sy, sx, shear, dy, dx = (jax.random.uniform(map_key, (b, 6), minval=-1) * limits).T
    size, corner = random_crops(crop_key, b, how.crop)
    sy, sx = (1 + sy) * size[:, 0], (1 + sx) * size[:, 1]
    mirror = jnp.where(jax.random.bernoulli(flip_key, 0.5 * how.flip, (b,)), -1, 1)
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    matrix = jnp.stack([jnp.stack([cos * sy, -sin * mirror], -1), jnp.stack([sin + shear, cos * sx * mirror], -1)], -2)
    centre = jnp.array([(h - 1) / 2, (w - 1) / 2])
    shift = jnp.stack([dy, dx], -1) + corner * centre
    grid = jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"), -1) - centre
    at = jnp.einsum("bij,hwj->bhwi", matrix, grid) + centre + shift[:, None, None]
    return at + how.elastic * elastic_field(elastic_key, b, h, w) if how.elastic else at


def random_crops(key: Key[Array, ""], b: int, smallest: float) -> tuple[Float[Array, "b 2"], Float[Array, "b 2"]]:
    """Random crops: (height, width) as shares of the image's, and centres relative to the image's centre.

    The area is uniform in [smallest, 1]. The aspect ratio is between 3:4 and 4:3 as far as the area permits. Centres
    are in units of half the image's side, and crops lie inside the image.

    b: number of crops
    smallest: smallest share of the area, in (0, 1]
    """
    area, ratio, *corner = jax.random.uniform(key, (4, b))
    area, ratio = smallest + (1 - smallest) * area, (4 / 3) ** (2 * ratio - 1)
    ratio = jnp.clip(ratio, area, 1 / area)
    size = jnp.sqrt(jnp.stack([area * ratio, area / ratio], -1))
    return size, (2 * jnp.stack(corner, -1) - 1) * (1 - size)


def elastic_field(key: Key[Array, ""], b: int, h: int, w: int) -> Float[Array, "b h w 2"]:
    """A smooth random vector field for each image: normal values at the knots, blurred by a Gaussian; variance 1."""

    def blur(n: int) -> Array:
        near = np.linspace(0, ELASTIC_GRID - 1, n)[:, None] - np.arange(ELASTIC_GRID)
        weights = np.exp(-(near**2) / (2 * ELASTIC_WIDTH**2))
        return jnp.asarray(weights / np.sqrt((weights**2).sum(1, keepdims=True)), jnp.float32)

    knots = jax.random.normal(key, (b, ELASTIC_GRID, ELASTIC_GRID, 2))
    return jnp.einsum("hi,wj,bijc->bhwc", blur(h), blur(w), knots)


def grid_sample(images: Float[Array, "b h w c"], at: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
    """The images' values at (row, column) positions in pixels, bilinear; positions outside get the border's values."""
    b, h, w, c = images.shape
    at = jnp.clip(at, 0, jnp.array([h - 1, w - 1]))
    low = jnp.minimum(jnp.floor(at).astype(jnp.int32), jnp.array([h - 2, w - 2]))
    part = at - low
    flat = images.reshape(b, h * w, c)
    index = (low[..., 0] * w + low[..., 1]).reshape(b, h * w, 1)

    def corner(offset: int) -> Array:
        return jnp.take_along_axis(flat, index + offset, axis=1).reshape(b, h, w, c)

    py, px = part[..., :1], part[..., 1:]
    top = corner(0) * (1 - px) + corner(1) * px
    bottom = corner(w) * (1 - px) + corner(w + 1) * px
    return top * (1 - py) + bottom * py


def vary_stroke(key: Key[Array, ""], images: Float[Array, "b h w c"], how: Distortion) -> Float[Array, "b h w c"]:
    """Make strokes thicker or thinner by greyscale dilation or erosion, blended with the image."""
    if not how.stroke:
        return images
    far = jax.random.uniform(key, (len(images), 1, 1, 1), minval=-how.stroke, maxval=how.stroke)
    return images + jnp.where(far > 0, far * (dilate(images) - images), far * (images + dilate(-images)))


def dilate(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Greyscale dilation: the maximum of the 3×3 pixels around each pixel, one axis after the other."""
    for axis in (1, 2):
        size = images.shape[axis]
        padded = jnp.pad(images, [(1, 1) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = [jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)]
        images = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return images


def vary_colour(key: Key[Array, ""], images: Float[Array, "b h w c"], how: Distortion) -> Float[Array, "b h w c"]:
    """Change brightness, contrast, saturation and tint of each image; sometimes remove all colour."""
    if not (how.light or how.colour or how.grey):
        return images
    change_key, grey_key = jax.random.split(key)
    b, _, _, c = images.shape
    contrast, brightness, saturation, *tint = jax.random.uniform(change_key, (6, b, 1, 1, 1), minval=-1)
    mean = images.mean((1, 2, 3), keepdims=True)
    images = (images - mean) * (1 + how.light * contrast) + mean + how.light / 2 * brightness
    if c == 3:
        grey = (images * jnp.array(LUMA)).sum(-1, keepdims=True)
        coloured = grey + (images - grey) * (1 + how.colour * saturation)
        coloured += how.colour / 4 * jnp.concatenate(tint, -1)
        images = jnp.where(jax.random.bernoulli(grey_key, how.grey, (b, 1, 1, 1)), grey, coloured)
    return jnp.clip(images, 0, 1)


def distorted_copies(
    images: UInt8[np.ndarray, "n h w c"], seed: int, how: Distortion | None = None
) -> UInt8[np.ndarray, "n h w c"]:
    """One random view of each image, both in [0, 255]; the same for the same seed.

    how: the augmentation (default: as training would choose it)
    """
    chosen = how or default_distortion(images)
    view = jax.jit(lambda key, images: make_views(key, images, chosen))
    copies = np.empty_like(images)
    size = max(1, min(BATCH, BATCH_PIXELS // (images.shape[1] * images.shape[2])))
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        padded = np.pad(batch, [(0, size - len(batch)), (0, 0), (0, 0), (0, 0)])  # one size: compiled once
        key = jax.random.fold_in(jax.random.key(seed), start)
        seen = view(key, jnp.asarray(padded, jnp.float32) / 255)
        copies[start : start + len(batch)] = np.rint(np.asarray(seen) * 255)[: len(batch)]
    return copies


def is_mirror_safe(images: UInt8[np.ndarray, "n h w c"]) -> bool:
    """Whether mirrored images look like images of the same collection: photos usually do, letters and digits do not."""
    return mirror_distance_ratio(images) <= MAX_MIRROR_RATIO


def mirror_distance_ratio(images: UInt8[np.ndarray, "n h w c"]) -> float:
    """How much farther mirrored images are from their nearest neighbours than the images themselves, as a ratio.

    The mean Euclidean distance in pixel space, of a sample. Exact copies count as one image; inf for a single image.
    """
    order = np.random.default_rng(0).permutation(len(images))[: QUERIES + REFERENCES]
    images = block_means(images[order], max(1, min(images.shape[1:3]) // COMPARED_SIDE))
    images = images[list({image.tobytes(): i for i, image in enumerate(images)}.values())]
    if len(images) < 2:
        return np.inf
    count = max(1, min(QUERIES, len(images) // 4))
    queries, others = images[:count], images[count : count + REFERENCES]
    plain = nearest_distance(queries, others)
    return nearest_distance(queries[:, :, ::-1], others) / plain if plain else np.inf


def nearest_distance(queries: UInt8[np.ndarray, "q h w c"], others: UInt8[np.ndarray, "n h w c"]) -> float:
    """The mean Euclidean distance of the queries to their nearest neighbours among `others`, pixels in [0, 1]."""
    a, b = (images.reshape(len(images), -1).astype(np.float32) / 255 for images in (queries, others))
    squared = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
    return float(np.sqrt(np.maximum(squared.min(axis=1), 0)).mean())
