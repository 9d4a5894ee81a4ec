"""Folders of tables: a data set saved by Hugging Face's `datasets`, its splits, or Parquet shards."""

import os
import socket
from functools import partial
from pathlib import Path

from retrieval.errors import SourceError
from retrieval.schema.records import Root
from retrieval.sources.base import Source, has_no_suffix, is_hidden, is_image, is_passed_over, key_of
from retrieval.sources.parts import Parts
from retrieval.sources.presence import Snapshot, file_state, local_root
from retrieval.util.extras import needs

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
"""Files of a saved data set, and of its splits."""
SHARD = ".parquet"


def open_tables(name: str, folder: Path, *, labels: bool) -> Source | None:
    """Open a folder of tables; None if it is an ordinary folder. Raises SourceError for one that cannot be read."""
    here = {name for name in (STATE, INFO, SPLITS) if os.path.isfile(folder / name)}  # noqa: PTH113 - never raises
    saved, splits = {STATE, INFO} <= here, SPLITS in here
    shards = [] if saved or splits else list_shards(folder)
    if not (saved or splits or shards):
        return None
    with needs("parquet", folder, SourceError):
        from retrieval.sources.parquet import Parquet
        from retrieval.sources.saved_dataset import SavedDataset, split_names

    if saved:
        return SavedDataset(name, folder, labels=labels)
    parts: dict[str, Source] = {}
    if splits:
        look = partial(file_state, folder / SPLITS)
        for split in split_names(folder / SPLITS):
            parts[split] = SavedDataset(f"{name}/{split}", folder / split, labels=labels)
        return Parts(name, Root(str(folder), socket.gethostname()), parts, Snapshot(str(folder), look), labels=labels)
    snapshot = Snapshot(str(folder), partial(list_shards, folder))
    for shard in shards:
        file, part = folder / shard, key_of(shard[: -len(SHARD)])
        state = file_state(file)
        seen = Snapshot(str(file), partial(file_state, file))
        parts[part] = Parquet(
            f"{name}/{part}", local_root(file), str(file), state[-1] if state else 0, seen, labels=labels
        )
    return Parts(name, Root(str(folder), socket.gethostname()), parts, snapshot, labels=labels)


def list_shards(folder: Path) -> list[str]:
    """The names of a folder's Parquet files; none if it also holds folders, images, or files that may be images."""
    shards = []
    try:
        with os.scandir(folder) as items:
            for item in items:
                if is_hidden(item.name):
                    continue
                if is_image(item.name) or is_passed_over(item.name) or has_no_suffix(item.name) or item.is_dir():
                    return []
                if item.name.lower().endswith(SHARD):
                    shards.append(item.name)
    except OSError:
        return []  # listing the folder will raise an error that says why
    return sorted(shards)
