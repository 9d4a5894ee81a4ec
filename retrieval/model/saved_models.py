"""A trained model on disk: a folder of config, weights, numbers, a card and a picture. No pickle anywhere."""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from retrieval.errors import ModelError
from retrieval.model.config import ModelConfig
from retrieval.util.files import RERUN, replace_file, sync_folder, to_json_text, write_error, write_synced

T = TypeVar("T")

FORMAT = 1
DEFAULT = "default"
"""File in the models' folder that names the default model's folder."""
OPTIONAL_FILES = ("training.jsonl", "README.md", "reconstructions.png")
"""Files beside a model that it can be loaded without."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model as it lies on disk; `weights` by dotted name, `fingerprint` a SHA-256 over config and weights."""

    config: ModelConfig
    weights: dict[str, np.ndarray]
    fingerprint: str
    metrics: dict[str, Any]
    path: Path


def fingerprint(config: ModelConfig, weights: dict[str, np.ndarray]) -> str:
    """SHA-256 (hex) over the config as canonical JSON, and each weight's name, shape and float32 bytes in order."""
    digest = hashlib.sha256(json.dumps({"format": FORMAT, **config.to_json()}, sort_keys=True).encode())
    for name, array in sorted(weights.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array, np.float32).data)
    return digest.hexdigest()


def save(
    models: Path,
    config: ModelConfig,
    weights: dict[str, np.ndarray],
    metrics: dict[str, Any],
    reconstructions: bytes,
    history: Sequence[Mapping[str, float]] = (),
) -> SavedModel:
    """Write the model's folder under its fingerprint, all of it or nothing; returns what was saved.

    reconstructions: a PNG of images beside their reconstructions · history: the numbers of each round of training.
    Raises ModelError when a weight is not finite or the disk refuses.
    """
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{name} is not finite: such a model is not saved", hint="train again")
    mark = fingerprint(config, weights)
    metrics = {"fingerprint": mark, **metrics}
    for_people = {
        "training.jsonl": "".join(f"{to_json_text(line)}\n" for line in history).encode(),
        "README.md": model_card(config, metrics).encode(),
        "reconstructions.png": reconstructions,
    }
    target = write_files(models, mark, for_people | required_files(config, weights, metrics))
    return SavedModel(config, weights, mark, metrics, target)


def write_files(models: Path, mark: str, files: Mapping[str, bytes]) -> Path:
    """A model's files in the folder of its fingerprint, synced; returns the folder. Raises ModelError.

    A new folder comes whole or not at all. In one that is there each file is replaced by itself: its config and weights
    are the same, for the fingerprint says so, so that the model can be loaded at every moment, whatever fails.
    """
    target = models / mark[:16]
    try:
        models.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            for name, data in files.items():
                replace_file(target / name, data)
            return target
        with tempfile.TemporaryDirectory(dir=models, prefix=".saving-") as temporary:
            folder = Path(temporary) / target.name
            folder.mkdir()
            for name, data in files.items():
                write_synced(folder / name, data)
            sync_folder(folder)
            folder.rename(target)
            sync_folder(models)
    except OSError as error:
        raise write_error(target, error, ModelError, hint=RERUN) from error
    return target


def copy_to_home(models: Path, model: SavedModel) -> SavedModel:
    """The model as it lies in the models' folder, where those who search look for it; a copy of it unless it is there.

    The copy is whole, synced and loaded again before it is returned. Raises ModelError when that cannot be.
    """
    with contextlib.suppress(ModelError):  # damaged: the copy takes its place
        if (there := load_of(models, model.fingerprint)) is not None:
            return there
    beside = {name: (model.path / name).read_bytes() for name in OPTIONAL_FILES if (model.path / name).is_file()}
    write_files(models, model.fingerprint, beside | required_files(model.config, model.weights, model.metrics))
    brought = load_of(models, model.fingerprint)
    if brought is None:
        raise ModelError(f"{models}: model {model.fingerprint[:8]} is gone again", hint="run the same command again")
    return brought


def required_files(config: ModelConfig, weights: dict[str, np.ndarray], metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """The files without which a model cannot be loaded, by name; the one that says what they have to be comes last."""
    described = {"config.json": {"format": FORMAT, **config.to_json()}, "metrics.json": metrics}
    texts = {name: f"{to_json_text(content, indent=2)}\n".encode() for name, content in described.items()}
    return {"weights.safetensors": safetensors.numpy.save(weights), **texts}


def load(path: Path) -> SavedModel:
    """Read a model's folder and check it against its fingerprint; raises ModelError naming the file that is wrong."""
    data = _read(path / "config.json", _json_object)
    metrics = _read(path / "metrics.json", _json_object)
    weights = _read(path / "weights.safetensors", safetensors.numpy.load)
    if data.pop("format", None) != FORMAT:
        raise ModelError(f"{path} was made by another version of retrieval", hint="train again")
    try:
        config = ModelConfig.from_json(data)
    except ModelError as error:
        raise ModelError(f"{path / 'config.json'}: {error}", hint="train again or restore it") from error
    mark, recorded = fingerprint(config, weights), metrics.get("fingerprint")
    if mark != recorded:
        raise ModelError(
            f"{path} is damaged: its fingerprint is {mark[:8]}, not {str(recorded)[:8]}",
            hint="train again or restore it",
        )
    return SavedModel(config, weights, mark, metrics, path)


def find(models: Path, model: str | None) -> Path:
    """The folder of the model that `--model` means: a path, the start of a fingerprint, or None for the default.

    Raises ModelError when there is none or more than one.
    """
    if model is None:
        return default(models) or _none_yet(models)
    if (Path(model) / "config.json").is_file():
        return Path(model)
    found = sorted(models.glob(f"{model[:16]}*")) if len(model) >= 4 and model.isalnum() else []
    if len(found) != 1:
        known = ", ".join(sorted(p.name[:8] for p in models.glob("[0-9a-f]*"))) or "none"
        many = "more than one model" if found else "no model"
        raise ModelError(f"{model}: {many} of that name in {models}", option="model", hint=f"there are {known}")
    return found[0]


def folder_of(models: Path, fingerprint: str) -> Path | None:
    """The folder of the model with that fingerprint; None when it is not there."""
    folder = models / fingerprint[:16]
    return folder if (folder / "config.json").is_file() else None


def load_of(models: Path, fingerprint: str) -> SavedModel | None:
    """The model of that fingerprint; None when it is not there. Raises ModelError when it is damaged, or another."""
    if (path := folder_of(models, fingerprint)) is None:
        return None
    model = load(path)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"{path} holds model {model.fingerprint[:8]}, not {fingerprint[:8]}",
            hint=f"copy the folder of {fingerprint[:8]} there again",
        )
    return model


def default(models: Path) -> Path | None:
    """The default model's folder; None when there is none yet."""
    try:
        return models / Path((models / DEFAULT).read_text().strip()).name
    except FileNotFoundError:
        return None


def set_default(model: SavedModel) -> None:
    """Make a model the one that is used where none is named; one atomic replacement.

    Raises ModelError when the disk refuses.
    """
    marker = model.path.parent / DEFAULT
    try:
        replace_file(marker, f"{model.path.name}\n".encode())
    except OSError as error:
        raise write_error(marker, error, ModelError, hint=RERUN) from error


def model_card(config: ModelConfig, metrics: dict[str, Any]) -> str:
    """The card beside the model, Markdown: what it is, how it came about, its numbers, and what to beware of."""
    height, width = config.image_size
    numbers = {"network": {"widths": config.widths, "blocks": config.blocks}, **metrics}
    warnings = "".join(f"\n**Warning**: {warning}.\n" for warning in numbers.pop("warnings", ()))
    rows = "\n".join(f"| {name.replace('_', ' ')} | {format_value(value)} |" for name, value in numbers.items())
    return f"""# Model {metrics["fingerprint"][:8]}

A convolutional autoencoder trained by `retrieval train`, without labels: {height}×{width}×{config.channels} images
to codes of {config.dim} numbers. `reconstructions.png` shows images of the training set above what the decoder
makes of their codes; `training.jsonl` has the numbers of each round of training.
{warnings}
| | |
|---|---|
{rows}
"""


def format_value(value: Any) -> str:
    """A value of the metrics for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(part)}" for name, part in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "-".join(map(format_value, value))
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(file: Path, parse: Callable[[bytes], T]) -> T:
    """What a file of a model holds; raises ModelError naming the file."""
    try:
        return parse(file.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(
            f"{file.parent} is not a model: {file.name} is missing", hint="train again or restore it"
        ) from error
    except (OSError, TypeError, ValueError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}", hint="train again or restore it") from error


def _json_object(data: bytes) -> dict[str, Any]:
    return dict(json.loads(data))


def _none_yet(models: Path) -> Path:
    raise ModelError(
        f"no model in {models} yet",
        hint="make one with: retrieval train SOURCE, or with the first ingest: retrieval ingest SOURCE --train",
    )
