"""For monitoring: liveness, readiness and metrics."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from retrieval.web.errors import problems
from retrieval.web.service import Service, service_of

router = APIRouter()
ServiceDep = Annotated[Service, Depends(service_of)]


@router.get("/healthz", summary="Whether the engine answers a real query", responses=problems(503))
async def healthz(service: ServiceDep) -> dict[str, str]:
    """503 when it does not, or when there is no collection."""
    await service.run(service.asking, service.check)
    return {"status": "ok"}


@router.get("/readyz", summary="Whether a search would be answered at once", responses=problems(503))
async def readyz(service: ServiceDep) -> dict[str, str]:
    """503 until the model is loaded and compiled."""
    await service.run(service.asking, service.check)
    if not await service.run(service.asking, service.index.is_warm):
        raise HTTPException(503, "the model is being loaded")
    return {"status": "ready"}


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(service: ServiceDep) -> Response:
    """In Prometheus's text format."""
    text = await service.run(service.asking, generate_latest, service.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
