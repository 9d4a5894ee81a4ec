"""Plain values that the modules exchange: points, hits and a collection's metadata."""

import dataclasses
import datetime as dt
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from numpy import array, empty, float32, ndarray

from retrieval.errors import NotOurs
from retrieval.schema.arrays import Float32
from retrieval.schema.image_shape import Fit, ImageShape
from retrieval.schema.index_config import DEFAULT, Layout
from retrieval.schema.verdict import Verdict

Payload = dict[str, Any]


class Field(NamedTuple):
    """A field of the payload: the kind of its values, and whether the engines index it."""

    kind: Literal["text", "number", "time", "truth"]
    indexed: bool


STALE = "stale"
"""Payload field: true for a point whose image has changed since and is now unreadable; absent from other points."""

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
"""The fields of a point's payload; users may add others."""

CLOCKS_DIFFER = 300.0
"""Maximum difference between the clocks of two well-kept machines, in seconds; Kerberos allows as much."""
_NAMESPACE = uuid.NAMESPACE_URL.bytes
_VARIANT = {digit: f"{8 | int(digit, 16) & 3:x}" for digit in "0123456789abcdef"}


def full_name(source: str, key: str) -> str:
    """An image's name across sources: `<source>/<key>`."""
    return f"{source}/{key}"


def payload_name(payload: Mapping[str, Any]) -> str:
    """The full name of the image that a payload describes."""
    return full_name(payload["source"], payload["path"])


def point_id(source: str, key: str) -> str:
    """UUIDv5 (URL namespace) of `<source>/<key>`: an image keeps its point when its source is moved.

    Computed from the SHA-1 as in RFC 9562; `uuid.uuid5` takes three times as long, for each image listed.

    >>> point_id("digits", "7/0.png") == str(uuid.uuid5(uuid.NAMESPACE_URL, "digits/7/0.png"))
    True
    """
    sha = hashlib.sha1(_NAMESPACE + full_name(source, key).encode(), usedforsecurity=False).hexdigest()
    return f"{sha[:8]}-{sha[8:12]}-5{sha[13:16]}-{_VARIANT[sha[16]]}{sha[17:20]}-{sha[20:32]}"


def is_id(name: str) -> bool:
    """Whether the text has the form of a point's id."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def utc_now() -> str:
    """The time now in UTC, ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def seconds_since(time: str) -> float | None:
    """Seconds since an ISO 8601 time with a zone; None for text that is not a time, or a time in the future.

    A time at most CLOCKS_DIFFER ahead counts as now, because clocks of two machines may differ by that much.

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
    """One image in a collection. `code` is None if codes were not requested."""

    id: str
    code: Float32[ndarray, " d"] | None
    payload: Payload

    @property
    def name(self) -> str:
        return payload_name(self.payload)


def codes_of(points: Sequence[Point]) -> Float32[ndarray, "n d"]:
    """The points' codes as the rows of an array; 0×0 where there are no points."""
    return array([point.code for point in points], float32) if points else empty((0, 0), float32)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; `distance` is Euclidean, smaller is nearer, 0 is the same code.

    percentile: share in [0, 100] of the collection's images that are nearer to their own nearest one; None if unknown
    copies: `source/path` of other images with the same content
    """

    id: str
    distance: float
    payload: Payload
    percentile: float | None = None
    copies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return payload_name(self.payload)

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


OWN_FIELDS = (
    *("model", "dim", "image_size", "channels", "fit", "created", "evaluation", "verdict", "neighbours"),
    *("neighbours_of", "layout", "state", "distance", "format", "left"),
)
"""Fields of the metadata that depend on the collection's own codes and creation."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where a source's files are; tells it from another source of the same name.

    path: absolute path (a single image's folder), URL or data set name
    host: the machine that the path is on; empty for URLs and data sets, or if unknown
    inode: `device:inode` of a folder; empty for anything else, or if unknown
    """

    path: str
    host: str = ""
    inode: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Root":
        """Read a stored root; raises KeyError if it has no path."""
        return cls(data["path"], data.get("host") or "", data.get("inode") or "")


@dataclass(frozen=True, slots=True)
class CollectionMeta:
    """A collection's metadata.

    model: fingerprint of the model that made its codes
    image_size: (height, width) that the model takes
    fit: how an image of another aspect ratio is brought to it; stored only if it is not stretched
    created: UTC, ISO 8601
    sources: short name → absolute path, URL or data set name, as given on the command line
    roots: short name → root; empty if an older version wrote the metadata
    labelled: names of the sources whose folder names are labels
    evaluation: what the gate of the re-index that made it measured
    verdict: of the last evaluation of its model; None if there was none
    neighbours: quantiles 0 to 100 of the distances from its images to their nearest image
    neighbours_of: number of points when `neighbours` was measured
    public_url: URL of the service that shows its images; every `image_url` starts with it
    layout: shards, replicas and index that were requested; a re-index requests the same
    state: `ready` when in use; before that `filling`, `refused` by the gate, or a `trial` of `tune`; `rolling-back`
        while a rollback leaves it, `rolled-back` afterwards
    left: collections from which a rollback returned to this one, newest first; they may hold fields that the user gave
        to images which this collection does not have
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
    fit: Fit = "stretch"
    verdict: Verdict | None = None

    @property
    def weakness(self) -> str | None:
        """The warning that goes with every search of it; None if there is none."""
        return self.verdict.weakness if self.verdict else None

    @property
    def shape(self) -> ImageShape:
        """How its model takes images."""
        return ImageShape(*self.image_size, self.channels, self.fit)

    def with_user_fields_of(self, other: "CollectionMeta") -> "CollectionMeta":
        """Keep this collection's own fields (OWN_FIELDS) and take all other fields from `other`."""
        return dataclasses.replace(other, **{name: getattr(self, name) for name in OWN_FIELDS})

    def to_json(self) -> dict[str, Any]:
        data = {**dataclasses.asdict(self), "layout": self.layout.to_json()}
        if self.fit == "stretch":
            del data["fit"]
        if self.verdict is None:
            del data["verdict"]
        return data

    @classmethod
    def from_json(cls, collection: str, data: Mapping[str, Any] | None) -> "CollectionMeta":
        """Read stored metadata; raises NotOurs if another program made the collection."""
        fields = {f.name for f in dataclasses.fields(cls)}
        try:
            known = {k: v for k, v in (data or {}).items() if k in fields}
            lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
            verdict = Verdict.from_json(known["verdict"]) if known.get("verdict") else None
            roots = {name: Root.from_json(root) for name, root in (known.get("roots") or {}).items()}
            layout = Layout.from_json(known.get("layout") or {})
            return cls(**{**known, **lists, "roots": roots, "layout": layout, "verdict": verdict})
        except (KeyError, TypeError) as error:
            raise NotOurs(
                f"collection {collection} was not made by retrieval: its metadata cannot be read ({error})",
                hint="choose another alias",
            ) from error
