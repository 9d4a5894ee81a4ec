"""Search while an event loop does other things: `python examples/search_async.py IMAGE…`."""

import asyncio
import sys

from retrieval import AsyncIndex
from retrieval.errors import RetrievalError


async def show(files: list[str]) -> None:
    async with await AsyncIndex.open() as index:
        try:
            async with asyncio.timeout(60):
                for found in await asyncio.gather(*(index.search(file, k=3) for file in files)):
                    print(repr(found))
        except (RetrievalError, TimeoutError) as error:
            print(f"not searched: {error}", file=sys.stderr)
        async for group in index.duplicates():
            print(group.keep.name, *(other.name for other in group.others))


if __name__ == "__main__":
    asyncio.run(show(sys.argv[1:]))
