"""The comparison on all data sets: its table from a small one, as it runs, and grey images that have no colour."""

import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.images.decode import encode_jpeg, probe
from tests.train.samples import blobs

SCRIPTS = Path(__file__).parents[2] / "scripts"
DEADLINE = 240


@pytest.fixture(autouse=True)
def scripts_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)


def module(name: str) -> Any:
    return importlib.import_module(name)


def bench_quality(*arguments: str, data: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPTS / "bench_quality"), *arguments]
    environment = {**os.environ, "RETRIEVAL_DATA": str(data)}
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env=environment)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of 20 images each, told apart by their colour, in place of the hand signs."""
    root = tmp_path / "data"
    (root / "sign-digits").mkdir(parents=True)
    images = blobs(40, 24, 3)
    images[:20, :, :, 0] //= 4
    images[20:, :, :, 2] //= 4
    with zipfile.ZipFile(root / "sign-digits" / "sign-digits.zip", "w") as archive:
        for row, image in enumerate(images):
            archive.writestr(f"{row // 20}/{row:02d}.jpg", encode_jpeg(image))
    return root


def test_every_row_of_a_small_data_set(data: Path) -> None:
    options = ["--data", "sign-digits,mnist", "--grey", "--seeds", "2", "--json"]
    done = bench_quality(*options, "--", "--trunk", "none", "--epochs", "1", "--dim", "4", data=data)
    assert done.returncode == 0, done.stderr
    colour, grey = map(json.loads, done.stdout.splitlines())
    names = ["ours", "raw pixels", "PCA", "perceptual hash", "frozen trunk"]
    assert [name for name in colour["precision"] if name not in ("colour histogram", "untrained")] == names
    assert colour["precision"]["colour histogram"] == [1]
    assert "colour histogram" not in grey["precision"]
    assert (colour["data"], grey["data"]) == ("sign-digits", "sign-digits, grey")
    for result in (colour, grey):
        assert (result["images"], result["queries"], result["task"]) == (40, 40, "leave-one-out")
        assert len(result["precision"]["ours"]) == len(result["train_seconds"]) == 2
        assert result["dims"]["ours"] == result["dims"]["PCA"] == 4
        assert result["dims"]["frozen trunk"] == 1280


def test_grey_files_have_one_channel_and_a_split_has_its_own_members(data: Path, tmp_path: Path) -> None:
    quality = module("quality_data")
    whole = data / "sign-digits" / "sign-digits.zip"
    part = quality.copy_zip(whole, tmp_path, "1/", grey=True)
    with zipfile.ZipFile(part) as new, zipfile.ZipFile(whole) as old:
        assert new.namelist() == [name for name in old.namelist() if name.startswith("1/")]
        first = new.read("1/20.jpg")
        assert probe(first, "") == (24, 24, 1)
        before = Image.open(io.BytesIO(old.read("1/20.jpg"))).convert("L")
        after = Image.open(io.BytesIO(first))
        assert np.abs(np.asarray(after, int) - np.asarray(before, int)).mean() < 3


def test_the_table_leaves_out_what_was_not_measured() -> None:
    quality = module("quality_table")
    result = quality.Result("mnist", "leave-one-out", 9, 9, {"ours": [0.98, 0.99]}, {"ours": 64}, [10, 20], trunk=True)
    table = quality.table([result])
    (cells,) = zip(*(column.cells for column in table.columns), strict=True)
    assert cells[:3] == ("mnist", "leave-one-out: 9 of 9", "0.9850 ± 0.0071 (64+t)")
    assert set(cells[3:-1]) == {"–"}
    assert cells[-1] == "15 s"


@pytest.mark.parametrize(
    ("arguments", "complaint", "code"),
    [
        (["--data", "imagenet"], "imagenet: there are sign-digits, grocery", 2),
        (["--seeds", "0"], "--seeds 0: at least 1", 2),
        (["--data", "grocery"], "none of these data sets", 1),
    ],
)
def test_what_cannot_be_run(arguments: list[str], complaint: str, code: int, data: Path) -> None:
    done = bench_quality(*arguments, data=data)
    assert done.returncode == code
    assert complaint in done.stderr
