"""The processes that scripts/bench_article starts: one for the data, and one per row except the article's.

Runs as `article_rows.py KIND …` in a folder for the row; the images are train.npy and test.npy in the folder above.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from article_worker import TRAIN_SECONDS, peak_bytes, serve
from jaxtyping import Float32, UInt8

Images = UInt8[np.ndarray, "n h w c"]
Codes = Float32[np.ndarray, "n d"]

BLOCK = 4096
"""Number of images held as float32 at a time while PCA is fitted."""
SPLITS = ("train", "test")


def main() -> int:
    kind, *options = sys.argv[1:]
    kinds: dict[str, Callable[..., None]] = {"data": data, "raw": raw, "pca": pca, "ours": ours}
    kinds[kind](*options)
    return 0


def data(name: str) -> None:
    """Write images and labels of both splits as `train.npy`, u8[n, h, w, c], and `train-labels.npy` (test likewise)."""
    from retrieval.config import load_settings
    from retrieval.images.decode import probe
    from retrieval.schema.image_shape import ImageShape
    from retrieval.sources import open_source
    from retrieval.sources.read import Loaded, read_images

    settings = load_settings()
    for split in SPLITS:
        entries = list(open_source(f"{name}:{split}", settings).entries())
        shape = ImageShape(*probe(entries[0].read(), entries[0].key))
        images = np.empty((len(entries), *shape.array), np.uint8)
        for row, item in enumerate(read_images(entries, shape)):
            if not isinstance(item, Loaded):
                raise SystemExit(f"{name}: {item.entry.key}: {item.reason}")
            images[row] = item.image.pixels
        np.save(f"{split}.npy", images)
        np.save(f"{split}-labels.npy", np.array([str(entry.label) for entry in entries]))


def raw() -> None:
    """Raw pixels, in [0, 1]: nothing is trained or encoded."""
    finish({"train_seconds": None, "command_seconds": None, "peak_bytes": None}, flat)


def pca(dim: str) -> None:
    """The first `dim` principal components of the training images, exactly."""
    started = time.perf_counter()
    mean, axes = principal_axes(np.load("../train.npy"), int(dim))
    seconds = time.perf_counter() - started
    report = {"train_seconds": seconds, "command_seconds": seconds, "peak_bytes": peak_bytes()}
    finish(report, lambda images: (flat(images) - mean) @ axes)


def principal_axes(images: Images, dim: int) -> tuple[Float32[np.ndarray, " p"], Float32[np.ndarray, "p {dim}"]]:
    """The mean image, in [0,1], and the `dim` directions of largest variance about it."""
    pixels = images.reshape(len(images), -1)
    mean = pixels.mean(axis=0, dtype=np.float64) / 255
    scatter = np.zeros((pixels.shape[1], pixels.shape[1]))
    for start in range(0, len(pixels), BLOCK):
        part = (pixels[start : start + BLOCK] / 255 - mean).astype(np.float32)
        scatter += part.T @ part
    axes = np.linalg.eigh(scatter)[1][:, ::-1][:, :dim]
    return mean.astype(np.float32), axes.astype(np.float32)


def ours(source: str, *options: str) -> None:
    """`retrieval train` on the source, as for a user's first run: nothing is compiled yet."""
    from retrieval.config import load_settings

    cache = load_settings().xla_cache
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "retrieval", "train", source, "--json", *options]
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TRAIN_SECONDS, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.returncode)
    peak = peak_bytes(resource.RUSAGE_CHILDREN)
    trained = json.loads(done.stdout)

    from retrieval.model import saved_models
    from retrieval.model.encoder import Encoder, use_compilation_cache

    use_compilation_cache(cache)
    encoder = Encoder(saved_models.load(Path(trained["model"])))
    report = {"train_seconds": trained["seconds"], "command_seconds": seconds, "peak_bytes": peak}
    finish(report, encoder.encode)


def flat(images: Images) -> Codes:
    return images.reshape(len(images), -1).astype(np.float32) / 255


def finish(report: Mapping[str, float | None], encode: Callable[[Images], Codes]) -> None:
    """Write the codes of both splits, then report and encode on demand."""
    images = np.load("../train.npy")
    for split, pixels in (("test", np.load("../test.npy")), ("train", images)):
        np.save(f"{split}.npy", encode(pixels))
    serve(report, lambda: encode(images))


if __name__ == "__main__":
    sys.exit(main())
