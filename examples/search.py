"""Search a collection from Python, and ask what else is in it: `python examples/search.py query.png`."""

import sys

import numpy as np
from PIL import Image

from retrieval import Index, Stored


def show(file: str) -> None:
    with Index.open() as index:  # alias "images"; engine and home as for the command line
        found = index.search(file, k=5, where="label=7")
        for hit in found:
            print(hit.distance, hit.percentile, hit.source, hit.path, hit.copies)
        found = index.search(Stored(found[0].id))  # an image in the collection
        found = index.search(np.asarray(Image.open(file)))  # or in memory; a notebook shows `found` with its images
        many = list(index.search_many([file, "no.png"], k=3))  # in batches; for an unusable query, `note` is the reason
        found = index.like([file], unlike=[Stored(found[0].id)])
        groups = list(index.duplicates())
        odd = index.outliers(limit=20)
        pair = index.explain(file, Stored(found[0].id))
        print(many[1].note, len(groups), odd[0].why, pair.distance)
        index.export("sevens.parquet", where="label=7")


if __name__ == "__main__":
    show(sys.argv[1])
