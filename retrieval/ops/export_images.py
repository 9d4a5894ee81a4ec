"""The column of image files in an exported Parquet file, as Hugging Face's `datasets` reads and writes it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.errors import BadImage
from retrieval.schema.records import Point
from retrieval.sources import Source
from retrieval.util.extras import needs

with needs("parquet", "an export"):
    import pyarrow as pa

IMAGE = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
FEATURES = {"huggingface": json.dumps({"info": {"features": {IMAGE.name: {"_type": "Image"}}}})}
"""Metadata by which `datasets` knows that the column holds images."""
GROUP_BYTES = 16 * 2**20
"""Approximate bytes of images in a row group, all of them in memory at once."""
NAMED = 100
"""Images that could not be read and are named; the others are counted."""


@dataclass(slots=True)
class ExportedImages:
    """Reads the images of points from their sources, and keeps account of those that it cannot read.

    sources: by name, those that can be opened
    failed: number of images that were not read
    refused: the first of them, and why
    """

    sources: Mapping[str, Source]
    failed: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)

    def cut_groups(self, points: Iterable[Point], most: int) -> Iterator[tuple[list[Point], pa.Array]]:
        """Groups of at most `most` points with their images; the image is null where it cannot be read."""
        group: list[Point] = []
        images: list[dict[str, Any] | None] = []
        size = 0
        for point in points:
            data = self._read(point)
            group.append(point)
            images.append(None if data is None else {"bytes": data, "path": point.name})
            size += len(data or b"")
            if size >= GROUP_BYTES or len(group) == most:
                yield group, pa.array(images, IMAGE.type)
                group, images, size = [], [], 0
        if group:
            yield group, pa.array(images, IMAGE.type)

    def _read(self, point: Point) -> bytes | None:
        name, path = str(point.payload["source"]), str(point.payload["path"])
        source = self.sources.get(name)
        try:
            if source is None:
                raise BadImage(point.name, "its source is out of reach")
            data = source.read(path)
            if hashlib.sha256(data).hexdigest() != point.payload["sha256"]:
                raise BadImage(point.name, "it has changed since it was ingested")
        except BadImage as error:
            self.failed += 1
            if len(self.refused) < NAMED:
                self.refused.append({"source": name, "path": path, "reason": error.reason})
            return None
        return data
