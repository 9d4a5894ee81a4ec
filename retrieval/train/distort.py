"""Random views of an image: what the code should not depend on. Pure JAX, on the whole batch."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

TURN = 0.26
"""Radians, either way."""
SCALE = 0.15
SHEAR = 0.2
SHIFT = 0.09
"""Share of the side, either way: 2.5 pixels of 28."""
BRIGHTNESS = 0.2
CONTRAST = 0.3


def views(key: Key[Array, ""], images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """One distorted view of each image, in [0,1]: turned, scaled, sheared and shifted; colour ones relit too.

    Grey images keep their brightness: in scans and handwriting it carries the shape.
    """
    affine_key, light_key = jax.random.split(key)
    distorted = affine(affine_key, images)
    return relight(light_key, distorted) if images.shape[-1] == 3 else distorted


def affine(key: Key[Array, ""], images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """A random affine map of each image, bilinear, with the border's pixels drawn on outside."""
    b, h, w, _ = images.shape
    limits = jnp.array([TURN, SCALE, SCALE, SHEAR, SHIFT * h, SHIFT * w])
    turn, sy, sx, shear, dy, dx = (jax.random.uniform(key, (b, 6), minval=-1) * limits).T
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    matrix = jnp.stack(
        [
            jnp.stack([cos * (1 + sy), -sin], -1),
            jnp.stack([sin + shear, cos * (1 + sx)], -1),
        ],
        -2,
    )
    centre = jnp.array([(h - 1) / 2, (w - 1) / 2])
    grid = jnp.stack(jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij"), -1) - centre
    at = jnp.einsum("bij,hwj->bhwi", matrix, grid) + centre + jnp.stack([dy, dx], -1)[:, None, None]
    return sample(images, at)


def sample(images: Float[Array, "b h w c"], at: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
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


def relight(key: Key[Array, ""], images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Brightness and contrast of each image, and of each of its channels, changed a little; clipped to [0,1]."""
    gain_key, shift_key = jax.random.split(key)
    b, _, _, c = images.shape
    gain = 1 + jax.random.uniform(gain_key, (b, 1, 1, 1), minval=-CONTRAST, maxval=CONTRAST)
    shift = jax.random.uniform(shift_key, (b, 1, 1, c), minval=-BRIGHTNESS, maxval=BRIGHTNESS) / 2
    mean = images.mean((1, 2), keepdims=True)
    return jnp.clip((images - mean) * gain + mean + shift, 0, 1)
