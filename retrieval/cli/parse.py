"""Parse values of options as people write them. An option is named as in Python: `time_budget`."""

import re

from retrieval.errors import UsageError

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def parse_seconds(option: str, text: str | None) -> float | None:
    """Seconds of `90s`, `5m`, `1h`, `1.5h` or `300`; None for None. Raises UsageError naming the option.

    >>> parse_seconds("time_budget", "5m")
    300.0
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh]?)", text.strip().lower(), re.ASCII)
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0
    if not seconds:
        raise UsageError(
            f"{text!r} is not a time", option=option, hint="give a number above 0 and s, m or h, like 90s, 5m or 1h"
        )
    return seconds


def parse_share(option: str, text: str) -> float:
    """Share from 0 to 1 of `10%` or `0.1`. Raises UsageError naming the option.

    >>> parse_share("max_delete", "10%")
    0.1
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(%?)", text.strip(), re.ASCII)
    share = float(found[1]) / (100 if found[2] else 1) if found else -1
    if not 0 <= share <= 1:
        raise UsageError(f"{text!r} is not a share", option=option, hint="give 0% to 100%, like 10% or 0.1")
    return share


def parse_size(option: str, text: str | None) -> tuple[int, int] | None:
    """(height, width) of `64` or `28x40`; None for None. Raises UsageError naming the option.

    >>> parse_size("image_size", "28x40")
    (28, 40)
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,4})(?:[x×](\d{1,4}))?", text.strip().lower(), re.ASCII)
    if not found:
        raise UsageError(
            f"{text!r} is not a size",
            option=option,
            hint="give a number of pixels, like 64, or height and width, like 48x64",
        )
    return int(found[1]), int(found[2] or found[1])
