"""Images in terminals that show real ones, in two protocols, each of which takes a PNG file as it is.

Kitty's: https://sw.kovidgoyal.net/kitty/graphics-protocol/
iTerm2's: https://iterm2.com/documentation-images.html
"""

import base64
import struct
import sys
from collections.abc import Iterator, Mapping
from typing import Literal

from rich.console import Console, ConsoleOptions
from rich.segment import ControlType, Segment

Protocol = Literal["kitty", "iterm2"]

KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
MULTIPLEXERS = ("screen", "tmux")
CHUNK = 4096
"""Maximum number of characters in one of Kitty's escape sequences."""
CELL = 10, 20
"""Width and height in pixels of a cell of a terminal that does not tell."""
LARGEST_CELL = 64


def find_cell_size() -> tuple[int, int]:
    """Width and height of the terminal's cells in pixels, so that an image is shown pixel by pixel."""
    try:
        import fcntl
        import termios

        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (ImportError, OSError, ValueError):  # Windows, or no terminal
        return CELL
    rows, columns, width, height = struct.unpack("HHHH", answer)
    if not (rows and columns and width >= columns and height >= rows):
        return CELL
    return min(LARGEST_CELL, width // columns), min(LARGEST_CELL, height // rows)


def find_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """The protocol of the terminal that these variables describe; None if it has none, or a multiplexer is between."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if environment.get("TMUX") or environment.get("STY") or term.startswith(MULTIPLEXERS) or program in MULTIPLEXERS:
        return None
    if environment.get("KITTY_WINDOW_ID") or term in KITTY_TERMS:
        return "kitty"
    return "iterm2" if program in ITERM2_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2" else None


class Picture:
    """An image for Rich to print on some columns and rows of cells; the cursor ends below it."""

    def __init__(self, png: bytes, columns: int, rows: int, protocol: Protocol) -> None:
        self.sequence = (kitty_sequence if protocol == "kitty" else iterm2_sequence)(png, columns, rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield Segment(self.sequence, None, [(ControlType.BELL,)])  # no text: neither measured nor changed
        yield Segment.line()


def kitty_sequence(png: bytes, columns: int, rows: int) -> str:
    """Show the image at the cursor; the terminal answers nothing."""
    data = base64.b64encode(png).decode()
    parts = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    keys = [f"a=T,f=100,q=2,c={columns},r={rows},", *[""] * (len(parts) - 1)]
    more = [*[1] * (len(parts) - 1), 0]
    return "".join(f"\x1b_G{key}m={m};{part}\x1b\\" for key, m, part in zip(keys, more, parts, strict=True))


def iterm2_sequence(png: bytes, columns: int, rows: int) -> str:
    """Show the image at the cursor."""
    data = base64.b64encode(png).decode()
    size = f"width={columns};height={rows};preserveAspectRatio=0"
    return f"\x1b]1337;File=inline=1;size={len(png)};{size}:{data}\x07"
