"""What a re-index did; updated while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrieval.ingest.summary import IngestSummary


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One check of the gate.

    value: what was measured; None if it could not be measured
    limit: the requirement, in words
    passed: None if nothing was measured
    live: the live collection's value, if the two are compared
    """

    name: str
    value: float | None
    limit: str
    passed: bool | None
    live: float | None = None

    def to_json(self) -> dict[str, Any]:
        compared = {} if self.live is None else {"live": self.live}
        return {"check": self.name, "value": self.value, **compared, "limit": self.limit, "passed": self.passed}

    def __str__(self) -> str:
        compared = "" if self.live is None else f" (live: {self.live:.4g})"
        return f"{self.name}: {'not measured' if self.value is None else f'{self.value:.4g}'}{compared}, {self.limit}"


@dataclass(slots=True)
class ReindexOutcome:
    """What a re-index did.

    state: `swapped`, `checked` (a dry run), `unchanged`, `recent`, `absent` (nothing is due), `refused` or `unfinished`
    live: the collection that was searched when the run began; empty when `absent`
    collection: the new one
    model: fingerprint of the new collection's model
    previous_model: fingerprint of the live collection's model
    sees, previous_sees: what these models see, by `describe_sight`; empty if unknown
    counts: of filling the new collection
    gate: the checks that were made
    dropped: names of collections that were dropped
    swap_seconds: how long the swap itself took
    seconds: how long the run took
    warnings: for the user
    """

    alias: str
    state: str = "unfinished"
    live: str = ""
    collection: str = ""
    model: str = ""
    counts: IngestSummary | None = None
    gate: Sequence[GateCheck] = ()
    dropped: list[str] = field(default_factory=list)
    swap_seconds: float | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    previous_model: str = ""
    sees: Mapping[str, Any] = field(default_factory=dict)
    previous_sees: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        counts = self.counts.to_json() if self.counts else {}
        counts = {name: counts[name] for name in counts if name not in ("alias", "collection", "seconds")}
        return {
            "outcome": self.state,
            "alias": self.alias,
            "collection": self.collection or None,
            "previous": self.live or None,
            "model": self.model or None,
            "previous_model": self.previous_model or None,
            **self.sees,
            **{f"previous_{name}": value for name, value in self.previous_sees.items()},
            **counts,
            "gate": [check.to_json() for check in self.gate],
            "dropped": self.dropped,
            "swap_seconds": self.swap_seconds,
            "warnings": self.warnings,
            "seconds": round(self.seconds, 2),
        }
