"""The result of a query: hits with copies grouped, percentiles, and a note if nothing resembles the query."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from retrieval.schema.records import CollectionMeta, Hit
from retrieval.search.calibration import FAR, NO_MATCH, percentile
from retrieval.search.options import SearchOptions
from retrieval.search.query import Query, Stored

NOTHING_ALIKE = "nothing here looks like this"
NOTHING_ELSE_ALIKE = "nothing else here looks like this"
NOTHING_ELSE = "nothing else in the collection"
NONE_THAT_MEETS_ALIKE = "nothing that meets the filter looks like this"
NOTHING_MEETS = "nothing else in the collection meets the filter"


@dataclass(frozen=True, slots=True)
class Result:
    """A query's hits, nearest first; `refused` says why there are none when the query could not be used.

    nearest: of all hits, including those that a limit left out
    no_match: nothing resembles the query: the nearest hit is as far away as chance would put it
    here: the collection is known to hold the query's own content, which the hits leave out
    filtered: hits had to meet a filter
    limited: the limits that left out every hit, in words
    weak: the warning about the collection's model that goes with every result; None if there is none
    """

    query: Query | Stored
    hits: list[Hit]
    refused: str | None = None
    no_match: bool = False
    here: bool = False
    filtered: bool = False
    nearest: Hit | None = None
    limited: str | None = None
    weak: str | None = None

    @property
    def note(self) -> str | None:
        """Why there are no hits, or what to know about them; None if there is nothing to say."""
        if self.refused is not None:
            return self.refused
        alike = NOTHING_ELSE_ALIKE if self.here else NOTHING_ALIKE
        alike = NONE_THAT_MEETS_ALIKE if self.filtered else alike
        if self.no_match or self.limited:
            return "; ".join(filter(None, (alike if self.no_match else None, self.limited)))
        if self.hits:
            return None
        return NOTHING_MEETS if self.filtered else NOTHING_ELSE

    def to_json(self) -> dict[str, Any]:
        if self.refused is not None:
            return {"query": self.query.name, "hits": [], "error": self.refused}
        said = {name: text for name, text in (("note", self.note), ("weak", self.weak)) if text}
        return {"query": self.query.name, "hits": [hit.to_json() for hit in self.hits], **said}


def postprocess(query: Query | Stored, found: Sequence[Hit], meta: CollectionMeta, options: SearchOptions) -> Result:
    """Turn the engine's hits into a result: group copies, add percentiles, leave out hits beyond the limits."""
    hits = list(found) if options.keep_copies else group_copies(found)
    hits = [replace(hit, percentile=round_percentile(percentile(meta, hit.distance))) for hit in hits[: options.k]]
    near = [hit for hit in hits if not exceeded_limits(hit, options)]
    nearest = min(hits, key=lambda hit: hit.distance, default=None)
    return Result(
        query,
        near,
        no_match=is_beyond(nearest, NO_MATCH),
        filtered=options.where is not None,
        nearest=nearest,
        limited=describe_limits(nearest, options) if nearest and not near else None,
        weak=meta.weakness,
    )


def is_far(result: Result) -> bool:
    """Whether the nearest hit is beyond the percentile FAR."""
    return is_beyond(result.nearest, FAR)


def is_beyond(nearest: Hit | None, share: float) -> bool:
    """Whether a hit is at or beyond that percentile, in [0, 100]; False without a calibration."""
    return nearest is not None and (nearest.percentile or 0.0) >= share


def group_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Keep the first hit of each content (SHA-256); the names of the others become its `copies`."""
    first: dict[str, Hit] = {}
    copies: dict[str, list[str]] = {}
    for hit in hits:
        content = str(hit.payload.get("sha256") or hit.id)
        if content in first:
            copies.setdefault(content, []).append(hit.name)
        else:
            first[content] = hit
    return [replace(hit, copies=tuple(copies.get(content, ()))) for content, hit in first.items()]


def exceeded_limits(hit: Hit, options: SearchOptions) -> list[tuple[str, str]]:
    """The limits that exclude a hit, each with the hit's own value, in words."""
    distance, share = options.max_distance, options.max_percentile
    found = []
    if distance is not None and hit.distance > distance:
        found.append((f"a distance of {distance:g}", f"{hit.distance:.4f}"))
    if share is not None and hit.percentile is not None and hit.percentile > share:
        found.append((f"percentile {share:g}", f"percentile {hit.percentile:g}"))
    return found


def describe_limits(nearest: Hit, options: SearchOptions) -> str:
    """Say that the limits exclude every hit, and how far away the nearest is."""
    asked, places = zip(*exceeded_limits(nearest, options), strict=True)
    return f"no image within {' and '.join(asked)}; the nearest is at {', '.join(places)}"


def round_percentile(share: float | None) -> float | None:
    """Round a percentile to one decimal, the precision that its sample supports."""
    return None if share is None else round(share, 1)
