"""What scripts/interop runs in the other tools' environment: `write` sources for us, `read` what we have written."""

import contextlib
import importlib.metadata
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import faiss
import fiftyone.utils.csv
import httpx
import numpy as np
import webdataset

TOKEN = "0123456789abcdef" * 2 + "01234567"
START_SECONDS = 600.0
"""Until Label Studio has made its database."""


def write() -> None:
    """A WebDataset shard, a saved data set and one of two splits, of the digits, with labels and captions."""
    files = sorted(Path("digits").rglob("*.png"))
    labels = [file.parent.name for file in files]
    with webdataset.TarWriter("shard.tar") as shard:
        for number, (file, label) in enumerate(zip(files, labels, strict=True)):
            sample = {"png": file.read_bytes(), "cls": int(label), "txt": f"a {label}", "json": {"score": 0.5}}
            shard.write({"__key__": f"{number:06}", **sample})
    kinds = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)]),
        "caption": datasets.Value("string"),
    }
    rows = {
        "image": [str(file) for file in files],
        "label": [int(label) for label in labels],
        "caption": [f"a {label}" for label in labels],
    }
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))
    data.save_to_disk("saved", num_shards=3)
    data.train_test_split(test_size=20, seed=0).save_to_disk("splits")


def read(docs: str) -> None:
    """Read everything, and print a line for each tool."""
    read_parquet()
    read_npz()
    for name, fields in (("duplicates", {"group": int, "role": str}), ("outliers", {"score": float, "why": str})):
        read_samples(name, {**fields, "distance": float, "path": str, "label": str})
    pairs = re.findall(r"```xml\n(.*?)```", Path(docs).read_text("utf-8"), re.DOTALL)[0]
    alone = re.sub(r".*\$keep.*\n", "", pairs)
    with label_studio() as client:
        import_tasks(client, "duplicates", pairs)
        import_tasks(client, "outliers", alone)


def read_parquet() -> None:
    data = datasets.load_dataset("parquet", data_files="images.parquet", split="train")
    assert isinstance(data.features["image"], datasets.Image)
    for row in data:
        original = datasets.Image().decode_example({"path": str(Path("digits") / row["path"]), "bytes": None})
        assert np.array_equal(np.asarray(row["image"]), np.asarray(original)), row["path"]
    say("datasets", f"load_dataset reads {len(data)} rows of images.parquet, each image as its file")


def read_npz() -> None:
    with np.load("codes.npz", allow_pickle=False) as arrays:
        codes, ids, paths = arrays["code"], arrays["id"].tolist(), arrays["path"].tolist()
    index = faiss.IndexFlatL2(codes.shape[1])
    index.add(codes)
    queries = [json.loads(line) for line in Path("found.jsonl").read_text("utf-8").splitlines()]
    for query in queries:
        row = paths.index(str(Path(query["query"]).relative_to("digits")))
        squared, found = index.search(codes[row : row + 1], len(query["hits"]) + 1)
        pairs = zip(found[0].tolist(), squared[0].tolist(), strict=True)
        near = {ids[place]: distance**0.5 for place, distance in pairs if place != row}  # no image is its own hit
        ours = {hit["id"]: hit["distance"] for hit in query["hits"]}
        assert near.keys() == ours.keys(), (near, ours)
        assert all(abs(near[point] - ours[point]) < 1e-3 for point in ours), (near, ours)
    say("faiss-cpu", f"codes.npz gives the hits and distances of search, for {len(queries)} queries")


def read_samples(name: str, fields: dict[str, Any]) -> None:
    importer = fiftyone.utils.csv.CSVDatasetImporter(labels_path=str(Path(f"{name}.csv").resolve()), fields=fields)
    with importer:
        samples = list(importer)
    assert samples
    assert all(Path(sample.filepath).is_file() for sample in samples)
    assert all(isinstance(sample.distance, float) for sample in samples)
    say("fiftyone", f"its CSV importer reads {len(samples)} samples of {name}.csv")


@contextlib.contextmanager
def label_studio() -> Iterator[httpx.Client]:
    """A client of a server with a database of its own, for as long as the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = str(Path(sys.executable).with_name("label-studio"))
    quiet = {"COLLECT_ANALYTICS": "False", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
    who = ("--username", "a@example.org", "--password", "only-here", "--user-token", TOKEN, "--enable-legacy-api-token")
    where = ("--no-browser", "--data-dir", str(Path("label-studio").resolve()), "--internal-host", "127.0.0.1")
    with Path("label-studio.log").open("wb") as log:
        server = subprocess.Popen(
            [program, "start", *where, "--port", port, *who],
            env={**os.environ, **quiet},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        headers = {"Authorization": f"Token {TOKEN}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
            wait_until_ready(client, server)
            yield client
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_until_ready(client: httpx.Client, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/health").status_code == httpx.codes.OK:
                return
        time.sleep(1)
    raise RuntimeError(f"Label Studio did not start: {Path('label-studio.log').read_text('utf-8', 'replace')[-2000:]}")


def import_tasks(client: httpx.Client, name: str, interface: str) -> None:
    """Upload the list to a new project with this labelling interface, and compare what the project then holds."""
    file = Path(f"{name}.json")
    project = client.post("/api/projects/", json={"title": name, "label_config": interface}).raise_for_status().json()
    upload = {"file": (file.name, io.BytesIO(file.read_bytes()), "application/json")}
    said = client.post(f"/api/projects/{project['id']}/import", files=upload)
    assert said.is_success, said.text
    ours = json.loads(file.read_text("utf-8"))
    found = client.get("/api/tasks", params={"project": project["id"], "page_size": 1000}).raise_for_status().json()
    held = found["tasks"] if isinstance(found, dict) else found
    assert len(ours) == said.json()["task_count"] == len(held) > 0
    assert sorted(task["data"]["name"] for task in held) == sorted(task["data"]["name"] for task in ours)
    say("label-studio", f"a server imports {len(held)} tasks of {name}.json")


def say(package: str, what: str) -> None:
    print(f"{package} {importlib.metadata.version(package)}: {what}")


if __name__ == "__main__":
    write() if sys.argv[1] == "write" else read(sys.argv[2])
