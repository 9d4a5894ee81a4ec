"""The JSON of a re-index, literally, because scripts read it."""

import pytest

from retrieval.ingest.summary import IngestSummary
from retrieval.reindex.outcome import GateCheck, ReindexOutcome

MEASURED = GateCheck("P@5", 0.98765, "at most 2 points lower", passed=True, live=0.5)
ALONE = GateCheck("spread", 0.123456, "at least 0.02", passed=False)
UNKNOWN = GateCheck("copies found", None, "at most 2 points lower", passed=None)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (MEASURED, "P@5: 0.9877 (live: 0.5), at most 2 points lower"),
        (ALONE, "spread: 0.1235, at least 0.02"),
        (UNKNOWN, "copies found: not measured, at most 2 points lower"),
        (
            GateCheck("images", 0.0, "at most 10% fewer", passed=False, live=0.0),
            "images: 0 (live: 0), at most 10% fewer",
        ),
    ],
)
def test_a_row_in_words(row: GateCheck, text: str) -> None:
    assert str(row) == text


def test_a_whole_run() -> None:
    counts = IngestSummary("images", "images-2", found=12, encoded=7, copied=2, unchanged=3, seconds=99.0)
    outcome = ReindexOutcome(
        "images", "swapped", "images-1", "images-2", "4f1c2a9b", counts, [MEASURED, ALONE, UNKNOWN], ["images-0"]
    )
    outcome.swap_seconds, outcome.seconds, outcome.previous_model = 0.012345, 1.23456, "0d5e"
    outcome.warnings.append("the clock is wrong")
    said = outcome.to_json()
    of_the_run = {
        "outcome": "swapped",
        "alias": "images",
        "collection": "images-2",
        "previous": "images-1",
        "model": "4f1c2a9b",
        "previous_model": "0d5e",
        "gate": [
            {
                "check": "P@5",
                "value": 0.98765,
                "live": 0.5,
                "limit": "at most 2 points lower",
                "passed": True,
            },
            {"check": "spread", "value": 0.123456, "limit": "at least 0.02", "passed": False},
            {"check": "copies found", "value": None, "limit": "at most 2 points lower", "passed": None},
        ],
        "dropped": ["images-0"],
        "swap_seconds": 0.012345,
        "warnings": ["the clock is wrong"],
        "seconds": 1.23,
    }
    of_the_filling = {name: value for name, value in counts.to_json().items() if name not in of_the_run}
    assert (of_the_filling["found"], of_the_filling["encoded"], of_the_filling["copied"]) == (12, 7, 2)
    assert said == {**of_the_run, **of_the_filling}


def test_a_run_that_has_just_begun() -> None:
    assert ReindexOutcome("images").to_json() == {
        "outcome": "unfinished",
        "alias": "images",
        "collection": None,
        "previous": None,
        "model": None,
        "previous_model": None,
        "gate": [],
        "dropped": [],
        "swap_seconds": None,
        "warnings": [],
        "seconds": 0.0,
    }
