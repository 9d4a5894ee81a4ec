"""Which image of a group is kept, and which belong together."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.duplicates.groups import REASONS, choose_best, group_connected

PLAIN: dict[str, Any] = {
    "source": "b",
    "path": "some/where.png",
    "width": 28,
    "height": 28,
    "bytes": 500,
    "mtime_ns": 1_700_000_000_000_000_000,
}
BETTER: dict[str, dict[str, Any]] = {
    "most pixels": {"width": 29},
    "most bytes": {"bytes": 501},
    "oldest": {"mtime_ns": 1_600_000_000_000_000_000},
    "shortest path": {"path": "a.png"},
    "first by name": {"source": "a"},
}


def test_every_reason_is_tested_in_its_order() -> None:
    assert list(BETTER) == [reason for reason, _ in REASONS]


@pytest.mark.parametrize("reason", BETTER)
def test_the_reason_is_the_one_in_which_they_differ(reason: str) -> None:
    better = PLAIN | BETTER[reason]
    assert choose_best([PLAIN, better, PLAIN]) == (1, reason)
    assert choose_best([better, PLAIN]) == (0, reason)


def test_the_weightier_reason_decides() -> None:
    reasons = list(BETTER)
    for place, reason in enumerate(reasons):
        lighter = PLAIN
        for other in reasons[place + 1 :]:
            lighter = lighter | BETTER[other]
        assert choose_best([lighter, PLAIN | BETTER[reason]]) == (1, reason)


def test_the_best_of_the_best_gives_the_reason() -> None:
    large, larger_file = PLAIN | {"width": 56}, PLAIN | {"width": 56, "bytes": 900}
    assert choose_best([PLAIN | {"bytes": 10_000}, large, larger_file]) == (2, "most bytes")


def test_pixels_are_width_times_height() -> None:
    assert choose_best([PLAIN | {"width": 100, "height": 10}, PLAIN | {"width": 40, "height": 40}]) == (
        1,
        "most pixels",
    )


def test_a_picture_without_a_date_is_not_the_oldest() -> None:
    assert choose_best([PLAIN | {"mtime_ns": 0}, PLAIN]) == (1, "oldest")
    assert choose_best([{k: v for k, v in PLAIN.items() if k != "mtime_ns"}, PLAIN]) == (1, "oldest")


def test_the_order_in_which_they_come_does_not_matter() -> None:
    payloads = [PLAIN | {"source": source} for source in "dbca"]
    assert choose_best(payloads) == (3, "first by name")
    assert choose_best(payloads[::-1]) == (0, "first by name")


def slow(rows: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Groups that grow until no pair extends them."""
    groups = [{row} for row in range(rows)]
    changed = True
    while changed:
        changed = False
        for a, b in pairs:
            one, other = (next(group for group in groups if row in group) for row in (a, b))
            if one is not other:
                groups.remove(other)
                one |= other
                changed = True
    return sorted(sorted(group) for group in groups if len(group) > 1)


@given(st.integers(2, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
@settings(deadline=None)
def test_connected_groups_are_those_of_a_slow_twin(case: tuple[int, list[tuple[int, int]]]) -> None:
    rows, pairs = case
    pairs = [(a, b) for a, b in pairs if a != b]
    found = list(group_connected(rows, np.array(pairs, np.int64).reshape(-1, 2)))
    assert found == slow(rows, pairs)


def test_a_long_chain_is_one_group() -> None:
    rows = 50_000
    chain = np.stack([np.arange(rows - 1), np.arange(1, rows)], axis=1)[::-1]
    (group,) = group_connected(rows, chain)
    assert group == list(range(rows))
