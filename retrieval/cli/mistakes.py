"""Mistakes on a command line, which Typer finds, in the form of our own errors: what, where, and what to do."""

import re
from typing import Any

import typer

Mistake: Any = typer.BadParameter.__base__
"""Typer's error for a command line that makes no sense; Typer does not export it."""
INVALID = re.compile(r"Invalid value for (?:'-\w' / )?'(.*?)': (?:Value error, )?(.*?)\.?")
REWORDED = (
    (re.compile(r"Missing (?:argument|option) '(.*?)'\."), r"\1 is missing"),
    (re.compile(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)"), r"not understood: \1"),
    (re.compile(r"Option '(.*)' requires an argument\."), r"\1: a value is missing"),
    (re.compile(r"Option '(.*)' does not take a value\."), r"\1 takes no value"),
    (re.compile(r"No such option:? '?([^ ']*).*"), r"there is no option \1"),
    (re.compile(r"No such command '(.*?)'\..*"), r"there is no command \1"),
)
"""What Typer says, and how we do."""
MEANT = re.compile(r"(?:Did you mean|Possible options:) (.*)")
UNREADABLE = {"int_parsing": "is not a whole number", "float_parsing": "is not a number"}
BEYOND = {"ge": "is less than", "le": "is more than"}


def is_request_for_help(mistake: Any) -> bool:
    """Whether nothing is wrong but that there is no command, so that its text is the help."""
    return type(mistake).__name__ == "NoArgsIsHelpError"


def describe_mistake(mistake: Any, command: str) -> str:
    """What is wrong, and where the help is, in one line.

    command: how the line begins, like `retrieval search`
    """
    said = str(mistake.format_message())
    if invalid := INVALID.fullmatch(said):
        what = f"{invalid[1]}: {describe_value(mistake.__cause__) or invalid[2]}"
    else:
        found = (pattern.sub(ours, said) for pattern, ours in REWORDED if pattern.fullmatch(said))
        what = next(found, said[:1].lower() + said[1:])
    meant = MEANT.search(said)
    names = " or ".join(re.findall(r"[\w-]+", meant[1])) if meant else ""
    return f"{what}; {f'did you mean {names}? ' * bool(names)}see: {command} --help"


def describe_value(cause: Any) -> str:
    """What is wrong with a value, from Pydantic's error; empty for another cause."""
    if not hasattr(cause, "errors"):
        return ""
    error = cause.errors()[0]
    if error["type"] in UNREADABLE:
        return f"{error['input']} {UNREADABLE[error['type']]}"
    bounds = [
        f"{error['input']} {words} {error['ctx'][b]:g}" for b, words in BEYOND.items() if b in error.get("ctx", ())
    ]
    return bounds[0] if bounds else ""
