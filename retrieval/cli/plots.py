"""What `tune` measured, as dots: recall against time, and against memory."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.tune.choices import Measured

WIDTH, HEIGHT = 34, 12
"""Of a plot, in characters."""
MARKS = {"exact": "E", "float": "o", "int8": "x", "on disk": "d"}
CHOSEN = "#"


def kind(row: "Measured") -> str:
    """Which of MARKS it is."""
    layout = row.layout
    return "exact" if layout.exact else "int8" if layout.int8 else "on disk" if layout.on_disk else "float"


def axes() -> "list[tuple[str, Callable[[Measured], float]]]":
    """The two plots: what lies along each, and its value."""
    return [("p95, ms", lambda row: 1000 * row.p95), ("MiB", lambda row: row.memory / 2**20)]


def lowest(rows: "Sequence[Measured]", least: float) -> float:
    """Where the axis of recall begins, what was asked for in sight: nobody wants what lies far below."""
    return max(0.9, min(*(row.recall for row in rows), least) - 0.001)


def show(rows: "Sequence[Measured]", least: float, chosen: "Measured | None", console: "Console") -> None:
    """Both plots beside each other, recall upwards; a row of dots at the least that was asked for."""
    left, right = (grid(rows, least, chosen, name, value) for name, value in axes())
    for one, other in zip(left, right, strict=True):
        console.print(f"{one}   {other}", soft_wrap=True)
    marks = ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
    console.print(f"{marks}, {CHOSEN} cheapest, ··· what was asked for", soft_wrap=True)


def grid(
    rows: "Sequence[Measured]",
    least: float,
    chosen: "Measured | None",
    name: str,
    value: "Callable[[Measured], float]",
) -> list[str]:
    """A plot's lines, each as wide as the others; sideways the scale is logarithmic."""
    low, shown = lowest(rows, least), [row for row in rows if row.recall >= lowest(rows, least)]
    logs = [math.log(max(value(row), 0.1)) for row in shown]
    start, span = min(logs), (max(logs) - min(logs)) or 1.0
    cells = [[" "] * WIDTH for _ in range(HEIGHT)]

    def line(recall: float) -> int:
        return round((1 - recall) / ((1 - low) or 1.0) * (HEIGHT - 1))

    if least >= low:
        cells[line(least)] = ["·"] * WIDTH
    for row, log in sorted(zip(shown, logs, strict=True), key=lambda item: item[0] is chosen):
        mark = CHOSEN if row is chosen else MARKS[kind(row)]
        cells[line(row.recall)][round((log - start) / span * (WIDTH - 1))] = mark
    labels = {0: "1.000", HEIGHT - 1: f"{low:.3f}"}
    lines = [f"{labels.get(n, ''):>6} |{''.join(cell)}" for n, cell in enumerate(cells)]
    ends = f"{math.exp(start):,.1f}", f"{math.exp(start + span):,.1f}"
    lines.append(f"{'':>6} +{'-' * WIDTH}")
    lines.append(f"{'':>8}{ends[0]}{name:^{WIDTH - len(ends[0]) - len(ends[1])}}{ends[1]}")
    return lines


def draw(file: Path, rows: "Sequence[Measured]", least: float, chosen: "Measured | None") -> None:
    """The same as a PNG file; raises UsageError when it cannot be written."""
    from retrieval.images.plot import Dot, plots

    low = lowest(rows, least)
    pictures = [
        (
            name,
            [
                Dot(max(value(row), 0.1), row.recall, kind(row), str(row.layout), chosen=row is chosen)
                for row in rows
                if row.recall >= low
            ],
        )
        for name, value in axes()
    ]
    try:
        file.write_bytes(plots(pictures, "recall@5", low, least))
    except OSError as error:
        raise UsageError(f"--png {file} cannot be written: {error.strerror}; choose another place") from error
