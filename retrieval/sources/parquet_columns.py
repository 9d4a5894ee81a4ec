"""Find a table's columns of images, labels and fields, by type, by name, and by Hugging Face's metadata."""

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as types

from retrieval.errors import SourceError

IMAGE_NAMES = ("image", "img")
"""Names that come first if several columns could hold images."""
LABEL_NAME = "label"


@dataclass(frozen=True, slots=True)
class Columns:
    """Dotted names of a table's columns.

    image: the image files
    path: the images' paths; None if there are none
    label: the labels; None if there are none
    classes: class names, if the labels are numbers
    """

    image: str
    path: str | None
    label: str | None
    classes: tuple[str, ...]

    def label_of(self, value: object) -> str | None:
        """The class's name, or the value as text; None for null and for -1, which marks an unlabelled image."""
        value = name_class(value, self.classes)
        return None if value is None else str(value)


def find_columns(spec: str, schema: pa.Schema) -> Columns:
    """Find the columns; raises SourceError if no column can hold images, or several can and none is named for it."""
    features = _features(schema)
    could = {field.name: field.type for field in schema if _holds_bytes(field.type)}
    named = [name for name in IMAGE_NAMES if name in could]
    marked = [name for name in could if _kind(features.get(name)) == "Image"]
    if not could:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
        raise SourceError(
            f"{spec} has no column of images (bytes, or structs with a field `bytes`); its columns: {columns}"
        )
    best = named or marked or list(could)
    if not named and len(best) > 1:
        raise SourceError(
            f"{spec}: the images may be in {' or '.join(best)}",
            hint=f"rename the column of images to {IMAGE_NAMES[0]}",
        )
    image = best[0]
    struct = could[image] if types.is_struct(could[image]) else None
    has_path = struct is not None and struct.get_field_index("path") >= 0 and _is_text(struct.field("path").type)
    label = next((name for name in (LABEL_NAME, *_class_labels(features)) if _is_label(schema, name)), None)
    classes = _class_names(features.get(label)) if label else ()
    return Columns(f"{image}.bytes" if struct else image, f"{image}.path" if has_path else None, label, classes)


def find_fields(schema: pa.Schema, columns: Columns) -> dict[str, tuple[str, ...]]:
    """The other columns of texts, numbers and truth values → class names, if they are numbers of classes."""
    features, others = _features(schema), {columns.image, columns.label}
    kinds = {field.name: field.type for field in schema if field.name not in others}
    return {name: _class_names(features.get(name)) for name, kind in kinds.items() if _is_plain(kind)}


def name_class(value: object, classes: tuple[str, ...]) -> object:
    """The class's name; None for -1, which marks an image without one; the value itself if there are no classes."""
    if classes and value == -1:
        return None
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value


def _holds_bytes(kind: pa.DataType) -> bool:
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_label(schema: pa.Schema, name: str) -> bool:
    index = schema.get_field_index(name)
    kind = schema.field(index).type if index >= 0 else pa.null()
    return bool(types.is_integer(kind) or types.is_dictionary(kind)) or _is_text(kind)


def _is_plain(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)) or _is_text(kind)


def _class_names(feature: object) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _class_labels(features: dict[str, Any]) -> list[str]:
    return [name for name, feature in features.items() if _kind(feature) == "ClassLabel"]


def _kind(feature: object) -> str | None:
    kind = feature.get("_type") if isinstance(feature, dict) else None
    return kind if isinstance(kind, str) else None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Column → its type as Hugging Face's `datasets` records it in the schema's metadata; {} if it did not write it."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
