"""Images in a terminal: what each cell shows, and how many fit."""

import numpy as np
import pytest
from rich.console import Console

from retrieval.cli.render.terminal_images import image_strip
from tests.images.samples import file, noise, photo


def printed(width: int, colour: bool, *images: bytes | None, captions: list[str] | None = None) -> list[str]:
    text = image_strip(images, captions or ["x"] * len(images), width, colour=colour)
    return text.plain.splitlines()


def test_half_blocks_hold_two_pixels_each() -> None:
    pixels = noise(28, 28)
    text = image_strip([file(pixels)], ["query"], 200, colour=True)
    console = Console(width=200, force_terminal=True, color_system="truecolor")
    cells = [segment for segment in console.render(text) if segment.text == "▀"]
    assert len(cells) == 28 * 14
    for place, cell in enumerate(cells):
        row, column = divmod(place, 28)
        assert cell.style is not None
        assert cell.style.color is not None
        assert cell.style.bgcolor is not None
        assert cell.style.color.triplet == tuple(pixels[2 * row, column])
        assert cell.style.bgcolor.triplet == tuple(pixels[2 * row + 1, column])


def test_shades_go_from_space_to_full() -> None:
    steps = np.repeat(np.array([0, 64, 128, 192, 255], np.uint8), 4)[None].repeat(20, axis=0)
    lines = printed(20, False, file(steps))
    assert lines[0] == "".join(4 * shade for shade in " ░▒▓█")
    assert len(lines) == 10 + 1


@pytest.mark.parametrize("width", [1, 5, 20, 40, 80, 120, 300])
@pytest.mark.parametrize("colour", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, colour: bool) -> None:
    lines = printed(width, colour, *[file(photo())] * 6)
    assert max(map(len, lines)) <= max(width, 2)
    assert sum(line.count("x") for line in lines) == 6


def test_six_pictures_fit_a_line_of_eighty_in_colour() -> None:
    lines = printed(80, True, *[file(noise(12, 12))] * 6, captions=list("abcdef"))
    assert lines[-1].split() == list("abcdef")
    assert len(lines) == 6 + 1


def test_the_query_stands_apart() -> None:
    first = printed(80, True, *[file(noise(12, 12))] * 3)[0]
    assert [len(gap) for gap in first.split("▀") if gap] == [3, 1]


def test_a_picture_that_cannot_be_read_is_blank() -> None:
    lines = printed(80, True, b"not a picture", None, captions=["bad", "none"])
    assert lines[-1].split() == ["bad", "none"]
    assert not "".join(lines[:-1]).strip()
