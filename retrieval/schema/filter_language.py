"""The language of `--where`: `label=7 and width>=640 and path~"2024/*"`. Its grammar is `where.lark`.

| written | true for |
|---|---|
| `label=7`, `label!=7` | the text or number itself; any other, or none at all |
| `label in (3, 5)`, `label not in (3, 5)` | one of them; none of them |
| `width>=640`, `<`, `<=`, `>` | numbers |
| `ingested_at>=2026-11-01` | times, ISO 8601, UTC where they name no zone |
| `path~"2024/*"` | text that begins so |
| `not …`, `… and …`, `… or …`, `(…)` | |
"""

import datetime as dt
import functools
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from retrieval.errors import FilterError, UsageError
from retrieval.schema.filters import ID, Condition, Filter, Match, Prefix, Range, as_time
from retrieval.schema.records import FIELDS, is_id

if TYPE_CHECKING:
    from lark import Lark, Token

LONGEST = 10_000
"""Characters of a filter."""
DEEPEST = 90
"""Nodes of the grammar below each other: three for a pair of brackets. Engines read no more than a hundred or so."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
NAMES = {"=": "", "!=": "", "~": "", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def parse(text: str) -> Filter:
    """The filter that the text means; raises UsageError that points at what is not understood."""
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    if not text.strip():
        raise UsageError("it is empty", option="where", hint="write a condition, like label=7")
    if len(text) > LONGEST:
        raise UsageError(f"it has {len(text):,} characters", option="where", hint=f"use at most {LONGEST:,}")
    try:
        tree: Any = grammar().parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            raise wrong(text, len(text.rstrip()), "it ends too soon; what is it to be compared with?") from error
        raise wrong(text, error.pos_in_stream, "not understood from here on") from error
    found = either(tree.children[0], text)
    return found if isinstance(found, Filter) else Filter(must=(found,))


@functools.cache
def grammar() -> "Lark":
    """The parser; made when the first filter is."""
    from lark import Lark

    return Lark(files("retrieval.schema").joinpath("filter_language.lark").read_text("utf-8"), parser="lalr")


def either(tree: Any, text: str, depth: int = 0) -> Condition:
    """A node of the grammar as a condition."""
    if depth > DEEPEST:
        raise UsageError(f"it is nested more than {DEEPEST // 3} deep", option="where", hint="write it flatter")
    match tree.data:
        case "either":
            parts = tuple(either(child, text, depth + 1) for child in tree.children)
            return parts[0] if len(parts) == 1 else Filter(should=parts)
        case "both":
            parts = tuple(either(child, text, depth + 1) for child in tree.children)
            return parts[0] if len(parts) == 1 else Filter(must=parts)
        case "negated":
            return Filter(must_not=(either(tree.children[0], text, depth + 1),))
        case "compared":
            field, sign, value = tree.children
            return compared(field, sign, value, text)
        case _:
            field, *values = tree.children
            parts = tuple(equal(field, value, text) for value in values)
            return Filter(should=parts) if tree.data == "among" else Filter(must_not=parts)


def compared(field: "Token", sign: "Token", value: Any, text: str) -> Condition:
    """`field sign value`."""
    if sign == "=":
        return equal(field, value, text)
    if sign == "!=":
        return Filter(must_not=(equal(field, value, text),))
    said, token = plain(value)
    if sign == "~":
        if not said.endswith("*") or "*" in said[:-1] or "?" in said:
            raise wrong(text, token.start_pos, 'only a beginning can be compared, like path~"2024/*"')
        return Prefix(str(field), said[:-1])
    kind = FIELDS[field].kind if field in FIELDS else None
    bound: float | dt.datetime | None = number(said) if kind != "time" else None
    if bound is None and kind != "number":
        bound = as_time(said)
    if bound is None:
        what = {"time": "a time, like 2026-11-24", "number": "a number"}.get(str(kind), "a number or a time")
        raise wrong(text, token.start_pos, f"{field} can be compared with {what} only")
    return Range(str(field), **{NAMES[sign]: bound})


def equal(field: "Token", value: Any, text: str) -> Condition:
    """A number that is not in quotes stands for itself and for the text, where the field may be either."""
    said, token = plain(value)
    name, kind = str(field), FIELDS[field].kind if field in FIELDS else None
    if kind == "time":
        if (time := as_time(said)) is None:
            raise wrong(text, token.start_pos, f"{field} can be compared with a time only, like 2026-11-24")
        return Range(name, gte=time, lte=time)
    if name == ID and not is_id(said):
        raise wrong(text, token.start_pos, "an id is written like 4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b")
    numeric = number(said)
    if kind == "number":
        if numeric is None:
            raise wrong(text, token.start_pos, f"{field} can be compared with a number only")
        return Range(name, gte=numeric, lte=numeric)
    texts = Match(name, (said,))
    if kind == "text" or name == ID or value.data == "quoted":
        return texts
    if said in ("true", "false"):
        return Match(name, (said, said == "true"))
    return texts if numeric is None else Filter(should=(texts, Range(name, gte=numeric, lte=numeric)))


def number(said: str) -> float | None:
    """The number that a word is, whole where it can be."""
    if not NUMBER.fullmatch(said):
        return None
    return float(said) if "." in said else int(said)


def plain(value: Any) -> tuple[str, "Token"]:
    """A value's text without its quotes, and where it stands."""
    (token,) = value.children
    said = str(token)
    return (re.sub(r"\\(.)", r"\1", said[1:-1]) if value.data == "quoted" else said), token


def wrong(text: str, at: int | None, why: str) -> FilterError:
    """An error with a caret under the place."""
    return FilterError(why, f"  {' '.join(text.splitlines())}", f"  {' ' * (at or 0)}^", option="where")
