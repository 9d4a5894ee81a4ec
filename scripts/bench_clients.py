"""Clients of the service, in a separate process: stdin says how many and for how long, stdout gets their times."""

import http.client
import itertools
import json
import sys
import threading
import time

DEADLINE = 120.0
BOUNDARY = "retrieval-bench"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def main() -> None:
    """Each client sends its next request once it is answered; prints the seconds of each search and the failures."""
    told = json.loads(sys.stdin.buffer.readline())
    bodies = []
    while size := sys.stdin.buffer.read(4):
        bodies.append(sys.stdin.buffer.read(int.from_bytes(size)))
    times: list[float] = []
    failed: list[str] = []
    answers: list[set[str]] = [set() for _ in bodies]
    end = time.monotonic() + told["seconds"]

    def ask(first: int) -> None:
        client = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=DEADLINE)
        headers = HEADERS | told.get("headers", {})
        for number in itertools.count(first):
            started = time.perf_counter()
            if time.monotonic() > end:
                return
            try:
                answer = search(client, bodies[number % len(bodies)], headers)
                times.append(time.perf_counter() - started)
                answers[number % len(bodies)].add(answer)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failed.append(str(error))
                client.close()

    threads = [threading.Thread(target=ask, args=(60 * n,)) for n in range(told["clients"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([times, len(failed), [sorted(some) for some in answers]]))


def search(client: http.client.HTTPConnection, body: bytes, headers: dict[str, str] = HEADERS) -> str:
    """Search once; returns the hits' ids. Raises AssertionError unless the answer has status 200."""
    client.request("POST", "/api/search", body, headers)
    answer = client.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    return " ".join(hit["id"] for hit in json.loads(text)["hits"])


if __name__ == "__main__":
    main()
