"""What a test asks of an error: its class and what it carries, so that its words can be bettered."""

import contextlib
import re
from collections.abc import Iterator
from typing import TypeVar

import pytest

from retrieval.errors import RetrievalError

E = TypeVar("E", bound=RetrievalError)


@contextlib.contextmanager
def raises(
    kind: type[E], *named: object, option: str = "", hint: str | None = None
) -> Iterator[pytest.ExceptionInfo[E]]:
    """`pytest.raises` for an error of ours, which is also one line.

    kind: this very class, no subclass
    named: what the message has to contain: the file, both values, the alias; of prose at most the one word that
        tells two causes of one class apart
    option: the argument that is wrong; by default none is
    hint: what the hint has to contain: the command or option that helps; "" if any hint will do
    """
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert type(error) is kind
    assert "\n" not in str(error)
    assert error.option == option, error
    assert [part for part in named if not mentions(error.message, part)] == [], error
    assert hint is None or (error.hint and hint in error.hint), error


def mentions(text: str, part: object) -> bool:
    """Whether the text contains it, as whole words: 5 is not in 50 nor in 1.5, but 1500 is in 1,500."""
    if isinstance(part, int):
        text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    word = str(part)
    start = r"(?<!\w)(?<!\d[.,])" if word[:1].isalnum() else ""
    end = r"(?!\w|\.\d)" if word[-1:].isalnum() else ""
    return re.search(start + re.escape(word) + end, text) is not None
