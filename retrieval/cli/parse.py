"""Parse values of options as people write them."""

import re

from retrieval.errors import UsageError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_seconds(option: str, text: str | None) -> float | None:
    """Seconds of `90s`, `5m`, `1h`, `1.5h` or `300`; None for None. Raises UsageError naming the option.

    >>> parse_seconds("--time-budget", "5m")
    300.0
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh]?)", text.strip().lower(), re.ASCII)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0
    if not seconds:
        raise UsageError(f"{option} {text}: a time is a number above 0 and s, m or h, like 90s, 5m or 1h")
    return seconds


def parse_share(option: str, text: str) -> float:
    """Share from 0 to 1 of `10%` or `0.1`. Raises UsageError naming the option.

    >>> parse_share("--max-delete", "10%")
    0.1
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(%?)", text.strip(), re.ASCII)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1
    if not 0 <= share <= 1:
        raise UsageError(f"{option} {text}: a share is between 0% and 100%, like 10% or 0.1")
    return share


def parse_size(option: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) of `64` or `28x40`; None for None. Raises UsageError naming the option.

    >>> parse_size("--image-size", "28x40")
    (28, 40)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,4})(?:[x×](\d{1,4}))?", text.strip().lower(), re.ASCII)
    if not found:
        raise UsageError(f"{option} {text}: a size is a number of pixels, 64, or height and width, 48x64")
    return int(found[1]), int(found[2] or found[1])
