"""A trunk that is quick: it sees images of 32×32 pixels."""

import pytest

from retrieval.evaluate import baselines


@pytest.fixture(autouse=True)
def small_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TRUNK_SIDE", 32)
