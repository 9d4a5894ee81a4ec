"""The language of `--where`: what each sentence means, and where a wrong one is wrong."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import FilterError, UsageError
from retrieval.schema.filter_language import LONGEST, parse
from retrieval.schema.filters import fields_of
from retrieval.schema.records import point_id
from retrieval.search.fields import check_fields
from tests.errors import raises
from tests.search.conftest import Shelf

ID = point_id("cats", "7.png")
POINT: dict[str, Any] = {
    "source": "mnist:train",
    "path": "2024/05/a b.png",
    "label": "7",
    "width": 640,
    "height": 480,
    "ingested_at": "2026-11-24T09:15:59+00:00",
    "price": 3.5,
    "count": 7,
    "code": "007",
    "fragile": True,
    "lines": "a\nb\r\tc",
    "note": 'he said "no"',
    "taken": "2023-02-01 10:00:00",
}


@pytest.mark.parametrize(
    "true",
    [
        *("label=7", "label = 7", 'label="7"', "label='7'", "label!=8", "label in (3, 7)", "label not in (1,2)"),
        *("LABEL=7 or label=7", "label=7 AND width=640", "NOT label=8", "not (label=8 or label=9)"),
        *("width>=640", "width<=640", "width>639.5", "width<641", "width=640", "width!=641", "width in (1, 640)"),
        *('path~"2024/*"', "path~2024/05/*", "not path~2025*", "path~*", f"id={ID}", "source=mnist:train"),
        *("ingested_at>=2026-11-24", "ingested_at<2026-11-25", "ingested_at=2026-11-24T09:15:59"),
        *("ingested_at<2026-11-24T12:00:00+02:00", "taken>2023-01-31", "taken<=2023-02-01T10:00:00Z"),
        *("price=3.5", "price>3", "count=7", "count>6", "code=007", "fragile=true", "fragile!=false"),
        *(
            r'lines="a\nb\r\tc"',
            'lines="a\nb\r\tc"',
            'lines="a\\\nb\r\tc"',
            "width<1" + "0" * 300,
            "label!=" + "9" * 5000,
        ),
        *(r'note="he said \"no\""', "color!=red", "color not in (red, green)", "not color=red"),
        "label=8 or label=7 and width=640",
        "(label=8 or label=7) and not (width<100 or height>1000)",
    ],
)
def test_true_sentences(true: str) -> None:
    assert parse(true).holds(ID, POINT)


@pytest.mark.parametrize(
    "false",
    [
        *("label=8", "label!=7", "label in (1,2)", "label not in (7)", "label=7 and label=8", "not label=7"),
        *("width>640", "width<640", "width=641", 'path~"2024/06*"', "path~05*", f"id={point_id('cats', '8.png')}"),
        *("ingested_at>2026-11-24T09:15:59", "ingested_at<2026-11-24", "ingested_at>=2026-11-24T12:00:00+02:00"),
        *('count="7"', 'price="3.5"', 'fragile="true"', "fragile=false", "color=red", "color>5", "color~r*"),
        "(label=8 or label=7) and width=1",
    ],
)
def test_false_sentences(false: str) -> None:
    assert not parse(false).holds(ID, POINT)


@pytest.mark.parametrize(
    ("wrong", "at", "named"),
    [
        ("label==7", 6, ["understood"]),
        ("label 7", 6, ["understood"]),
        ("=7", 0, ["understood"]),
        ("label=7)", 7, ["understood"]),
        ("label=7 width=3", 8, ["understood"]),
        ("label in ()", 10, ["understood"]),
        ('label="7', 6, ["understood"]),
        ("width>abc", 6, ["width", "number"]),
        ("width=abc", 6, ["width", "number"]),
        ("width>=" + "9" * 400, 7, ["width", "number"]),
        ("price>" + "9" * 5000, 6, ["price", "number"]),
        ("ingested_at=noon", 12, ["ingested_at", "time", "2026-11-24"]),
        ("ingested_at>7", 12, ["ingested_at", "time", "2026-11-24"]),
        ("price>cheap", 6, ["price", "number", "time"]),
        ("path~*.png", 5, ["beginning"]),
        ("path~a*b*", 5, ["beginning"]),
        ("id=7", 3, ["id"]),
    ],
)
def test_wrong_sentences_are_pointed_at(wrong: str, at: int, named: list[str]) -> None:
    with raises(FilterError, *named, option="where") as error:
        parse(wrong)
    assert error.value.context == (f"  {wrong}", f"  {' ' * at}^")
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("begun", "question", "hint"),
    [
        ("label", "what must label be?", "like label=7"),
        ("not (width", "what must width be?", "like width=7"),
        ("label=", "what comes after label=?", "write a value"),
        ("label in (3,", "what comes after 3,?", "write a value"),
        ("label in (", "what comes after (?", "write a value"),
        ("label=7 and ", "what comes after and?", "write a condition"),
        ("label=7 or not", "what comes after not?", "write a condition"),
        ("label not", "not what?", "label not in (3, 5)"),
        ("label in", "in which list?", "label in (3, 5)"),
        ("(label=7", "where does the bracket end?", "write )"),
        ("label in (3, 5", "where does the bracket end?", "write )"),
    ],
)
def test_an_unfinished_filter_gets_the_question_that_fits(begun: str, question: str, hint: str) -> None:
    with raises(FilterError, f"ends too soon: {question}", option="where", hint=hint) as error:
        parse(begun)
    assert error.value.context == (f"  {begun}", f"  {' ' * len(begun.rstrip())}^")


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("label=Golden Delicious", "in quotes"),
        ('label="Golden', "close the quotes"),
        ("label=7)", "leave out the bracket"),
    ],
)
def test_what_helps_where_a_filter_is_not_understood(wrong: str, hint: str) -> None:
    with raises(FilterError, "not understood from here on", option="where", hint=hint):
        parse(wrong)


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_an_empty_filter(empty: str) -> None:
    with raises(UsageError, "empty", option="where", hint="label=7"):
        parse(empty)


def test_a_filter_that_is_too_long() -> None:
    long = " or ".join(["label=7"] * LONGEST)
    with raises(UsageError, len(long), option="where", hint=f"{LONGEST:,}"):
        parse(long)
    assert parse("not " * 60 + "label=7").holds(ID, POINT)
    assert parse("(" * 25 + "label=7" + ")" * 25).holds(ID, POINT)
    for deep in ("not " * 2000 + "label=7", "(" * 2000 + "label=7" + ")" * 2000):
        with raises(UsageError, 30, option="where", hint=""):
            parse(deep)


def test_the_fields_of_a_filter() -> None:
    assert fields_of(parse("not (a=1 or b in (2) and c~x*) and d>3")) == {"a", "b", "c", "d"}


def test_unknown_fields_are_named_with_the_known_ones(shelf: Shelf, tmp_path: Path) -> None:
    store, collection = shelf.store, shelf.live.collection
    check_fields(store, collection, parse("label=dark and width=8 and id!=" + ID))
    with raises(UsageError, "'labl'", "bytes", "label", option="where", hint="label"):
        check_fields(store, collection, parse("label=dark and not labl=grey"))
    (point,) = store.retrieve(collection, [point_id("pictures", "copy/b.png")]).values()
    store.set_payload(collection, {point.id: {**point.payload, "rare": dt.date(2026, 1, 1).isoformat()}})
    check_fields(store, collection, parse("rare>2025-01-01"))
