"""Numbers as people read them."""

UNITS = ("bytes", "KB", "MB", "GB", "TB")
NEXT_UNIT = 999.5
"""From here a number would be shown as 1000 with three digits."""


def count_of(number: float, word: str, words: str | None = None) -> str:
    """A number and its noun, in the singular for 1.

    word: the noun in the singular
    words: in the plural, if that is not the singular with an s

    >>> count_of(1.0, "epoch"), count_of(2500, "image"), count_of(0, "copy", "copies"), count_of(1.5, "epoch")
    ('1 epoch', '2,500 images', '0 copies', '1.5 epochs')
    """
    text = f"{number:,}" if isinstance(number, int) else f"{number:.3g}"
    return f"{text} {word if text == '1' else words or word + 's'}"


def format_bytes(number: int) -> str:
    """A size in bytes, with three digits.

    >>> format_bytes(1), format_bytes(999), format_bytes(9126), format_bytes(188145843), format_bytes(999_999)
    ('1 byte', '999 bytes', '9.13 KB', '188 MB', '1 MB')
    """
    size, unit = float(number), 0
    while size >= NEXT_UNIT and unit + 1 < len(UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}" if unit else count_of(number, "byte")


def format_duration(seconds: float) -> str:
    """A duration in its largest unit.

    >>> format_duration(0.4), format_duration(75), format_duration(7300), format_duration(200_000)
    ('0 s', '1 min', '2 h', '2 d')
    """
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def format_age(created: str) -> str:
    """Time since then, in its largest unit.

    created: ISO 8601

    >>> format_age("2000-01-01T00:00:00+00:00").endswith(" d"), format_age("9999-01-01T00:00:00+00:00")
    (True, 'unknown')
    """
    from retrieval.schema.records import seconds_since

    seconds = seconds_since(created)
    return "unknown" if seconds is None else format_duration(seconds)
