"""A trained model on disk: a folder with config, weights, metrics, a model card and reconstructions. No pickle."""

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
"""The file in the models' folder that holds the name of the default model's folder."""
OPTIONAL_FILES = ("training.jsonl", "README.md", "reconstructions.png")
"""Files of a model that are not needed to load it."""


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model as stored on disk.

    weights: float32 arrays by dotted name
    fingerprint: SHA-256 (hex) over config and weights
    metrics: what training measured and chose
    path: the model's folder
    """

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
    """Write a model's folder, named by its fingerprint, completely or not at all; returns the saved model.

    models: the folder of all models
    reconstructions: a PNG of images and their reconstructions
    history: the metrics of each round of training
    Raises ModelError when a weight is not finite, or when the folder cannot be written.
    """
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{name} is not finite, so the model is not saved", hint="train again")
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
    """Write files to the folder of a model's fingerprint and sync them; returns the folder. Raises ModelError.

    A new folder appears complete or not at all. In an existing folder the files are replaced one by one: its config and
    weights are the same, because the fingerprint is, so the model can be loaded at any moment, even after a crash.
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
    """The same model in the models' folder, where searches look for it; copied there if it is missing or damaged.

    The copy is written completely, synced, and loaded again. Raises ModelError when that fails.
    """
    with contextlib.suppress(ModelError):  # damaged: the copy replaces it
        if (there := load_by_fingerprint(models, model.fingerprint)) is not None:
            return there
    beside = {name: (model.path / name).read_bytes() for name in OPTIONAL_FILES if (model.path / name).is_file()}
    write_files(models, model.fingerprint, beside | required_files(model.config, model.weights, model.metrics))
    brought = load_by_fingerprint(models, model.fingerprint)
    if brought is None:
        raise ModelError(
            f"{models}: model {model.fingerprint[:8]} was removed while it was copied",
            hint="run the same command again",
        )
    return brought


def required_files(config: ModelConfig, weights: dict[str, np.ndarray], metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """The files that are needed to load a model, by name; metrics.json, which holds the fingerprint, comes last."""
    described = {"config.json": {"format": FORMAT, **config.to_json()}, "metrics.json": metrics}
    texts = {name: f"{to_json_text(content, indent=2)}\n".encode() for name, content in described.items()}
    in_order = {name: np.asarray(array, order="C") for name, array in weights.items()}  # safetensors ignores strides
    return {"weights.safetensors": safetensors.numpy.save(in_order), **texts}


def load(path: Path) -> SavedModel:
    """Read a model's folder and check its fingerprint; raises ModelError naming the file that is wrong."""
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
    """The folder of the model that `--model` names.

    models: the folder of all models
    model: a path, the first characters of a fingerprint (4 or more), or None for the default model
    Raises ModelError when no model or more than one matches.
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
    """The folder of the model with that fingerprint; None if there is none."""
    folder = models / fingerprint[:16]
    return folder if (folder / "config.json").is_file() else None


def load_by_fingerprint(models: Path, fingerprint: str) -> SavedModel | None:
    """The model of that fingerprint; None if there is none. Raises ModelError when its folder is damaged."""
    if (path := folder_of(models, fingerprint)) is None:
        return None
    model = load(path)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"{path} holds model {model.fingerprint[:8]}, not {fingerprint[:8]}",
            hint=f"copy the folder of {fingerprint[:8]} there again",
        )
    return model


def describe_sight(models: Path, fingerprint: str | None) -> dict[str, Any]:
    """What a model sees (`trunk`), and the share of drawings that decided that (`drawn_share`).

    Empty for a model that is not there or is damaged; `doctor` says what is wrong with it.
    """
    model = None
    with contextlib.suppress(ModelError):
        model = load_by_fingerprint(models, fingerprint) if fingerprint else None
    if model is None:
        return {}
    share = model.metrics.get("drawn_share")
    return {"trunk": model.config.trunk or "none"} | ({} if share is None else {"drawn_share": share})


def default(models: Path) -> Path | None:
    """The default model's folder; None if there is none yet."""
    try:
        return models / Path((models / DEFAULT).read_text().strip()).name
    except FileNotFoundError:
        return None


def set_default(model: SavedModel) -> None:
    """Make a model the default, by one atomic replacement. Raises ModelError when the file cannot be written."""
    marker = model.path.parent / DEFAULT
    try:
        replace_file(marker, f"{model.path.name}\n".encode())
    except OSError as error:
        raise write_error(marker, error, ModelError, hint=RERUN) from error


def model_card(config: ModelConfig, metrics: dict[str, Any]) -> str:
    """The model card, Markdown: what the model is, how it was trained, its metrics and warnings."""
    height, width = config.image_size
    network = {"trunk": config.trunk} if config.trunk else {"widths": config.widths, "blocks": config.blocks}
    kind = "small network on one that has seen a million photographs," if config.trunk else "convolutional autoencoder"
    how = "cropped" if config.fit == "crop" else "stretched"
    numbers = {"network": network, **metrics}
    warnings = "".join(f"\n**Warning**: {warning}.\n" for warning in numbers.pop("warnings", ()))
    rows = "\n".join(f"| {name.replace('_', ' ')} | {format_metric(value)} |" for name, value in numbers.items())
    return f"""# Model {metrics["fingerprint"][:8]}

A {kind} trained by `retrieval train`, without labels: {height}×{width}×{config.channels} images
to embeddings of {config.dim} dimensions. Images of another aspect ratio are {how}.
`reconstructions.png` shows images of the training set above their reconstructions; `training.jsonl` has the metrics of
each round of training.
{warnings}
| | |
|---|---|
{rows}
"""


def format_metric(value: Any) -> str:
    """A metric as text for the card."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_metric(part)}" for name, part in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return "-".join(map(format_metric, value))
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(file: Path, parse: Callable[[bytes], T]) -> T:
    """Read and parse a file of a model; raises ModelError naming the file."""
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
