r"""The language of `--where`: `label=7 and width>=640 and path~"2024/*"`. Its grammar is `filter_language.lark`.

| written | true for |
|---|---|
| `label=7`, `label!=7` | that text or number; any other, or no label |
| `label in (3, 5)`, `label not in (3, 5)` | one of them; none of them |
| `width>=640`, `<`, `<=`, `>` | numbers |
| `ingested_at>=2026-11-01` | times in ISO 8601, UTC if they name no zone |
| `path~"2024/*"` | text with that prefix |
| `label="a\nb"` | in quotes, `\n`, `\r` and `\t` are line breaks and a tab; before others, `\` is left out |
| `not …`, `… and …`, `… or …`, `(…)` | |
"""

import datetime as dt
import functools
import math
import re
from collections.abc import Container
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from retrieval.errors import FilterError, UsageError
from retrieval.schema.filters import ID, Condition, Filter, Match, Prefix, Range, as_time
from retrieval.schema.records import FIELDS, is_id

if TYPE_CHECKING:
    from lark import Lark, Token

LONGEST = 10_000
"""Maximum number of characters in a filter."""
DEEPEST = 90
"""Maximum depth of the syntax tree, three nodes for a pair of brackets. Engines accept about a hundred levels."""
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
LONGEST_INT = 300
"""Characters of the longest whole number that is read exactly; Python reads at most 4,300."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
NAMES = {"=": "", "!=": "", "~": "", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


def parse(text: str) -> Filter:
    """Parse a filter; raises UsageError, which points at the place that is not understood."""
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    if not text.strip():
        raise UsageError("the filter is empty", option="where", hint="write a condition, like label=7")
    if len(text) > LONGEST:
        raise UsageError(f"the filter has {len(text):,} characters", option="where", hint=f"use at most {LONGEST:,}")
    try:
        tree: Any = grammar().parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            question, hint = ask_for_rest(text.rstrip(), error.accepts)
            raise syntax_error(text, len(text.rstrip()), f"ends too soon: {question}", hint) from error
        hint = explain_stop(text[error.pos_in_stream or 0 :], getattr(error, "accepts", None) or ())
        raise syntax_error(text, error.pos_in_stream, "not understood from here on", hint) from error
    found = to_condition(tree.children[0], text)
    return found if isinstance(found, Filter) else Filter(must=(found,))


@functools.cache
def grammar() -> "Lark":
    """The parser; made for the first filter and kept."""
    from lark import Lark

    return Lark(files("retrieval.schema").joinpath("filter_language.lark").read_text("utf-8"), parser="lalr")


def to_condition(tree: Any, text: str, depth: int = 0) -> Condition:
    """Compile a node of the syntax tree."""
    if depth > DEEPEST:
        raise UsageError(
            f"the filter is nested more than {DEEPEST // 3} deep", option="where", hint="use fewer brackets"
        )
    match tree.data:
        case "either":
            parts = tuple(to_condition(child, text, depth + 1) for child in tree.children)
            return parts[0] if len(parts) == 1 else Filter(should=parts)
        case "both":
            parts = tuple(to_condition(child, text, depth + 1) for child in tree.children)
            return parts[0] if len(parts) == 1 else Filter(must=parts)
        case "negated":
            return Filter(must_not=(to_condition(tree.children[0], text, depth + 1),))
        case "compared":
            field, sign, value = tree.children
            return compile_comparison(field, sign, value, text)
        case _:
            field, *values = tree.children
            parts = tuple(compile_equality(field, value, text) for value in values)
            return Filter(should=parts) if tree.data == "among" else Filter(must_not=parts)


def compile_comparison(field: "Token", sign: "Token", value: Any, text: str) -> Condition:
    """Compile `field sign value`."""
    if sign == "=":
        return compile_equality(field, value, text)
    if sign == "!=":
        return Filter(must_not=(compile_equality(field, value, text),))
    said, token = unquote(value)
    if sign == "~":
        if not said.endswith("*") or "*" in said[:-1] or "?" in said:
            raise syntax_error(text, token.start_pos, 'only a beginning can be compared, like path~"2024/*"')
        return Prefix(str(field), said[:-1])
    kind = FIELDS[field].kind if field in FIELDS else None
    bound: float | dt.datetime | None = parse_number(said) if kind != "time" else None
    if bound is None and kind != "number":
        bound = as_time(said)
    if bound is None:
        what = {"time": "a time, like 2026-11-24", "number": "a number"}.get(str(kind), "a number or a time")
        raise syntax_error(text, token.start_pos, f"{field} can be compared with {what} only")
    return Range(str(field), **{NAMES[sign]: bound})


def compile_equality(field: "Token", value: Any, text: str) -> Condition:
    """Compile `field = value`. An unquoted number also matches the same text, unless the field's kind is known."""
    said, token = unquote(value)
    name, kind = str(field), FIELDS[field].kind if field in FIELDS else None
    if kind == "time":
        if (time := as_time(said)) is None:
            raise syntax_error(text, token.start_pos, f"{field} can be compared with a time only, like 2026-11-24")
        return Range(name, gte=time, lte=time)
    if name == ID and not is_id(said):
        raise syntax_error(text, token.start_pos, "an id is written like 4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b")
    numeric = parse_number(said)
    if kind == "number":
        if numeric is None:
            raise syntax_error(text, token.start_pos, f"{field} can be compared with a number only")
        return Range(name, gte=numeric, lte=numeric)
    texts = Match(name, (said,))
    if kind == "text" or name == ID or value.data == "quoted":
        return texts
    if said in ("true", "false"):
        return Match(name, (said, said == "true"))
    return texts if numeric is None else Filter(should=(texts, Range(name, gte=numeric, lte=numeric)))


def parse_number(said: str) -> float | None:
    """The number that a word spells, an int if it is whole; None for other words, and for numbers beyond all floats."""
    if not NUMBER.fullmatch(said) or math.isinf(float(said)):
        return None
    return float(said) if "." in said or len(said) > LONGEST_INT else int(said)


def unquote(value: Any) -> tuple[str, "Token"]:
    """A value's text without its quotes, and its token, which knows its place."""
    (token,) = value.children
    said = str(token)
    return (ESCAPE.sub(unescape, said[1:-1]) if value.data == "quoted" else said), token


def unescape(escape: "re.Match[str]") -> str:
    """The character that a backslash and a character stand for: a line break, a tab, or that character itself."""
    return {"n": "\n", "r": "\r", "t": "\t"}.get(escape[1], escape[1])


def ask_for_rest(text: str, accepts: Container[str]) -> tuple[str, str]:
    """The question that an unfinished filter leaves open, and an answer.

    text: without blanks at its end
    accepts: names of the terminals that may follow

    >>> ask_for_rest("label", {"COMPARE", "IN", "NOT"})
    ('what must label be?', 'write a comparison, like label=7')
    """
    last = re.split(r"[\s()]", text)[-1] or text[-1:]
    questions = (
        ("COMPARE", f"what must {last} be?", f"write a comparison, like {last}=7"),
        ("WORD", f"what comes after {last}?", 'write a value, like 7 or "New York"'),
        ("FIELD", f"what comes after {last}?", "write a condition, like label=7"),
        ("IN", "not what?", "write `not in` and a list, like label not in (3, 5)"),
        ("LPAR", "in which list?", "write its values in brackets, like label in (3, 5)"),
    )
    found = ((question, hint) for terminal, question, hint in questions if terminal in accepts)
    return next(found, ("where does the bracket end?", "write ) at its end"))


def explain_stop(rest: str, accepts: Container[str]) -> str:
    """What may help where a filter is not understood; empty if nothing is known.

    rest: the filter from there on
    accepts: names of the terminals that it could have begun with
    """
    if rest[0] in "\"'":
        return "close the quotes"
    if rest[0] == ")":
        return "" if "FIELD" in accepts else "leave out the bracket, or open it before"
    if "AND" in accepts:
        return "write `and` or `or` before it, or put a value with blanks in quotes"
    return ""


def syntax_error(text: str, at: int | None, why: str, hint: str = "") -> FilterError:
    """The error for a filter, with a caret under the place."""
    return FilterError(why, f"  {' '.join(text.splitlines())}", f"  {' ' * (at or 0)}^", hint=hint, option="where")
