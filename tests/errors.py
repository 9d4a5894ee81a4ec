"""What `pytest.raises(…, check=…)` asks of an error: its fields rather than its sentence, which may be bettered."""

from collections.abc import Callable

from retrieval.errors import RetrievalError


def hinted(part: str) -> Callable[[RetrievalError], bool]:
    """The hint says this."""
    return lambda error: part in error.hint


def about(option: str) -> Callable[[RetrievalError], bool]:
    """The option is the wrong one."""
    return lambda error: error.option == option
