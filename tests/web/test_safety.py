"""What the service lets nobody do: read outside its sources, hold it up, fill its memory, or get in without the key."""

import contextlib
import io
import itertools
import os
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.formats import NO_HEIF
from retrieval.schema.records import point_id
from retrieval.web.errors import client_message
from retrieval.web.limits import Limits
from retrieval.web.middleware.auth import SESSION_SECONDS, has_session, is_here, make_token
from tests.cli.conftest import Ingested, copy, done_well
from tests.web.serving import Served, serving, settings_of, until

KEY = "a key of the tests"
FORM = b"multipart/form-data; boundary=x"
FILE = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
"""How such a form begins; an image's bytes follow."""


def post(kind: bytes = b"application/json", **more: bytes) -> bytes:
    """The head of a request to search."""
    lines = [b"POST /api/search HTTP/1.1", b"Host: localhost", b"Content-Type: " + kind]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in more.items()]
    return b"\r\n".join([*lines, b"", b""])


TIGHT = Limits(upload=300_000, small=1000, large=2, body_seconds=1.0, head_seconds=1.0, request_seconds=5.0, rate=0)


def raw(served: Served, *pieces: bytes, then: Iterable[bytes] = (), pause: float = 0.0) -> bytes:
    """Send bytes as they are until there is an answer; returns all that comes back until the server hangs up.

    Raises TimeoutError if it does not, 30 s after its last byte.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        for piece in itertools.chain(pieces, then):
            connection.sendall(piece)
            if select.select([connection], [], [], pause)[0]:
                break
        with contextlib.suppress(ConnectionError):
            while more := connection.recv(65536):
                received += more
    return received


@pytest.fixture(scope="module")
def tight(ingested: Ingested, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service that allows little."""
    own = copy(ingested.home, tmp_path_factory.mktemp("tight") / "home")
    with serving(settings_of(own), TIGHT) as service:
        service.ready()
        yield service


@pytest.mark.parametrize(
    "path",
    [
        "/images/../../etc/passwd",
        "/images/%2e%2e/%2e%2e/etc/passwd.png",
        "/images/..%2f..%2fetc%2fpasswd.jpg",
        "/images/pictures%00.png",
        "/images/..%2f..%2fetc%2fpasswd/file",
        "/images/%2e%2e/file",
        "/images/pictures/reconstruction.png",
        "/images/pictures/3/00079.png",
        f"/images/{point_id('a', 'b')}.svg",
        f"/images/{point_id('a', 'b').upper()}.png",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/api/points/..%2f..",
        "/api/points/%00",
    ],
)
def test_no_path_leads_anywhere_but_to_points(served: Served, path: str) -> None:
    answer = raw(served, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert b" 404 " in answer.splitlines()[0]
    assert b"root:" not in answer
    assert b"import " not in answer


def test_a_link_out_of_the_root_shows_nothing(ingested: Ingested, tmp_path: Path, digit: bytes) -> None:
    folder, secret = tmp_path / "mine", tmp_path / "secret.png"
    folder.mkdir()
    Image.new("L", (28, 28), 200).save(secret)
    (folder / "one.png").write_bytes(digit)
    (folder / "two.png").write_bytes(secret.read_bytes())
    home = copy(ingested.home, tmp_path / "home")
    done_well("ingest", folder, "--alias", "mine", home=home)
    (folder / "two.png").unlink()
    (folder / "two.png").symlink_to(secret)
    with serving(settings_of(home), alias="mine") as service:
        good = service.client.get(f"/images/{point_id('mine', 'one.png')}.png")
        assert Image.open(io.BytesIO(good.content)).size == (28, 28)
        nothing = service.client.get(f"/images/{point_id('no', 'thing')}.png").content
        assert service.client.get(f"/images/{point_id('mine', 'two.png')}.png").content == nothing
        tag = {"If-None-Match": good.headers["etag"]}
        assert service.client.get(f"/images/{point_id('mine', 'one.png')}.png", headers=tag).status_code == 304
        Image.new("L", (28, 28), 100).save(folder / "one.png")
        changed = service.client.get(f"/images/{point_id('mine', 'one.png')}.png", headers=tag)
        assert changed.status_code == 200
        assert changed.headers["etag"] != good.headers["etag"]
        (folder / "one.png").unlink()
        assert service.client.get(f"/images/{point_id('mine', 'one.png')}.png").content == nothing


def test_a_body_that_is_too_large_is_refused_declared_or_not(tight: Served) -> None:
    def pieces() -> Iterator[bytes]:
        yield FILE
        for _ in range(40):
            yield bytes(10_000)

    for content in (b"".join(pieces()), pieces()):
        answer = tight.client.post("/api/search", content=content, headers={"content-type": FORM.decode()})
        assert answer.status_code == 413
        assert "293 KiB" in answer.json()["error"]


def test_a_slow_body_is_not_waited_for(tight: Served) -> None:
    head = (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    answer = raw(tight, head, b"{")
    assert b" 408 " in answer.splitlines()[0]
    assert b" 1 s" in answer


@pytest.mark.timeout(60)
def test_chunks_without_end_are_cut_off(tight: Served) -> None:
    chunk = b"2710\r\n" + bytes(10_000) + b"\r\n"
    answer = raw(tight, post(transfer_encoding=b"chunked"), then=itertools.repeat(chunk), pause=0.001)
    assert b" 413 " in answer.splitlines()[0]


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ",
        b"",
    ],
)
def test_a_head_that_never_ends_is_not_waited_for(tight: Served, head: bytes) -> None:
    assert b" 200 " not in raw(tight, head), "the server hangs up"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX\0: y\r\n\r\n",
        b"\x16\x03\x01 hello\r\n\r\n",
    ],
)
def test_strange_heads_are_refused_and_others_answered(tight: Served, head: bytes) -> None:
    assert b" 400 " in raw(tight, head).splitlines()[0]
    assert tight.client.get("/healthz").status_code == 200


def test_large_bodies_wait_for_each_other_and_small_ones_do_not(tight: Served, digit: bytes) -> None:
    assert len(digit) < TIGHT.small
    with ThreadPoolExecutor(8) as slow:
        stuck = [slow.submit(raw, tight, post(content_length=b"200000"), b"{") for _ in range(8)]
        time.sleep(0.3)
        assert tight.client.post("/api/search", files={"image": digit}).status_code == 200
        codes = [answer.result().split()[1] for answer in stuck]
    assert set(codes) <= {b"408", b"503"}


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that says it is `side` pixels wide and high."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(side * (side + 1), 10_000_000)), 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def test_bombs_and_cut_files_are_refused(served: Served, digit: bytes) -> None:
    for data, says in (
        (bomb(9_000), "50,000,000"),
        (bomb(60_000), "pixels"),
        (digit[: len(digit) // 2], "truncated"),
        (os.urandom(100_000), "PNG"),
    ):
        answer = served.client.post("/api/search", files={"image": data})
        assert answer.status_code == 422
        assert says in answer.json()["error"]


def test_an_upload_cut_in_the_middle_harms_nobody(served: Served, digit: bytes) -> None:
    head = post(FORM, content_length=b"9999")
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(head + FILE + b"abc")
    assert served.client.post("/api/search", files={"image": digit}).status_code == 200


def test_too_much_from_many_costs_little_memory_and_others_are_answered(served: Served, digit: bytes) -> None:
    """Forms that say nothing of their size and are in order until they have passed the limit: read that far."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    part, before, peak = os.urandom(2**20), resident(), 0
    done = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield FILE
        for _ in range(Limits().upload // len(part) + 2):
            yield part
        yield b"\r\n--x--\r\n"

    def send(_: int) -> httpx.Response:
        with httpx.Client(base_url=served.url, timeout=120, trust_env=False) as client:
            return client.post("/api/search", content=pieces(), headers={"content-type": FORM.decode()})

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, resident())

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(24) as clients:
        answers = [clients.submit(send, number) for number in range(24)]
        for _ in range(5):
            assert served.client.post("/api/search", files={"image": digit}).status_code == 200
        refused = [answer.result() for answer in answers]
    done.set()
    watching.join()
    too_large = [answer.json()["error"] for answer in refused if answer.status_code == 413]
    assert {answer.status_code for answer in refused} <= {413, 503}
    assert len(too_large) > len(refused) / 2
    assert all("20 MiB" in said for said in too_large)
    assert peak - before < 200 * 2**20 < len(refused) * Limits().upload


@pytest.fixture
def guarded(ingested: Ingested, own_home: Path) -> Iterator[Served]:
    """A service that wants a key."""
    with serving(settings_of(copy(ingested.home, own_home)), key=KEY) as service:
        yield service


def test_a_key_is_wanted_for_all_but_the_page_and_health(guarded: Served, caplog: pytest.LogCaptureFixture) -> None:
    wanted = ["/api/status", "/api/sample", f"/images/{point_id('a', 'b')}.jpg", "/metrics", "/api/facets"]
    for path in wanted:
        answer = guarded.client.get(path)
        assert answer.status_code == 401
        assert "X-API-Key" in answer.json()["error"]
        assert guarded.client.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
        assert guarded.client.get(path, headers={"X-API-Key": KEY}).status_code == 200
        assert guarded.client.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    for path in ("/", "/static/app.js", "/healthz", "/docs", "/openapi.json"):
        assert guarded.client.get(path).status_code == 200
    assert KEY not in caplog.text


def test_a_browser_shows_the_key_once(guarded: Served) -> None:
    assert guarded.client.post("/api/session", headers={"X-API-Key": "wrong"}).status_code == 401
    assert guarded.client.get("/api/status").status_code == 401
    opened = guarded.client.post("/api/session", headers={"X-API-Key": KEY})
    assert opened.status_code == 204
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert KEY not in cookie
    assert guarded.client.get("/api/status").status_code == 200


def test_a_session_ends_and_cannot_be_made_up() -> None:
    good = make_token(KEY)
    assert has_session(f"a=b; retrieval={good}", KEY)
    assert not has_session(f"retrieval={make_token(KEY, time.time() - SESSION_SECONDS - 1)}", KEY)
    ends, _, signature = good.partition(".")
    for bad in (f"{int(ends) + 1}.{signature}", f"{ends}.", "", "x.y", f"9e9.{signature}", "."):
        assert not has_session(f"retrieval={bad}", KEY)
    assert not has_session("retrieval=\x00;;;=", KEY)


@pytest.mark.parametrize("other", ['prefs={"theme":"dark"}', "flag", "session id=1", "café=1", "retrieval=old", '"'])
def test_other_programs_cookies_do_not_hide_the_session(other: str) -> None:
    assert has_session(f"{other}; retrieval={make_token(KEY)}", KEY)
    assert has_session(f"retrieval={make_token(KEY)};{other}", KEY)


@pytest.mark.timeout(30)
def test_a_cookie_of_backslashes_takes_no_time() -> None:
    """`http.cookies` of Python before 3.11.10 takes 2.6 s for each of these; this runs in the event loop."""
    for _ in range(20):
        assert not has_session('retrieval="' + "\\" * 30_000 + '"', KEY)


def test_another_name_for_this_machine_is_refused_without_a_key(served: Served) -> None:
    answer = served.client.get("/api/status", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert "localhost" in answer.json()["error"]
    assert [is_here(host) for host in ("LOCALHOST:80", "127.0.0.9", "[::1]:1", "", "0.0.0.0", "localhost.evil")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_one_client_may_not_ask_without_end(ingested: Ingested, own_home: Path) -> None:
    with serving(settings_of(copy(ingested.home, own_home)), Limits(rate=2)) as service:
        until(lambda: service.client.get("/healthz").status_code == 429, 20)
        answer = service.client.get("/api/status")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_pages_cannot_search(served: Served, headers: dict[str, str], status: int, digit: bytes) -> None:
    answer = served.client.post("/api/search", files={"image": digit}, headers=headers)
    assert answer.status_code == status
    own = {"Origin": str(served.client.base_url).rstrip("/"), "Referer": f"{served.url}/"}
    assert served.client.post("/api/search", files={"image": digit}, headers=own).status_code == 200


def test_other_sites_pages_show_no_images_but_the_dashboards_do(ingested: Ingested, own_home: Path) -> None:
    settings = settings_of(copy(ingested.home, own_home)).model_copy(
        update={"dashboard_url": "https://pictures.example:6333, http://127.0.0.1:6333/dashboard"}
    )
    policy = "cross-origin-resource-policy"
    with serving(settings) as service:
        image = f"/images/{service.client.get('/api/sample?n=1').json()['points'][0]['id']}.jpg"
        plain = service.client.get(image)
        assert (plain.status_code, plain.headers[policy]) == (200, "same-origin")
        shown = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        for referer, status, says in (
            ("https://evil.example/", 403, "same-origin"),
            ("https://pictures.example/", 403, "same-origin"),
            ("", 403, "same-origin"),
            ("https://pictures.example:6333/", 200, "cross-origin"),
            ("http://localhost:6333/dashboard", 200, "cross-origin"),
        ):
            answer = service.client.get(image, headers={**shown, "Referer": referer})
            assert (answer.status_code, answer.headers[policy]) == (status, says), referer
        linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert service.client.get(image, headers=linked).status_code == 200, "someone followed a link"
        dashboard = {**shown, "Referer": "http://localhost:6333/"}
        assert service.client.get("/api/sample", headers=dashboard).status_code == 403, "images only"


def test_only_named_proxies_are_believed(ingested: Ingested, own_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-API-Key": KEY}
    with serving(
        settings_of(copy(ingested.home, own_home)), Limits(rate=1), key=KEY, proxies="127.0.0.2/32"
    ) as service:

        def client(address: str) -> httpx.Client:
            transport = httpx.HTTPTransport(local_address=address)
            return httpx.Client(base_url=service.url, transport=transport, timeout=60)

        with client("127.0.0.2") as proxy, client("127.0.0.3") as other:
            assert "Secure" in proxy.post("/api/session", headers=told).headers["set-cookie"]
            assert "Secure" not in other.post("/api/session", headers=told).headers["set-cookie"]
            until(lambda: proxy.get("/healthz", headers=told).status_code == 429)
            next_one = {**told, "X-Forwarded-For": "192.0.2.2"}
            assert proxy.get("/healthz", headers=next_one).status_code == 200, "each has a rate of their own"
    assert "RETRIEVAL_TRUSTED_PROXIES=127.0.0.3" in caplog.text
    assert "RETRIEVAL_TRUSTED_PROXIES=127.0.0.2" not in caplog.text


def test_idle_connections_of_one_client_keep_nobody_out(ingested: Ingested, own_home: Path) -> None:
    limits = Limits(connections=40, client_connections=10, head_seconds=60)
    with serving(settings_of(copy(ingested.home, own_home)), limits) as service, contextlib.ExitStack() as stack:

        def idle(address: str) -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10, (address, 0)))

        def open_ones(some: list[socket.socket]) -> int:
            return sum(not select.select([each], [], [], 0)[0] for each in some)

        asked = [httpx.Client(base_url=service.url, trust_env=False) for _ in range(3)]
        for client in asked:
            stack.enter_context(client)
            assert client.get("/healthz").status_code == 200
        mine = [idle("127.0.0.1") for _ in range(30)]
        until(lambda: open_ones(mine) <= 10)
        assert all(client.get("/healthz").status_code == 200 for client in asked), "theirs stay"
        many = [idle(f"127.0.0.{2 + number // 9}") for number in range(90)]
        until(lambda: open_ones(many + mine) <= 40)
        assert service.client.get("/healthz").status_code == 200
        busy = [idle("127.0.1.1") for _ in range(12)]
        for each in busy:
            with contextlib.suppress(OSError):
                each.sendall(post(content_length=b"9"))
        until(lambda: open_ones(busy) <= 10)
        assert service.client.get("/healthz").status_code == 200


def test_head_is_answered_as_get_without_a_body(served: Served) -> None:
    for path in ("/", "/healthz", "/static/app.js"):
        answer = served.client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == served.client.get(path).headers["content-type"]


def test_visitors_are_not_told_what_to_install(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = b"\0\0\0\x18ftypheic" + bytes(64)
    said = served.client.post("/api/search", files={"image": heif}).json()["error"]
    assert "pip" not in said
    assert "pip" in NO_HEIF
    assert "pip" not in client_message(BadImage("a.heic", NO_HEIF))


def test_no_answer_names_a_place_or_shows_a_trace(
    served: Served, digit: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(f"in {served.index.settings.home}")

    monkeypatch.setattr(served.index.store, "query", broken)
    answer = served.client.post("/api/search", files={"image": digit})
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong in the service; its log has the details"}
    assert answer.headers["x-content-type-options"] == "nosniff"
