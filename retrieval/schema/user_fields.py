"""The user's fields of a payload, as they come from outside: which names and values can be stored."""

import math
from collections.abc import Mapping

from retrieval.schema.records import FIELDS, Payload

RESERVED = (FIELDS.keys() - {"label"}) | {"id", "distance"}
"""Fields with a meaning of their own; `label` may be given."""
MAX_TEXT = 2000
"""Maximum length of a field; the dashboard shows 50 characters, and longer texts belong in a database."""
MOST_FIELDS = 50
"""Fields that an image gets from its source."""
MOST_TEXT = 2**14
"""Characters that they may have in all, because the fields of thousands of images are in memory at once."""


def is_empty(value: object) -> bool:
    """Whether it holds no value."""
    return value in (None, "") or (isinstance(value, float) and not math.isfinite(value))


def take_fields(values: Mapping[str, object]) -> Payload:
    """What can be stored of values from a source: texts (cut to MAX_TEXT), numbers and truth values.

    Empty values, lists, objects and fields named in RESERVED are left out; so are all after MOST_FIELDS or MOST_TEXT.

    >>> take_fields({"caption": "a cat", "width": 28, "tags": ["a"], "score": 0.5, "label": 3})
    {'caption': 'a cat', 'score': 0.5, 'label': '3'}
    """
    found: Payload = {}
    room = MOST_TEXT
    for name, value in values.items():
        if name in RESERVED or is_empty(value) or not is_storable(name, value):
            continue
        value = str(value) if name == "label" else value
        value = value[:MAX_TEXT] if isinstance(value, str) else value
        room -= len(name) + (len(value) if isinstance(value, str) else 8)
        if room < 0 or len(found) == MOST_FIELDS:
            break
        found[name] = value
    return found


def is_storable(name: str, value: object) -> bool:
    """Whether both engines can store it: a name, and a text without surrogates, an int64, a float or a bool."""
    if not name or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        return False
    try:
        name.encode()
        return isinstance(value, int | float) or (isinstance(value, str) and bool(value.encode()))
    except UnicodeEncodeError:
        return False
