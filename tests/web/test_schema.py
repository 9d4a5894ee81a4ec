"""The API against its own description: what the description allows, and what it does not."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.serving import Served

OPERATIONS = [
    ("POST", "/api/search"),
    *(
        ("GET", f"/api/{path}")
        for path in ("status", "facets", "map", "sample", "points", "points/{id}", "reviews/{kind}")
    ),
    *(("GET", f"/images/{path}") for path in ("{id}.{kind}", "{id}/file", "{id}/reconstruction.png")),
    *(("GET", path) for path in ("/healthz", "/readyz", "/metrics")),
]
MALFORMED = b"Invalid HTTP request received."
"""The HTTP server's own word on a head that is none; it comes before anything that the API describes."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_every_operation_is_tried(served: Served) -> None:
    paths = httpx.get(f"{served.url}/openapi.json", trust_env=False).json()["paths"]
    assert sorted(OPERATIONS) == sorted((method.upper(), path) for path, each in paths.items() for method in each)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not-allowed"])
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_answers_are_as_described(served: Served, method: str, path: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    operation = schema[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=15, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: "schemathesis.Case[Any]") -> None:
        answer = case.call()
        if answer.content != MALFORMED:
            case.validate_response(answer, checks=CHECKS)

    ask()
