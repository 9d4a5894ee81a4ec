"""Plain values that travel between the modules: points, hits, and what a collection says of itself."""

import dataclasses
import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jaxtyping import Float32
from numpy import array, empty, float32, ndarray

from retrieval.errors import NotOurs
from retrieval.schema.index_config import DEFAULT, Layout

Payload = dict[str, Any]


class Field(NamedTuple):
    """What a field of the payload holds, whole numbers among `number`, and whether the engines keep an index of it."""

    kind: Literal["text", "number", "time", "truth"]
    indexed: bool


STALE = "stale"
"""Field that is true for a point whose image has changed since and cannot be read any more; others do not have it."""

FIELDS = {
    "label": Field("text", indexed=True),
    "source": Field("text", indexed=True),
    "path": Field("text", indexed=True),
    "sha256": Field("text", indexed=True),
    "bytes": Field("number", indexed=False),
    "mtime_ns": Field("number", indexed=False),
    "width": Field("number", indexed=True),
    "height": Field("number", indexed=True),
    "ingested_at": Field("time", indexed=True),
    "image_url": Field("text", indexed=False),
    STALE: Field("truth", indexed=True),
}
"""The fields of a point's payload; others come from the user."""

CLOCKS_DIFFER = 300.0
"""Seconds, at most, between two machines whose clocks are looked after; Kerberos allows as much."""
_NAMESPACE = uuid.NAMESPACE_URL.bytes
_VARIANT = {digit: f"{8 | int(digit, 16) & 3:x}" for digit in "0123456789abcdef"}


def full_name(source: str, key: str) -> str:
    """What an image is called wherever more than one source may be meant: `<source>/<key>`."""
    return f"{source}/{key}"


def point_id(source: str, key: str) -> str:
    """UUIDv5 (URL namespace) of `<source>/<key>`: the same image is the same point wherever its root lies.

    As RFC 9562 makes it of a SHA-1; the standard library's own takes three times as long, for each image listed.

    >>> point_id("digits", "7/0.png") == str(uuid.uuid5(uuid.NAMESPACE_URL, "digits/7/0.png"))
    True
    """
    sha = hashlib.sha1(_NAMESPACE + full_name(source, key).encode(), usedforsecurity=False).hexdigest()
    return f"{sha[:8]}-{sha[8:12]}-5{sha[13:16]}-{_VARIANT[sha[16]]}{sha[17:20]}-{sha[20:32]}"


def is_id(name: str) -> bool:
    """Whether it is written as a point's id is."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def utc_now() -> str:
    """ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def seconds_since(time: str) -> float | None:
    """Since an ISO 8601 time with its zone; None where that is not known: the time lies in the future, or is none.

    Clocks of two machines may differ by CLOCKS_DIFFER, so that what is only that far ahead is of this moment.

    >>> (seconds_since("2000-01-01T00:00:00+00:00") or 0) > 8e8, seconds_since("9999-01-01T00:00:00+00:00")
    (True, None)
    """
    try:
        seconds = (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(time)).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(0.0, seconds) if seconds >= -CLOCKS_DIFFER else None


@dataclass(frozen=True, slots=True)
class Point:
    """One image in a collection. `code` is None where the codes were not asked for."""

    id: str
    code: Float32[ndarray, " d"] | None
    payload: Payload


def codes_of(points: Sequence[Point]) -> Float32[ndarray, "n d"]:
    """The points' codes as the rows of an array; 0×0 where there are no points."""
    return array([point.code for point in points], float32) if points else empty((0, 0), float32)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; `distance` is Euclidean, smaller is nearer, 0 is the same code.

    percentile: share, in [0, 100], of the collection's pictures that are nearer to their own nearest; None where that
    is not known · copies: `source/path` of other pictures with the very same content.
    """

    id: str
    distance: float
    payload: Payload
    percentile: float | None = None
    copies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return full_name(self.source, self.path)

    @property
    def source(self) -> str:
        return str(self.payload["source"])

    @property
    def path(self) -> str:
        return str(self.payload["path"])

    @property
    def label(self) -> str | None:
        return self.payload.get("label")

    @property
    def stale(self) -> bool:
        return self.payload.get(STALE) is True

    def to_json(self) -> dict[str, Any]:
        copies = {"copies": list(self.copies)} if self.copies else {}
        return {"id": self.id, "distance": self.distance, "percentile": self.percentile, **self.payload, **copies}


OWN = (
    *("model", "dim", "image_size", "channels", "created", "evaluation", "neighbours", "neighbours_of"),
    *("layout", "state", "distance", "format", "left"),
)
"""Fields of a collection's metadata that follow from its codes and its making, and are no other collection's."""


@dataclass(frozen=True, slots=True)
class Root:
    """What tells a source's root from another of the same name.

    path: absolute path (a single image's folder), URL or data set name · host: where that path is one, and inode:
    `device:inode` of a folder there · both empty for what is no file of a machine, and where they are not known.
    """

    path: str
    host: str = ""
    inode: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Root":
        """Read back; raises KeyError for one without a path."""
        return cls(data["path"], data.get("host") or "", data.get("inode") or "")


@dataclass(frozen=True, slots=True)
class CollectionMeta:
    """What a collection says of itself; stored as the collection's metadata.

    model: fingerprint of the model whose codes it holds · image_size: (height, width) the model takes ·
    sources: short name → what was given on the command line (absolute path, URL or data set name) · roots: short name →
    what tells its root from others, empty where an older version wrote it · labelled: names of those whose folders'
    names are labels · created: UTC, ISO 8601 · neighbours: distances from its pictures to their
    nearest, quantiles 0 to 100, as measured when it held `neighbours_of` points · public_url: where the service shows
    its pictures, the start of every `image_url` · layout: what was asked of the server about peers and index; a
    re-index asks for the same · state: `ready` once people search it; until then `filling`, or `refused` by the gate of
    a reindex, or a `trial` that `tune` measures; `rolling-back` while a rollback leaves it, `rolled-back` after that ·
    left: collections that a rollback went back from to this one, the
    newest first; what the user said of images that only they hold is found there.
    """

    model: str
    dim: int
    image_size: tuple[int, int]
    channels: int
    created: str
    sources: Mapping[str, str] = field(default_factory=dict)
    roots: Mapping[str, Root] = field(default_factory=dict)
    labelled: tuple[str, ...] = ()
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    neighbours: tuple[float, ...] = ()
    neighbours_of: int = 0
    public_url: str | None = None
    layout: Layout = DEFAULT
    state: Literal["ready", "filling", "refused", "rolling-back", "rolled-back", "trial"] = "ready"
    distance: str = "Euclid"
    format: int = 1
    left: tuple[str, ...] = ()

    def in_place_of(self, other: "CollectionMeta") -> "CollectionMeta":
        """What follows from this collection itself (OWN); all else, the user's, as another one has it now."""
        return dataclasses.replace(other, **{name: getattr(self, name) for name in OWN})

    def to_json(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "layout": self.layout.to_json()}

    @classmethod
    def from_json(cls, collection: str, data: Mapping[str, Any] | None) -> "CollectionMeta":
        """Read metadata back; raises NotOurs when the collection was not made by this program."""
        fields = {f.name for f in dataclasses.fields(cls)}
        try:
            known = {k: v for k, v in (data or {}).items() if k in fields}
            lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
            roots = {name: Root.from_json(root) for name, root in (known.get("roots") or {}).items()}
            return cls(**{**known, **lists, "roots": roots, "layout": Layout.from_json(known.get("layout") or {})})
        except (KeyError, TypeError) as error:
            raise NotOurs(
                f"collection {collection} carries no metadata of retrieval's ({error}): it was made by something else",
                hint="choose another alias",
            ) from error
