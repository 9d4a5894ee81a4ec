"""Models on disk: round trips, errors that name damaged files, and replacement that survives crashes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import ModelError
from retrieval.model import saved_models
from retrieval.model.config import ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.model.saved_models import SavedModel
from tests.errors import raises
from tests.train.conftest import PNG
from tests.train.samples import CONFIG, blobs, file_size_limit

FILES = ["README.md", "config.json", "metrics.json", "reconstructions.png", "training.jsonl", "weights.safetensors"]


def save_as(models: Path, name: str, saved: SavedModel) -> Path:
    """A copy of a saved model's folder under a fingerprint of our choosing."""
    folder = models / name
    folder.mkdir()
    for file in FILES:
        (folder / file).write_bytes((saved.path / file).read_bytes())
    return folder


def test_loaded_encodes_as_saved(saved: SavedModel, encoder: Encoder) -> None:
    loaded = saved_models.load(saved.path)
    assert (loaded.config, loaded.fingerprint, loaded.metrics) == (saved.config, saved.fingerprint, saved.metrics)
    assert loaded.path == saved.path
    np.testing.assert_array_equal(Encoder(loaded).encode(blobs(8)), encoder.encode(blobs(8)))


def test_what_is_in_the_folder(saved: SavedModel) -> None:
    assert sorted(file.name for file in saved.path.iterdir()) == FILES
    assert saved.path.name == saved.fingerprint[:16]
    assert [file.name for file in saved.path.parent.iterdir()] == [saved.path.name]
    assert json.loads((saved.path / "config.json").read_text())["image_size"] == [12, 12]
    assert json.loads((saved.path / "metrics.json").read_text())["fingerprint"] == saved.fingerprint
    assert (saved.path / "reconstructions.png").read_bytes() == PNG
    card = (saved.path / "README.md").read_text()
    assert f"# Model {saved.fingerprint[:8]}" in card
    assert "12×12×1 images\nto embeddings of 4 dimensions" in card
    header = (saved.path / "weights.safetensors").read_bytes()[8:]
    assert header.startswith(b"{")  # safetensors: JSON and plain numbers, nothing that could be executed


def test_weights_that_lie_otherwise_in_memory_are_saved_as_they_are(tmp_path: Path) -> None:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.arange(8, dtype=np.float32)[::2]}
    made = saved_models.save(tmp_path, CONFIG, weights, {}, PNG)
    loaded = saved_models.load(made.path).weights
    for name, array in weights.items():
        np.testing.assert_array_equal(loaded[name], array)


def test_models_of_before_keep_their_fingerprints() -> None:
    config = ModelConfig((28, 28), 1, 64, (32, 64, 96), (0, 0, 0))
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    before = "1be6e57631b4b256632d086b024a1602089b019c955d727a8de989d632ec1118"
    assert saved_models.fingerprint(config, weights) == before
    assert list(config.to_json()) == ["image_size", "channels", "dim", "widths", "blocks"]


def test_any_change_changes_the_fingerprint(weights: dict[str, np.ndarray]) -> None:
    changed = [
        (replace(CONFIG, image_size=(12, 13)), weights),
        (replace(CONFIG, channels=3), weights),
        (replace(CONFIG, dim=5), weights),
        (replace(CONFIG, fit="crop"), weights),
        (replace(CONFIG, stem=4), weights),
        (replace(CONFIG, widths=(8, 9)), weights),
    ]
    for name, array in weights.items():
        other = array.copy()
        other.flat[-1] = np.nextafter(other.flat[-1], np.float32(9))
        changed.append((CONFIG, {**weights, name: other}))
        changed.append((CONFIG, {**weights, name: array[None]}))
    marks = {saved_models.fingerprint(config, arrays) for config, arrays in changed}
    assert len(marks) == len(changed)
    assert saved_models.fingerprint(CONFIG, weights) not in marks
    backwards = dict(reversed(weights.items()))
    assert saved_models.fingerprint(CONFIG, backwards) == saved_models.fingerprint(CONFIG, weights)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "weights.safetensors"])
def test_a_missing_file_is_named(saved: SavedModel, name: str) -> None:
    (saved.path / name).unlink()
    with raises(ModelError, saved.path, name, "missing", hint=""):
        saved_models.load(saved.path)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "weights.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_truncated_file_is_named(saved: SavedModel, name: str, keep: float) -> None:
    file = saved.path / name
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    with raises(ModelError, file, hint=""):
        saved_models.load(saved.path)


@pytest.mark.parametrize("text", ["[1]", "3", '"x"', "null"])
def test_json_that_is_no_object_is_named(saved: SavedModel, text: str) -> None:
    (saved.path / "config.json").write_text(text)
    with raises(ModelError, saved.path / "config.json", "read", hint=""):
        saved_models.load(saved.path)


def test_one_flipped_bit_is_found(saved: SavedModel) -> None:
    file = saved.path / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with raises(ModelError, saved.path, saved.fingerprint[:8], hint=""):
        saved_models.load(saved.path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": 2}, "version"),
        ({"image_size": [3, 3]}, "3×3"),
        ({"image_size": [3]}, "config.json"),
        ({"depth": 3}, "depth"),
        ({"dim": 5}, "fingerprint"),
    ],
)
def test_a_config_that_was_changed_is_named(saved: SavedModel, change: dict[str, object], named: str) -> None:
    file = saved.path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with raises(ModelError, saved.path, named, hint=""):
        saved_models.load(saved.path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, weights: dict[str, np.ndarray], value: float
) -> None:
    broken = {**weights, "encoder.dense.bias": np.full(CONFIG.dim, value, np.float32)}
    with raises(ModelError, "encoder.dense.bias", "finite", hint=""):
        saved_models.save(tmp_path / "models", CONFIG, broken, {}, PNG)
    assert not (tmp_path / "models").exists()


def test_saving_again_replaces(saved: SavedModel) -> None:
    (saved.path / "README.md").write_text("spoilt")
    again = saved_models.save(saved.path.parent, saved.config, saved.weights, {"seconds": 2.0}, PNG)
    assert again.path == saved.path
    assert saved_models.load(saved.path).metrics["seconds"] == 2
    assert "spoilt" not in (saved.path / "README.md").read_text()
    assert [file.name for file in saved.path.parent.iterdir()] == [saved.path.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from retrieval.model import saved_models
folder, left = Path(sys.argv[1]), [int(sys.argv[2])]

def hook(event, arguments):
    if event == "os.rename":
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

saved = saved_models.load(folder)
sys.addaudithook(hook)
saved_models.save(folder.parent, saved.config, saved.weights, {"seconds": 2.0}, b"")
"""
"""Saves a model again, and is killed where it would rename a file for the second argument's time."""


@pytest.mark.parametrize("number", [1, 2, 6])
def test_killed_while_it_replaces(saved: SavedModel, number: int) -> None:
    arguments = [sys.executable, "-c", KILLED, str(saved.path), str(number)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -9, done.stderr
    assert saved_models.load(saved_models.find(saved.path.parent, saved.fingerprint)).fingerprint == saved.fingerprint
    saved_models.save(saved.path.parent, saved.config, saved.weights, {"seconds": 3.0}, PNG)
    assert saved_models.load(saved.path).metrics["seconds"] == 3


def test_at_every_moment_there_is_a_model_to_load(saved: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked after each rename, and with each rename failing in turn."""
    moved, fails = 0, 0

    def watched(honest: Callable[..., None]) -> Callable[..., None]:
        def move(*arguments: object, **options: object) -> None:
            nonlocal moved
            moved += 1
            if moved == fails:
                raise OSError(5, "Input/output error")
            honest(*arguments, **options)
            assert saved_models.load(saved.path).fingerprint == saved.fingerprint

        return move

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(os, name, watched(getattr(os, name)))
        while True:
            moved, fails, failure = 0, fails + 1, ""
            try:
                saved_models.save(saved.path.parent, saved.config, saved.weights, {"seconds": float(fails)}, PNG)
            except ModelError as error:
                failure = str(error)
            assert saved_models.load(saved.path).fingerprint == saved.fingerprint
            if not failure:
                break
            assert "Input/output error" in failure
    assert moved == fails - 1 > 0
    assert saved_models.load(saved.path).metrics["seconds"] == fails
    assert [file.name for file in saved.path.parent.iterdir()] == [saved.path.name]


def test_files_are_synced_before_they_are_renamed(
    tmp_path: Path, weights: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power cut could leave a default model with empty files."""
    synced: set[tuple[int, int]] = set()
    unsynced: list[str] = []
    fsync, rename = os.fsync, os.rename

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(inode(os.fstat(descriptor)))

    def move(source: Path, target: Path) -> None:
        unsynced.extend(str(p) for p in (source, *Path(source).rglob("*")) if inode(p.stat()) not in synced)
        synced.discard(inode(Path(target).parent.stat()))
        rename(source, target)

    def inode(stat: os.stat_result) -> tuple[int, int]:
        return stat.st_dev, stat.st_ino

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", move)
    saved = saved_models.save(tmp_path / "models", CONFIG, weights, {}, PNG)
    assert unsynced == []
    assert inode(saved.path.parent.stat()) in synced, "and the name itself"


def test_a_full_disk_leaves_the_old_model(saved: SavedModel) -> None:
    models = saved.path.parent
    saved_models.set_default(saved)
    with file_size_limit(1000), raises(ModelError, saved.path, "File too large", hint=""):
        saved_models.save(models, saved.config, saved.weights, {"seconds": 2.0}, PNG)
    assert sorted(file.name for file in models.iterdir()) == sorted([saved.path.name, "default"])
    assert saved_models.load(saved_models.find(models, None)).metrics == saved.metrics


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, weights: dict[str, np.ndarray]) -> None:
    (tmp_path / "file").write_text("in the way")
    with raises(ModelError, tmp_path / "file" / "models", "Not a directory", hint=""):
        saved_models.save(tmp_path / "file" / "models", CONFIG, weights, {}, PNG)


def test_find(saved: SavedModel) -> None:
    models = saved.path.parent
    for model in (str(saved.path), saved.fingerprint, saved.fingerprint[:8], saved.fingerprint[:4]):
        assert saved_models.find(models, model) == saved.path
    with raises(ModelError, models, hint="retrieval train SOURCE"):
        saved_models.find(models, None)
    saved_models.set_default(saved)
    assert saved_models.find(models, None) == saved.path


@pytest.mark.parametrize("model", ["feedfeed", "abc", "*", "../*", "no/such/folder", ""])
def test_a_model_that_is_not_there(saved: SavedModel, model: str) -> None:
    with raises(ModelError, model, "no", saved.path.parent, option="model", hint=saved.fingerprint[:8]):
        saved_models.find(saved.path.parent, model)


def test_no_model_at_all(tmp_path: Path) -> None:
    with raises(ModelError, "feedfeed", tmp_path / "models", option="model", hint="none"):
        saved_models.find(tmp_path / "models", "feedfeed")


def test_a_prefix_of_two_models_is_ambiguous(saved: SavedModel) -> None:
    models = saved.path.parent
    first, _ = save_as(models, "aaaa111100000000", saved), save_as(models, "aaaa222200000000", saved)
    assert saved_models.find(models, "aaaa1") == first
    with raises(ModelError, "aaaa", "more", models, option="model", hint="aaaa1111, aaaa2222"):
        saved_models.find(models, "aaaa")


def test_the_default_moves_in_one_step(saved: SavedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    models = saved.path.parent
    other = replace(saved, path=save_as(models, "aaaa111100000000", saved))
    saved_models.set_default(saved)

    def interrupted(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with raises(ModelError, models / "default", "No space left on device", hint=""):
            saved_models.set_default(other)
    assert saved_models.default(models) == saved.path  # all but the last step changes nothing
    saved_models.set_default(other)
    assert saved_models.default(models) == other.path


def test_a_model_is_copied_completely(saved: SavedModel, tmp_path: Path) -> None:
    models = tmp_path / "elsewhere" / "models"
    brought = saved_models.copy_to_home(models, saved)
    assert (brought.path, brought.fingerprint) == (models / saved.fingerprint[:16], saved.fingerprint)
    assert sorted(file.name for file in brought.path.iterdir()) == FILES
    assert all((brought.path / name).read_bytes() == (saved.path / name).read_bytes() for name in FILES)
    times = [(brought.path / name).stat().st_mtime_ns for name in FILES]
    assert (
        saved_models.copy_to_home(models, saved).path == saved_models.copy_to_home(models, brought).path == brought.path
    )
    assert [(brought.path / name).stat().st_mtime_ns for name in FILES] == times, "it was there"
    assert saved_models.default(models) is None


def test_a_damaged_model_is_replaced_by_the_copy(saved: SavedModel, tmp_path: Path) -> None:
    models = tmp_path / "elsewhere" / "models"
    path = saved_models.copy_to_home(models, saved).path
    for name in ("weights.safetensors", "config.json", "metrics.json"):
        (path / name).write_bytes(b"{}")
        with pytest.raises(ModelError):
            saved_models.load_by_fingerprint(models, saved.fingerprint)
        assert saved_models.copy_to_home(models, saved).fingerprint == saved.fingerprint
    (path / "config.json").unlink()
    assert saved_models.copy_to_home(models, saved).path == path


def test_a_full_disk_leaves_no_partial_copy(saved: SavedModel, tmp_path: Path) -> None:
    models = tmp_path / "elsewhere" / "models"
    with file_size_limit(1000), raises(ModelError, models / saved.fingerprint[:16], "File too large", hint=""):
        saved_models.copy_to_home(models, saved)
    assert list(models.iterdir()) == []
    assert saved_models.load_by_fingerprint(models, saved.fingerprint) is None


def test_a_folder_of_another_models_name(saved: SavedModel) -> None:
    mark = "aaaa1111" * 8
    save_as(saved.path.parent, mark[:16], saved)
    with raises(ModelError, mark[:16], saved.fingerprint[:8], "aaaa1111", hint="copy"):
        saved_models.load_by_fingerprint(saved.path.parent, mark)
