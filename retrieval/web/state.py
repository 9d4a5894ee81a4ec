"""Gives routes the service."""

from typing import cast

from fastapi import Request

from retrieval.web.service import Service


def service_of(request: Request) -> Service:
    """The service that the application was made with."""
    return cast("Service", request.app.state.service)
