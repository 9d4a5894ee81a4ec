"""The keys of a table's rows."""

import re
from typing import Any

import pyarrow.compute as pc

from retrieval.sources.base import is_listable


class RowKeys:
    """The path stored with a row's image, if all rows have different paths that are valid keys.

    Otherwise the row's number, `00000042.png`, whatever the image's format.
    """

    def __init__(self, paths: Any | None, rows: int) -> None:
        """Check whether the paths can be keys.

        paths: an Arrow array of strings, one for each row; None if there are none
        """
        self._paths = paths if paths is not None and _can_be_keys(paths) else None
        self._rows = rows

    def key(self, number: int) -> str:
        """The key of the row with that number."""
        return str(self._paths[number]) if self._paths is not None else f"{number:08d}.png"

    def number(self, key: str) -> int | None:
        """The number of the row with that key; None if there is none."""
        if self._paths is not None:
            try:
                number = int(pc.index(self._paths, key).as_py())
            except UnicodeEncodeError:
                return None
            return number if number >= 0 else None
        match = re.fullmatch(r"([0-9]{8,12})\.png", key)
        number = int(match[1]) if match else -1
        return number if 0 <= number < self._rows and key == self.key(number) else None


def _can_be_keys(paths: Any) -> bool:
    if paths.null_count or pc.count_distinct(paths).as_py() < len(paths):
        return False
    try:
        return all(is_listable(str(path)) for path in paths)
    except UnicodeDecodeError:
        return False
