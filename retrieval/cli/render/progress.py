"""The columns of a progress bar: how much of what is done, and the time that is left."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from retrieval.util.wording import count_of, format_bytes, format_duration

PERCENT, BYTES = "%", "bytes"


class Amount(ProgressColumn):
    """What is done, of how much, in the task's unit; nothing before anything is known."""

    def render(self, task: Task) -> Text:
        return Text(format_amount(int(task.completed), task.total, task.fields["unit"]), "progress.download")


class TimeLeft(ProgressColumn):
    """The time that is left, as far as it can be told."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        left = None if task.finished else task.time_remaining
        return Text("" if left is None else f"{format_duration(left)} left", "progress.remaining")


def format_amount(done: int, total: float | None, unit: str) -> str:
    """An amount in its unit.

    >>> format_amount(1200, 5000, "image"), format_amount(1, None, "image"), format_amount(37, 100, "%")
    ('1,200 of 5,000 images', '1 image', '37%')
    >>> format_amount(1_500_000, 9_912_422, "bytes"), format_amount(0, None, "image")
    ('1.5 MB of 9.91 MB', '')
    """
    if total is None and not done:
        return ""
    if unit == PERCENT:
        return f"{done}%"
    if unit == BYTES:
        return format_bytes(done) + ("" if total is None else f" of {format_bytes(int(total))}")
    return count_of(done, unit) if total is None else f"{done:,} of {count_of(int(total), unit)}"


def make_progress(console: Console) -> Progress:
    """A progress bar, on a terminal only; each task has the fields `unit` and `note`."""
    note = TextColumn("{task.fields[note]}", markup=False)
    layout = (TextColumn("{task.description}", markup=False), BarColumn(), Amount(), TimeLeft(), note)
    return Progress(*layout, console=console, transient=True, disable=not console.is_terminal)
