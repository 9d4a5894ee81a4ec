"""TensorBoard's event files, read back by the format's own definition."""

import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import TrainingError, UsageError
from retrieval.train.tensorboard import event_files
from tests.errors import raises


def events(folder: Path) -> Iterator[Any]:
    """The records of the folder's one file: length, checksum, event, checksum (TFRecord)."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.iterdir()
    data = file.read_bytes()
    while len(data) > 12:
        (length,) = struct.unpack_from("<Q", data)
        yield Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    return [(event.step, value.tag, value.simple_value) for event in events(folder) for value in event.summary.value]


def test_each_round_is_there_before_the_run_ends(tmp_path: Path) -> None:
    with event_files(tmp_path / "run") as log:
        log({"step": 100, "loss": 1.5, "held_out": 2.0})
        log({"step": 200, "loss": 1.25})
        expected = [(100, "loss", 1.5), (100, "held_out", 2.0), (200, "loss", 1.25)]
        end = time.monotonic() + 20  # the library writes in a thread of its own
        while (found := scalars(tmp_path / "run")) != expected:
            assert time.monotonic() < end, found
            time.sleep(0.05)


def test_the_extra_is_named_when_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    missing = raises(UsageError, option="tensorboard", hint="pip install 'retrieval-images[tensorboard]'")
    with missing, event_files(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    named = raises(TrainingError, tmp_path / "file" / "run", option="tensorboard")
    with named, event_files(tmp_path / "file" / "run"):
        pass
