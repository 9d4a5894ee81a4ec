"""What a re-index prints: its steps while it runs, the gate's rows, and what was done."""

from typing import TYPE_CHECKING, Any

from retrieval.cli.job_context import Watch
from retrieval.cli.render.tables import print_table
from retrieval.errors import with_alias
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from retrieval.reindex.outcome import ReindexOutcome


class StepReporter:
    """Shows each step as it begins, and keeps the facts for the job's record."""

    def __init__(self, watch: Watch) -> None:
        self.outcome: ReindexOutcome | None = None
        self._watch, self._step = watch, ""

    def __call__(self, step: str, outcome: "ReindexOutcome") -> None:
        self.outcome = outcome
        if step != self._step:
            self._step = step
            self._watch.say(step)
        if outcome.counts:
            self._watch.report(outcome.counts)
        self.note()

    def note(self) -> None:
        """Copy what is known so far into the record; the counts of images are there already."""
        if self.outcome:
            facts = self.outcome.to_json()
            names = ("alias", "collection", "previous", "model", "gate", "dropped", "swap_seconds")
            self._watch.facts |= {"result": facts["outcome"], "step": self._step, **{n: facts[n] for n in names}}


def print_gate(outcome: "ReindexOutcome", console: "Console") -> None:
    """Print what the models see, if another one is tried, and each row of the gate."""
    if outcome.model != outcome.previous_model and outcome.sees:
        live = say_what_it_sees(outcome.previous_sees) or "unknown"
        console.print(f"The new model sees {say_what_it_sees(outcome.sees)}; the live one: {live}", soft_wrap=True)
    passed = {True: "yes", False: "NO", None: "not measured"}

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:,.4f}".rstrip("0").rstrip(".")

    rows = [[row.name, number(row.value), number(row.live), row.limit, passed[row.passed]] for row in outcome.gate]
    print_table(["check", "new", "live", "asked for", ""], rows, numbers=("new", "live"), console=console)


def say_what_it_sees(sees: "Mapping[str, Any]") -> str:
    """What a model sees, and the share of drawings that decided that, in words."""
    if not sees:
        return ""
    what = "pixels" if sees["trunk"] == "none" else f"the features of {sees['trunk']}"
    return what + (f" ({sees['drawn_share']:.0%} of the images are drawings)" if "drawn_share" in sees else "")


def print_outcome(
    outcome: "ReindexOutcome",
    points: int,
    location: str,
    dashboard: str | None,
    console: "Console",
    model: "Path | None" = None,
) -> None:
    """Print what was done and how to go back.

    model: the folder of a new model, which other machines that search need too.
    """
    found = count_of(points, "point")
    if outcome.state == "absent":
        made = f"there is no collection yet; make it with: {with_alias('retrieval ingest SOURCE', outcome.alias)}"
        console.print(f"{outcome.alias}: nothing to do: {made}", soft_wrap=True)
        return
    if outcome.state in ("recent", "unchanged"):
        why = "it is younger than --if-older-than" if outcome.state == "recent" else "model and images are the same"
        console.print(f"{outcome.alias} → {outcome.live}: {found}, nothing to do: {why}", soft_wrap=True)
        return
    print_gate(outcome, console)
    others = (
        f"Other machines that search need this folder in their own $RETRIEVAL_HOME/models: {model}\n" if model else ""
    )
    if outcome.state == "checked":
        console.print(
            f"{outcome.collection}: {found} at {location}, passed the gate; {outcome.live} is still live\n"
            f"{others}Next: {with_alias('retrieval reindex', outcome.alias)}   (uses it)",
            soft_wrap=True,
        )
        return
    dropped = f"dropped: {', '.join(outcome.dropped)}\n" if outcome.dropped else ""
    console.print(
        f"{outcome.alias} → {outcome.collection}: {found} at {location}, in {outcome.seconds:.1f} s, the swap"
        f" in {1000 * (outcome.swap_seconds or 0):.0f} ms\n{dropped}{others}"
        f"Undo: {with_alias('retrieval rollback', outcome.alias)}" + (f"\nDashboard: {dashboard}" if dashboard else ""),
        soft_wrap=True,
    )
