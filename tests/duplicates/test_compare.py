"""Copies of real digits are distinguished from other digits of the same class, which look similar too."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from jaxtyping import Float32, UInt8
from PIL import Image

from retrieval.duplicates.compare import DIFFERENT, SHADE, blur, measure_difference
from retrieval.images.decode import decode
from retrieval.schema.image_shape import ImageShape
from tests.duplicates.digits import SIDE, digits
from tests.images.samples import noise, photo

COUNT = 200
Picture = UInt8[np.ndarray, "h w c"]


def compared(a: UInt8[np.ndarray, "n h w c"], b: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, " n"]:
    return measure_difference(blur(a), blur(b))


def file(image: Image.Image, kind: str, **options: int) -> Picture:
    """The image as the pipeline decodes its file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return decode(out.getvalue(), "copy", ImageShape(SIDE, SIDE, 3 if image.mode == "RGB" else 1)).pixels


def jpeg(quality: int) -> Callable[[Picture], Picture]:
    return lambda pixels: file(Image.fromarray(pixels[..., 0]), "JPEG", quality=quality)


def resized(side: int) -> Callable[[Picture], Picture]:
    return lambda pixels: file(Image.fromarray(pixels[..., 0]).resize((side, side), Image.Resampling.LANCZOS), "PNG")


def shifted(down: int, right: int) -> Callable[[Picture], Picture]:
    """Shifted; the pixels that become free are 0."""

    def move(pixels: Picture) -> Picture:
        wide = np.pad(pixels, ((2, 2), (2, 2), (0, 0)))
        return wide[2 - down : 2 - down + SIDE, 2 - right : 2 - right + SIDE]

    return move


def lit(contrast: float, brightness: int) -> Callable[[Picture], Picture]:
    return lambda pixels: np.clip(pixels * float(contrast) + brightness, 0, 255).astype(np.uint8)


COPIES: dict[str, tuple[Callable[[Picture], Picture], float]] = {
    "the same": (lambda pixels: pixels, 1.0),
    "JPEG 90": (jpeg(90), 1.0),
    "JPEG 50": (jpeg(50), 1.0),
    "JPEG 30": (jpeg(30), 0.98),
    "half as large again": (resized(42), 0.98),
    "twice as large": (resized(56), 0.98),
    "five times as large": (resized(140), 0.98),
    "a little smaller": (resized(26), 0.75),
    "a pixel to the right": (shifted(0, 1), 0.98),
    "a pixel to the left": (shifted(0, -1), 0.98),
    "a pixel up": (shifted(-1, 0), 0.9),
    "a pixel up and to the left": (shifted(-1, -1), 0.9),
    "brighter": (lit(1, 40), 1.0),
    "paler": (lit(0.5, 60), 1.0),
    "darker": (lit(0.5, 0), 1.0),
    "stronger": (lit(1.4, 0), 0.95),
}
"""How a copy is made, and the least share of them that must be recognised."""


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_digits_are_alike(name: str) -> None:
    make, share = COPIES[name]
    pixels = digits(COUNT)[0]
    copies = np.stack([make(each) for each in pixels])
    for a, b in ((pixels, copies), (copies, pixels)):
        assert (compared(a, b) <= DIFFERENT).mean() >= share


OTHERS: dict[str, Callable[[Picture], Picture]] = {
    "two pixels away": shifted(0, 2),
    "a negative": lambda pixels: 255 - pixels,
    "a mirror image": lambda pixels: pixels[:, ::-1],
    "upside down": lambda pixels: pixels[::-1],
    "half of it": lambda pixels: np.where(np.arange(SIDE)[:, None, None] < SIDE // 2, pixels, 0).astype(np.uint8),
    "all but gone": lit(0.1, 0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_done_to_a_digit_makes_another_picture(name: str) -> None:
    chosen = [n for n, label in enumerate(digits(COUNT)[1]) if label in "234567"]  # 0, 1 and 8 are near their mirror's
    pixels = digits(COUNT)[0][chosen]
    others = np.stack([OTHERS[name](each) for each in pixels])
    for a, b in ((pixels, others), (others, pixels)):
        assert (compared(a, b) > DIFFERENT).mean() >= 0.99


def test_digits_of_one_class_are_not_alike() -> None:
    pixels, labels = digits(COUNT)
    first, second = np.triu_indices(COUNT, 1)
    same = np.array(labels)[first] == np.array(labels)[second]
    found = compared(pixels[first[same]], pixels[second[same]])
    assert len(found) > 1500
    assert found.min() > 1.5 * DIFFERENT


def test_nothing_differs_from_itself() -> None:
    pixels = np.stack([noise(SIDE, SIDE, 3, seed) for seed in range(4)])
    np.testing.assert_allclose(compared(pixels, pixels), 0, atol=1e-3)


def flat(*light: int) -> UInt8[np.ndarray, "1 h w c"]:
    return np.full((1, SIDE, SIDE, len(light)), light, np.uint8)


def test_a_blank_page_is_no_copy_of_a_digit() -> None:
    pixels = digits(COUNT)[0]
    for light in (0, 128, 255):
        page = flat(light).repeat(COUNT, axis=0)
        assert (compared(page, pixels) > DIFFERENT).all()
        assert (compared(pixels, page) > DIFFERENT).all()


def test_blank_pages_are_alike_when_they_are_of_one_shade() -> None:
    assert compared(flat(255), flat(255)) == 0
    assert compared(flat(250), flat(250 - int(SHADE))) <= DIFFERENT
    assert compared(flat(0), flat(255)) > DIFFERENT
    assert compared(flat(255, 0, 0), flat(0, 0, 255)) > DIFFERENT
    dirty = flat(250) - (noise(SIDE, SIDE, 1) > 250).astype(np.uint8)
    assert compared(dirty[None, ...][0], flat(250)) <= DIFFERENT


def test_a_page_with_one_word_is_not_blank() -> None:
    page = flat(255)
    page[0, 10:13, 5:20] = 0
    assert compared(page, flat(255)) > DIFFERENT
    assert compared(flat(255), page) > DIFFERENT


def test_colours_count() -> None:
    picture = photo(SIDE, SIDE)
    copy = file(Image.fromarray(picture), "JPEG", quality=60)
    assert compared(picture[None], copy[None]) <= DIFFERENT
    assert compared(picture[None], picture[None, ..., ::-1]) > DIFFERENT
    grey = picture.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2)
    assert compared(picture[None], grey[None]) > DIFFERENT


def test_each_pair_is_judged_for_itself() -> None:
    pixels = digits(6)[0]
    together = compared(pixels[:3], pixels[3:])
    alone = [float(compared(pixels[n : n + 1], pixels[n + 3 : n + 4])[0]) for n in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_blurring_is_what_it_says() -> None:
    """Compared with a slow computation, pixel by pixel."""
    picture = noise(6, 5, 2)
    slow = np.empty((6, 5, 2))
    weight = {-1: 1, 0: 2, 1: 1}
    for y, x in np.ndindex(6, 5):
        slow[y, x] = sum(
            weight[dy] * weight[dx] / 16 * picture[min(max(y + dy, 0), 5), min(max(x + dx, 0), 4)].astype(float)
            for dy in weight
            for dx in weight
        )
    np.testing.assert_allclose(blur(picture[None])[0], slow, atol=0.51)
