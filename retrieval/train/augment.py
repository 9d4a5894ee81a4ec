"""Random views of an image: what the code should not depend on. Pure JAX, on the whole batch."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

LUMA = (0.299, 0.587, 0.114)
"""Red, green and blue in grey (ITU-R BT.601)."""
ELASTIC_GRID = 5
"""Knots along a side of the elastic distortion's field."""
ELASTIC_WIDTH = 0.6
"""Width of the Gaussian around a knot, in knots: the field is smooth."""

BATCH = 256

QUERIES, REFERENCES = 500, 4000
MAX_MIRROR_RATIO = 1.02
"""How much farther mirrored images may be from the others than the images themselves are.

Measured: 1.34 to 1.39 for MNIST, 1.00 to 1.01 for CIFAR-10, from 200 images on.
"""


@dataclass(frozen=True, slots=True)
class Distortion:
    """How far views go from their image; 0 switches a part off.

    turn: radians, either way · scale, shear: either way · shift: share of the side, either way ·
    elastic: standard deviation in pixels of a smooth random field (Simard et al. 2003, for handwriting) ·
    crop: smallest share of the area that is kept, 1 for all (Szegedy et al. 2014, arXiv 1409.4842) · flip: left and
    right, every other time · stroke: how far strokes are made thicker or thinner, either way, 1 for a pixel all round ·
    light: brightness and contrast, either way · colour: saturation and tint, either way · grey: how often colour is
    taken away.
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


"""For grey images: scans and handwriting, where brightness carries the shape but the pen does not."""


PHOTO = Distortion(turn=0.1, scale=0.0, shear=0.1, shift=0.0, crop=0.3, stroke=0.0, light=0.4, colour=0.5, grey=0.2)


"""For colour images: photos, framed and lit by chance."""


def default_distortion(images: UInt8[np.ndarray, "n h w c"]) -> Distortion:
    """What suits the images: colour ones are taken for photos; mirrored only when `is_mirror_safe` says so."""
    return replace(DRAWN if images.shape[-1] == 1 else PHOTO, flip=is_mirror_safe(images))


def views(key: Key[Array, ""], images: Float[Array, "b h w c"], how: Distortion = DRAWN) -> Float[Array, "b h w c"]:
    """One distorted view of each image, both in [0,1]; what lies outside an image takes its border's pixels."""
    places_key, stroke_key, light_key = jax.random.split(key, 3)
    seen = grid_sample(images, sampling_grid(places_key, images.shape, how))
    return vary_colour(light_key, vary_stroke(stroke_key, seen, how), how)


def sampling_grid(key: Key[Array, ""], shape: tuple[int, ...], how: Distortion) -> Float[Array, "b h w 2"]:
    """Where in its image each pixel of a view is taken from: (row, column) in pixels, perhaps outside."""
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
    """Sides of random crops as a share of the image's, and their centres in [-1, 1] of what leaves them inside.

    The area is uniform in [smallest, 1], the ratio of the sides between 3:4 and 4:3 where that leaves room.
    """
    area, ratio, *corner = jax.random.uniform(key, (4, b))
    area, ratio = smallest + (1 - smallest) * area, (4 / 3) ** (2 * ratio - 1)
    ratio = jnp.clip(ratio, area, 1 / area)
    size = jnp.sqrt(jnp.stack([area * ratio, area / ratio], -1))
    return size, (2 * jnp.stack(corner, -1) - 1) * (1 - size)


def elastic_field(key: Key[Array, ""], b: int, h: int, w: int) -> Float[Array, "b h w 2"]:
    """A smooth random field for each image: normal numbers at a few knots, spread by a Gaussian, variance 1."""

    def spread(n: int) -> Array:
        near = np.linspace(0, ELASTIC_GRID - 1, n)[:, None] - np.arange(ELASTIC_GRID)
        weights = np.exp(-(near**2) / (2 * ELASTIC_WIDTH**2))
        return jnp.asarray(weights / np.sqrt((weights**2).sum(1, keepdims=True)), jnp.float32)

    knots = jax.random.normal(key, (b, ELASTIC_GRID, ELASTIC_GRID, 2))
    return jnp.einsum("hi,wj,bijc->bhwc", spread(h), spread(w), knots)


def grid_sample(images: Float[Array, "b h w c"], at: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
    """The images' values at (row, column) positions in pixels, bilinear; positions outside take the border's."""
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
    """Each pixel moved towards the brightest, or the darkest, of the nine around it: greyscale dilation and erosion."""
    if not how.stroke:
        return images
    far = jax.random.uniform(key, (len(images), 1, 1, 1), minval=-how.stroke, maxval=how.stroke)
    return images + jnp.where(far > 0, far * (dilate(images) - images), far * (images + dilate(-images)))


def dilate(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """The largest of the nine values around each pixel, one axis after the other."""
    for axis in (1, 2):
        size = images.shape[axis]
        padded = jnp.pad(images, [(1, 1) if a == axis else (0, 0) for a in range(4)], mode="edge")
        parts = [jax.lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)]
        images = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return images


def vary_colour(key: Key[Array, ""], images: Float[Array, "b h w c"], how: Distortion) -> Float[Array, "b h w c"]:
    """Brightness, contrast, saturation and tint of each image changed a little, sometimes all colour taken away."""
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
    """One random view of each image, in [0,255], by default as training would make them; the seed decides which."""
    chosen = how or default_distortion(images)
    view = jax.jit(lambda key, images: views(key, images, chosen))
    copies = np.empty_like(images)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        padded = np.pad(batch, [(0, BATCH - len(batch)), (0, 0), (0, 0), (0, 0)])  # one size: compiled once
        key = jax.random.fold_in(jax.random.key(seed), start)
        seen = view(key, jnp.asarray(padded, jnp.float32) / 255)
        copies[start : start + len(batch)] = np.rint(np.asarray(seen) * 255)[: len(batch)]
    return copies


def is_mirror_safe(images: UInt8[np.ndarray, "n h w c"]) -> bool:
    """Whether images swapped left to right are as near to the other images as they are themselves.

    Compares the mean Euclidean distance, in pixels, of a sample to its nearest among others. So photos of things are
    safe, and letters and digits are not.
    """
    return mirror_distance_ratio(images) <= MAX_MIRROR_RATIO


def mirror_distance_ratio(images: UInt8[np.ndarray, "n h w c"]) -> float:
    """That mean distance for mirrored images, as a multiple of the one for the images as they are; needs two images."""
    order = np.random.default_rng(0).permutation(len(images))
    count = max(1, min(QUERIES, len(images) // 4))
    queries, others = images[order[:count]], images[order[count : count + REFERENCES]]
    plain = nearest_distance(queries, others)
    return nearest_distance(queries[:, :, ::-1], others) / plain if plain else np.inf


def nearest_distance(queries: UInt8[np.ndarray, "q h w c"], others: UInt8[np.ndarray, "n h w c"]) -> float:
    """The mean Euclidean distance of each query to its nearest among others, pixels in [0,1]."""
    a, b = (images.reshape(len(images), -1).astype(np.float32) / 255 for images in (queries, others))
    squared = (a**2).sum(axis=1)[:, None] - 2 * a @ b.T + (b**2).sum(axis=1)
    return float(np.sqrt(np.maximum(squared.min(axis=1), 0)).mean())
