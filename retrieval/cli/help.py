"""The help of a command: options in groups, types and defaults in words, examples last.

Typer's own groups need Rich, which would cost every start 0.1 s.
"""

from itertools import groupby
from typing import Any

from typer.core import TyperCommand

ACTION, QUERIES, SELECTION, FIELDS = "Action", "Queries", "Selection", "Labels and fields"
SERVICE, MODEL, TRAINING, HOSTS = "Service", "Model", "Training", "Several hosts"
GATE, LIMITS = "Gate", "Limits"
OUTPUT, ENGINE, CLUSTER, OTHER = "Output", "Collection and engine", "Cluster and Ray", "Other"
GROUPS = (
    *(ACTION, QUERIES, SELECTION, FIELDS, SERVICE, MODEL, TRAINING, HOSTS),
    *(GATE, LIMITS, OUTPUT, ENGINE, CLUSTER, OTHER),
)
"""The groups in the order in which they are shown; an option without one is in the last."""
WORDS = {"int": "N", "int range": "N", "float": "X", "float range": "X", "path": "FILE", "str": "TEXT"}
"""How a type is shown if the option has no metavar."""
WIDEST = 1000
"""Maximum width of help: in practice that of the terminal."""
EXAMPLE = "$ "
"""The prefix of a docstring's lines that are examples."""


class Command(TyperCommand):
    """A command whose docstring is a line, then paragraphs, then a paragraph of examples."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(format_usage(each, ctx) for each in self.get_params(ctx) if is_argument(each))]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        for paragraph in prose(self.help or ""):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(paragraph)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, rows in sections(self, ctx):
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        if lines := examples(self.help or ""):
            with formatter.section("Examples"):
                for line in lines:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def prose(text: str) -> list[str]:
    """The paragraphs of a docstring, without its examples."""
    return [part for part in text.split("\n\n") if not part.startswith(EXAMPLE)]


def examples(text: str) -> list[str]:
    """The example commands of a docstring.

    >>> examples("$ retrieval status")
    ['retrieval status']
    """
    return [line.removeprefix(EXAMPLE) for line in text.splitlines() if line.startswith(EXAMPLE)]


def sections(command: TyperCommand, ctx: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """The arguments, then the options by group: a title and, for each parameter, how it is typed and what it does."""
    parameters = command.get_params(ctx)
    arguments = [each for each in parameters if is_argument(each)]
    options = sorted(
        (each for each in parameters if not is_argument(each)), key=lambda each: GROUPS.index(group_of(each))
    )
    found = [("Arguments", arguments), *((title, list(some)) for title, some in groupby(options, group_of))]
    return [
        (title, [(format_parameter(each, ctx), describe_parameter(each)) for each in some])
        for title, some in found
        if some
    ]


def is_argument(parameter: Any) -> bool:
    """Whether it is an argument, not an option."""
    return bool(parameter.param_type_name == "argument")


def group_of(option: Any) -> str:
    """The group of an option, one of GROUPS."""
    return getattr(option, "rich_help_panel", None) or OTHER


def format_usage(argument: Any, ctx: Any) -> str:
    """An argument in the usage line."""
    return format_parameter(argument, ctx) if argument.required else f"[{format_parameter(argument, ctx)}]"


def format_parameter(parameter: Any, ctx: Any) -> str:
    """A parameter as it is typed: its names and its metavar."""
    shown = parameter.metavar or parameter.display_type(ctx).strip("<>")
    value: str = WORDS.get(shown, shown)
    if is_argument(parameter):
        return value + ("" if parameter.nargs == 1 else "...")
    names = [", ".join(sorted(some, key=len)) for some in (parameter.opts, parameter.secondary_opts) if some]
    return " / ".join(names) + ("" if parameter.is_flag else f" {value}")


def describe_parameter(parameter: Any) -> str:
    """What a parameter does, its range and its default, in one sentence."""
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    facts = [f"{low} to {high}"] if low is not None and high is not None else []
    default = parameter.show_default if isinstance(parameter.show_default, str) else format_default(parameter.default)
    facts += [f"default: {default}"] if default else []
    text: str = parameter.help or ""
    return f"{text.removesuffix('.')} ({'; '.join(facts)})." if facts else text


def format_default(default: Any) -> str:
    """A default as it would be typed; empty for a flag, and if there is none."""
    if default is None or isinstance(default, bool):
        return ""
    return f"{default:g}" if isinstance(default, float) else str(default)
