"""Drawings are told from photographs, however they are scanned."""

import io

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from retrieval.train.drawings import drawn_share, is_drawn
from tests.train.test_mirror import digits


@pytest.fixture(scope="module")
def drawn() -> UInt8[np.ndarray, "n h w 1"]:
    return digits(200)


def gradients(n: int, side: int = 64) -> UInt8[np.ndarray, "n h w 3"]:
    """Images whose greys pass into one another, as in photographs."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side] / side
    images = np.empty((n, side, side, 3), np.uint8)
    for image in images:
        down, across = rng.uniform(80, 160, 2) * rng.choice([-1, 1], 2)
        low = rng.uniform(90, 160, 3) + min(0, -down) / 4
        image[:] = np.clip(down * row[..., None] + across * column[..., None] + low, 0, 255)
    return images


def as_jpeg(image: UInt8[np.ndarray, "h w 1"]) -> UInt8[np.ndarray, "h w 1"]:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))[..., None]


def test_digits_are_drawn_in_any_form(drawn: UInt8[np.ndarray, "n h w 1"]) -> None:
    forms = {
        "as they are": drawn,
        "inverted": 255 - drawn,
        "in colour": drawn.repeat(3, axis=3),
        "enlarged": drawn.repeat(4, axis=1).repeat(4, axis=2),
        "in brown ink": 255 - drawn * np.array([0.85, 0.9, 0.95]),
        "on grey paper": 60 + drawn * 0.6,
        "as JPEG": np.stack([as_jpeg(image) for image in drawn]),
    }
    assert {
        name: round(drawn_share(each), 2) for name, each in forms.items() if not is_drawn(each.astype(np.uint8))
    } == {}


def test_photographs_are_not() -> None:
    assert drawn_share(gradients(50)) < 0.1
    assert drawn_share(gradients(50).mean(axis=-1, keepdims=True).astype(np.uint8)) < 0.1


def test_coloured_things_on_a_white_ground_are_not() -> None:
    images = np.full((20, 32, 32, 3), 255, np.uint8)
    images[:, 8:24, 6:26] = (220, 30, 30)
    assert drawn_share(images) == 0
    images[:, 8:24, 8:26] = 255
    assert drawn_share(images) == 0


def test_of_a_mixed_collection_the_majority_decides(drawn: UInt8[np.ndarray, "n h w 1"]) -> None:
    photographs = gradients(100, 28)
    assert is_drawn(np.concatenate([photographs[:60], drawn[:100].repeat(3, axis=3)]))
    assert not is_drawn(np.concatenate([photographs, drawn[:60].repeat(3, axis=3)]))


def test_an_image_of_one_shade_counts_as_drawn() -> None:
    assert drawn_share(np.full((1, 8, 8, 3), 255, np.uint8)) == 1.0
