"""Images in a terminal: what each cell shows, and how many fit; real images in the protocols of two terminals."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from retrieval.cli.render.terminal_graphics import CELL, CHUNK, find_protocol
from retrieval.cli.render.terminal_images import LARGEST, QUERY_GAP, compose, image_strip, print_strip
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


WIDE = CELL[0]


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode"}, None),
        ({"TERM": "screen-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({}, None),
    ],
)
def test_only_terminals_that_are_known_to_show_images_get_any(
    environment: dict[str, str], protocol: str | None
) -> None:
    assert find_protocol(environment) == protocol


def strip_of(variable: str, value: str, monkeypatch: pytest.MonkeyPatch, width: int, *images: bytes | None) -> str:
    """What a terminal gets for the images, captions a, b, c, ...

    variable: of the environment, by which the terminal is known
    """
    for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    console = Console(
        file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor", legacy_windows=False
    )
    with console.capture() as captured:
        print_strip(images, "abcdefgh"[: len(images)], console)
    return captured.get()


def pixels_of(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_kitty_gets_the_images_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(28, 28)
    written = strip_of("TERM", "xterm-kitty", monkeypatch, 200, file(pixels), None, file(photo(480, 640), "JPEG"))
    parts = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", written)
    assert len(parts) > 1
    assert max(len(data) for _, data in parts) <= CHUNK
    columns = 3 * LARGEST + QUERY_GAP + 1
    more = [f"a=T,f=100,q=2,c={columns},r={LARGEST // 2},m=1", *["m=1"] * (len(parts) - 2), "m=0"]
    assert [keys for keys, _ in parts] == more
    shown = pixels_of("".join(data for _, data in parts))
    assert shown.shape == (LARGEST * WIDE, columns * WIDE, 4)
    np.testing.assert_array_equal(shown[: 28 * WIDE : WIDE, : 28 * WIDE : WIDE, :3], pixels)
    assert (shown[:, LARGEST * WIDE : 2 * LARGEST * WIDE, 3] == 0).all(), "a gap, and no image"
    assert (shown[LARGEST * WIDE // 2, -LARGEST * WIDE :, 3] == 255).all()
    assert written.rpartition("\x1b\\")[2].split() == ["a", "b", "c"]


def test_iterm2_gets_as_many_lines_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = strip_of("TERM_PROGRAM", "iTerm.app", monkeypatch, 40, *[file(photo())] * 5)
    parts = re.findall("\x1b]1337;File=inline=1;size=(\\d+);width=(\\d+);[^:]*:([^\x07]*)\x07", written)
    assert len(parts) == 2
    for size, columns, data in parts:
        assert len(base64.b64decode(data)) == int(size)
        assert pixels_of(data).shape[1] == int(columns) * WIDE <= 40 * WIDE
    assert re.sub("\x1b][^\x07]*\x07", "", written).split() == list("abcde")


def test_an_image_is_no_wider_than_high_whatever_the_font() -> None:
    white = file(np.full((100, 100, 3), 255, np.uint8))
    strip = compose([white, white], [0, 3], 13, (8, 17))
    assert strip.shape == (7 * 17, (13 + 3 + 13) * 8, 4)
    rows, columns = (np.flatnonzero(strip[..., 3].any(axis=axis)) for axis in (1, 0))
    assert len(rows) == 100
    assert len(columns) == 200
