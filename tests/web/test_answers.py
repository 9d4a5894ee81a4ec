"""Errors in the service's own words, made from their fields."""

import json

import pytest

from retrieval.errors import BadImage, FilterError, ModelError, RetrievalError, StoreError, UsageError
from retrieval.web.errors import DEFECT, NO_MODEL, respond_to_error

PLACE = "/secret/place"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("it is empty", option="where", hint="write one"), 400, "filter: it is empty; write one"),
        (UsageError("must be 1 or more, not 0", option="k"), 400, "k: must be 1 or more, not 0"),
        (UsageError("no image has a field 'a--b'"), 400, "no image has a field 'a--b'"),
        (BadImage(PLACE, "not an image"), 422, "not an image"),
        (ModelError(f"not in {PLACE}"), 503, NO_MODEL),
        (StoreError(f"damaged: {PLACE}", hint=f"remove {PLACE}"), 500, DEFECT),
    ],
)
def test_an_error_in_the_services_words(error: RetrievalError, status: int, said: str) -> None:
    answer = respond_to_error(error)
    assert (answer.status_code, json.loads(bytes(answer.body))) == (status, {"error": said})


def test_a_wrong_filter_is_pointed_at() -> None:
    answer = respond_to_error(FilterError("it ends too soon", "  label=", "        ^", option="where"))
    said = {"error": "filter: it ends too soon", "context": ["  label=", "        ^"]}
    assert (answer.status_code, json.loads(bytes(answer.body))) == (400, said)
