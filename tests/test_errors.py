"""What an error says to each reader, and that it stays whole on its way from another process."""

import inspect
import pickle

import pytest

from retrieval import errors
from retrieval.cli.options import as_flag
from retrieval.errors import BadImage, FilterError, RetrievalError, UsageError, with_alias

PLAIN = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, RetrievalError) and kind not in (BadImage, FilterError)
]


@pytest.mark.parametrize(
    ("option", "hint", "text"),
    [
        ("", "", "-1 is less than 0"),
        ("max_distance", "", "max_distance: -1 is less than 0"),
        ("", "give 0 or more", "-1 is less than 0; give 0 or more"),
        ("max_distance", "give 0 or more", "max_distance: -1 is less than 0; give 0 or more"),
    ],
)
def test_the_text_joins_option_message_and_hint(option: str, hint: str, text: str) -> None:
    error = UsageError("-1 is less than 0", option=option, hint=hint)
    assert (error.message, error.option, error.hint) == ("-1 is less than 0", option, hint)
    assert str(error) == error.text() == text
    assert error.what() == text.removesuffix("; give 0 or more")


def test_each_reader_spells_the_option_its_own_way() -> None:
    error = UsageError("-1 is less than 0", option="max_distance", hint="give 0 or more")
    assert error.text(as_flag) == "--max-distance: -1 is less than 0; give 0 or more"
    assert error.text(str.upper) == "MAX_DISTANCE: -1 is less than 0; give 0 or more"
    assert UsageError("a_b").text(as_flag) == "a_b", "only the option is respelled"


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_out_of_another_process(kind: type[RetrievalError]) -> None:
    sent = kind("what is wrong; in two parts", hint="what to do", option="max_distance")
    got = pickle.loads(pickle.dumps(sent))
    assert type(got) is kind
    assert (got.message, got.hint, got.option) == (sent.message, sent.hint, sent.option)
    assert (str(got), got.exit_code) == (str(sent), sent.exit_code)


def test_errors_with_more_to_say_come_whole_too() -> None:
    image = pickle.loads(pickle.dumps(BadImage("cats/7.png", "the file is empty")))
    assert (image.where, image.reason, str(image)) == (
        "cats/7.png",
        "the file is empty",
        "cats/7.png: the file is empty",
    )
    written = FilterError("not understood", "  label==7", "        ^", hint="see the docs", option="where")
    read = pickle.loads(pickle.dumps(written))
    assert (read.context, read.hint, str(read)) == (written.context, written.hint, str(written))


def test_a_command_names_every_alias_but_the_default_one() -> None:
    assert with_alias("retrieval reindex", "digits") == "retrieval reindex --alias digits"
    assert with_alias("retrieval reindex", "images") == with_alias("retrieval reindex", None) == "retrieval reindex"
