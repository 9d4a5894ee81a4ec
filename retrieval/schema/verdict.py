"""The verdict on a model: how often its nearest images are right, and the best baseline's."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

COPIES = "copies that find their original"
"""What is measured without labels. Training aims at it, so a good value proves nothing; only a bad one tells."""
MOSTLY = 0.5
"""Share of right hits below which retrieval is weak: most of what a search shows is wrong."""
GOOD = 0.9
"""Share of right hits from which retrieval is not weak, even if a baseline is better still."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluation found out about a model.

    metric: `P@5` with the number of hits, or COPIES
    value: of the model, in [0, 1]
    measured: UTC, ISO 8601
    queries: how many were counted; None if unknown
    baseline, baseline_value: the best baseline; None if there was no comparison
    helped: whether the model beats it; None if the difference may be chance, or if copies found suggest that it does
    """

    metric: str
    value: float
    measured: str
    queries: int | None = None
    baseline: str | None = None
    baseline_value: float | None = None
    helped: bool | None = None

    @property
    def labelled(self) -> bool:
        """Whether labels were counted."""
        return self.metric != COPIES

    def __str__(self) -> str:
        if self.baseline is None:
            return f"{self.metric} {self.value:.4f}"
        unclear = "no clear difference" if self.labelled else "no verdict without labels"
        said = {True: "learning helped", False: "learning did not help", None: unclear}[self.helped]
        return (
            f"{said}: {self.metric} {self.value:.4f} against {self.baseline_value:.4f} by {self.baseline}, the best"
            " baseline"
        )

    @property
    def quality(self) -> str:
        """How good retrieval is, in words for visitors."""
        share = f"{self.value:.0%}"
        said = (
            f"{share} of the {self.metric.removeprefix('P@')} nearest images have the query's label"
            if self.labelled
            else f"{share} of altered copies find their original"
        )
        if self.baseline is None or self.baseline_value is None:
            return said
        return f"{said}; {self.baseline_value:.0%} by {self.baseline}, the best baseline"

    @property
    def weakness(self) -> str | None:
        """The warning that goes with every answer; None if there is none to give.

        Weak is a model whose hits are mostly wrong, and one that a baseline beats unless nearly all its hits are right.
        """
        beaten = self.helped is False and not (self.labelled and self.value >= GOOD)
        if beaten:
            return (
                f"retrieval is weak here: {self.metric} {self.value:.4f}, {self.baseline_value:.4f} by {self.baseline}"
            )
        if self.labelled and self.value < MOSTLY:
            return f"retrieval is weak here: {self.metric} {self.value:.4f}, so most hits are wrong"
        return None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Verdict":
        """Read a stored verdict; raises TypeError if a field is missing."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})
