"""Training metrics as TensorBoard event files, written during training."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from retrieval.errors import TrainingError
from retrieval.train.checkpoints import LogEntry
from retrieval.util.extras import needs
from retrieval.util.files import write_error


@contextlib.contextmanager
def event_files(folder: Path) -> Iterator[Callable[[LogEntry], None]]:
    """A function that writes the metrics of a round, for use inside the block.

    Raises UsageError when the extra `tensorboard` is not installed, TrainingError when the folder cannot be written.
    """
    with needs("tensorboard", "it", option="tensorboard"):
        from tensorboardX import SummaryWriter
    try:
        writer = SummaryWriter(str(folder), flush_secs=1)
    except OSError as error:
        raise write_error(folder, error, TrainingError, option="tensorboard") from error

    def write(line: LogEntry) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, int(line["step"]))

    with contextlib.closing(writer):
        yield write
