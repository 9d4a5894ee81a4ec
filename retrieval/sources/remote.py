"""Folders at a URL: S3 buckets, and all other file systems of fsspec."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from retrieval.errors import BadImage, SourceError
from retrieval.images.formats import MAX_BYTES
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import (
    Entry,
    PassedOver,
    check_size,
    folder_label,
    is_hidden,
    is_image,
    is_passed_over,
    key_of,
    no_images_error,
    path_of,
)
from retrieval.sources.filesystem import UrlPath, mtime_ns, one_line

PAGE = 1000
"""Objects that S3 lists in one response, its maximum."""


class ListedFile(NamedTuple):
    """A file as listed; `size` is None and `mtime_ns` 0 if unknown."""

    key: str
    path: str
    size: int | None
    mtime_ns: int


class RemoteFolder:
    """All images under a URL, listed lazily.

    S3 is listed page by page in the order of the keys, others folder by folder, depth first. A page that cannot be
    listed ends the listing with an error, so that it never looks like images that are gone. Over HTTP a folder is a
    page of links, which may leave files out: such a source is not `whole`.
    """

    portable = False

    def __init__(self, name: str, place: UrlPath, *, labels: bool = False) -> None:
        self.name = name
        self.spec = place.url
        self.whole = place.protocol not in ("http", "https")
        self._place = place
        self._root = place.path.rstrip("/")
        self.labels = labels
        self._first: str | None = None
        self.passed_over = PassedOver()

    def entries(self) -> Iterator[Entry]:
        """Every image; raises SourceError if there is none or a part cannot be listed."""
        files = images = 0
        self.passed_over = PassedOver()
        for found in self._objects() if hasattr(self._place.fs, "call_s3") else self._files():
            if is_hidden(found.key):
                continue
            files += 1
            if is_image(found.key):
                self._first = self._first if images else found.path
                images += 1
                label = folder_label(found.key) if self.labels else None
                fetch = partial(self._read, found.key, found.path, found.size)
                yield Entry(self.name, found.key, found.size or 0, found.mtime_ns, label, fetch)
            elif is_passed_over(found.key):
                self.passed_over.add(found.key)
        if not images:
            raise no_images_error(self.spec, files)

    def read(self, key: str) -> bytes:
        """The image file with that key; raises BadImage, also for a key that leads outside the folder."""
        if not is_image(key) or is_hidden(key):  # `..` is hidden too
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        path = key if hasattr(self._place.fs, "call_s3") else path_of(key)
        return self._read(key, f"{self._root}/{path}", None)

    def identify(self) -> Root:
        """The folder's URL."""
        return Root(self.spec)

    def check_unchanged(self) -> None:
        """Raise SourceError unless the first listed image is still there; if not, the folder may be unreachable."""
        if self._first is None or not self._is_file(self._first):
            raise SourceError(f"{self.spec} has changed since its listing began: its first image is gone")

    def has(self, key: str) -> bool:
        """Whether the file exists; only the file system's own `not found` means that it does not."""
        if is_hidden(key):
            return False
        if "\\x" in key:
            raise SourceError(f"{self.spec}: {key} cannot be checked: it may be a name that is not UTF-8")
        return self._is_file(f"{self._root}/{key}")

    def _is_file(self, path: str) -> bool:
        try:
            return bool(self._place.call("info", path)["type"] != "directory")
        except FileNotFoundError:
            return False
        except Exception as error:  # each protocol fails in its own ways
            raise SourceError(f"{self.spec}: {key_of(path)} cannot be checked: {one_line(error)}") from error

    def _read(self, key: str, path: str, size: int | None) -> bytes:
        where = full_name(self.name, key)
        try:
            if size is None:
                size = self._place.call("info", path)["size"]
            check_size(size or 0, where)
            if size == 0:
                return b""  # S3 refuses a range of an empty object
            data: bytes = self._place.call("cat_file", path, start=0, end=MAX_BYTES + 1)
        except BadImage:
            raise
        except Exception as error:  # each protocol fails in its own ways
            raise BadImage(where, f"cannot be read: {one_line(error)}") from error
        check_size(len(data), where)
        return data

    def _objects(self) -> Iterator[ListedFile]:
        """S3 has no folders: one listing returns all keys with the prefix, a thousand at a time."""
        bucket, prefix, _ = self._place.fs.split_path(self._root)
        prefix += "/" * bool(prefix)
        request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
        while True:
            try:
                page = self._place.call("call_s3", "list_objects_v2", self._place.fs.req_kw, **request)
            except Exception as error:  # botocore's, aiohttp's, s3fs's and the system's
                raise SourceError(f"{self.spec} cannot be listed: {one_line(error)}") from error
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(prefix)
                if not key.endswith("/"):  # some programs mark a folder by such an object
                    yield ListedFile(key, f"{bucket}/{item['Key']}", item["Size"], mtime_ns(item))
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _files(self) -> Iterator[ListedFile]:
        waiting = self._list(self._root)
        while waiting:
            item = waiting.pop()
            if item["type"] == "directory":
                waiting += self._list(item["name"])
            else:
                key = key_of(item["name"].removeprefix(f"{self._root}/"))
                yield ListedFile(key, item["name"], item.get("size"), mtime_ns(item))

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """The folder's items without hidden ones, last name first, because the caller pops from the end."""
        try:
            items = self._place.call("ls", folder or "/", detail=True)
        except Exception as error:  # each protocol fails in its own ways
            if isinstance(error, FileNotFoundError) and folder != self._root:
                parent = folder.rpartition("/")[0]
                if all(item["name"] != folder for item in self._list(parent)):
                    return []  # removed after its parent was listed
            raise SourceError(f"{self.spec} cannot be listed: {key_of(folder)}: {one_line(error)}") from error
        found = [{**item, "name": item["name"].rstrip("/")} for item in items]
        if any(item["name"] == self._root and item["type"] == "file" for item in found):
            raise SourceError(f"{self.spec} is a file, neither an archive nor a Parquet file", hint="give its folder")
        below = len(folder) + 1
        found = [item for item in found if item["name"].startswith(f"{folder}/") and item["name"][below] != "."]
        return sorted(found, key=lambda item: item["name"], reverse=True)
