"""What a fetch connects to, and how much of an answer it takes; against real servers on loopback."""

import asyncio
import gzip
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from yarl import URL

from agents.errors import Refused, RunError, ToolFailed
from agents.fetching import MAX_REDIRECTS, fetch_url, permitted, redirected, why_private

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "0.0.0.0", "0.1.2.3", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
]  # fmt: skip
PRIVATE_6 = [
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "100::1", "fec0::1", "64:ff9b:1::1",
    "::ffff:0:127.0.0.1", "5f00::1", "4000::1", "f000::1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e"]


def ways_to_write(address: str) -> Iterator[str]:
    """A private IPv4 address as people write it to get past a filter."""
    parts = [int(part) for part in address.split(".")]
    whole = int(ipaddress.IPv4Address(address))
    yield address
    yield str(whole)
    yield hex(whole)
    yield "0" + oct(whole)[2:]
    yield ".".join(hex(part) for part in parts)
    yield ".".join(f"0{part:o}" for part in parts)
    yield f"{parts[0]}.{parts[1] * 65536 + parts[2] * 256 + parts[3]}"
    yield address.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    yield address.replace(".", "。")
    yield f"[::ffff:{address}]"
    yield f"[::{address}]"
    yield f"[64:ff9b::{address}]"
    yield f"[2002:{parts[0]:02x}{parts[1]:02x}:{parts[2]:02x}{parts[3]:02x}::1]"


HOSTILE = [f"http://{host}/" for address in PRIVATE for host in ways_to_write(address)]
HOSTILE += [f"http://[{address}]/" for address in PRIVATE_6]
ODD = [
    "file:///etc/passwd", "gopher://1.1.1.1/", "ftp://1.1.1.1/", "data:text/plain,x", "javascript:alert(1)",
    "//1.1.1.1/", "http:///x", "http://", "http:/1.1.1.1", "1.1.1.1", "", "http://user@1.1.1.1/", "http://user:pass@1.1.1.1/",
    "http://1.1.1.1:22/", "http://1.1.1.1:6379/", "http://1.1.1.1:0/", "http://1.1.1.1:99999/",
    "http://1.1.1.1\\@127.0.0.1/",
    "http://1.1.1.1/\r\nHost: x", "http://1.1.1.1/ x", "http://1.1.1.1/\x00", "http://[::1", "http://a" + "a" * 2_000,
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun/x", "ws://1.1.1.1/", "http://[fe80::1%25eth0]/",
]  # fmt: skip


@pytest.fixture(scope="module")
def loopback() -> Iterator[socket.socket]:
    """A listener on every loopback address, whose queue tells whether somebody came."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        yield listening


def test_the_list_of_hostile_addresses_is_long() -> None:
    assert len(set(HOSTILE + ODD)) >= 200


@pytest.mark.parametrize("url", HOSTILE + ODD)
async def test_no_private_address_is_connected_to_however_it_is_written(url: str) -> None:
    # Refused by us, or no address at all to the resolver: never an answer
    with pytest.raises(RunError) as refused:
        await fetch_url(url, timeout_s=60)
    assert refused.value.next_move


@pytest.mark.parametrize("address", PRIVATE + PRIVATE_6)
def test_private_addresses_are_named(address: str) -> None:
    assert why_private(ipaddress.ip_address(address)).startswith(address.split("%")[0][:3])


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_open_web_are_let_through(address: str) -> None:
    assert why_private(ipaddress.ip_address(address)) == ""


async def test_a_name_that_leads_inside_is_refused_where_the_socket_is_made(loopback: socket.socket) -> None:
    port = loopback.getsockname()[1]
    with pytest.raises(Refused):  # the port
        permitted(f"http://localhost:{port}/")
    with pytest.raises(Refused, match=r"not an address of the open web"):
        await fetch_url("http://localhost:8080/", timeout_s=60)
    with pytest.raises(BlockingIOError):
        loopback.accept()


Pages = dict[str, web.StreamResponse]


@pytest.fixture
async def site() -> AsyncIterator[str]:
    """A server with what a hostile or a broken site may answer; its `host:port`."""

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["to"])

    async def again(request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        if left:
            raise web.HTTPFound(f"/again/{left - 1}")
        return web.Response(text="there")

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except (ConnectionError, asyncio.CancelledError):
            return response

    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"\0" * 50_000_000), headers={"Content-Encoding": "gzip"})

    async def packed(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"small"), headers={"Content-Encoding": "gzip"})

    async def torn(_: web.Request) -> web.Response:
        return web.Response(body=b"no gzip at all", headers={"Content-Encoding": "gzip"})

    async def strange(_: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"Content-Encoding": "br"})

    async def asked(request: web.Request) -> web.Response:
        return web.json_response(dict(request.headers))

    over = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await over.wait()
        return web.Response(text="too late")

    app = web.Application()
    routes = {"/to": redirect, "/again/{left}": again, "/flood": flood, "/bomb": bomb, "/packed": packed, "/torn": torn,
              "/strange": strange, "/asked": asked, "/silent": silent}  # fmt: skip
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = site._server.sockets[0].getsockname()  # type: ignore[union-attr]
    yield f"{host}:{port}"
    over.set()
    await runner.cleanup()


async def test_a_server_inside_is_read_only_where_the_operator_names_it(site: str) -> None:
    got = await fetch_url(f"http://{site}/packed", inside=[site])
    assert got.body == b"small"
    with pytest.raises(Refused):
        await fetch_url(f"http://{site}/packed")


@pytest.mark.parametrize("to", ["http://169.254.169.254/latest/meta-data/", "http://localhost/", "file:///etc/passwd",
                                "http://[::1]/", "//127.0.0.1:6379/"])  # fmt: skip
async def test_a_redirect_is_looked_at_like_a_first_address(site: str, to: str) -> None:
    with pytest.raises(Refused):
        await fetch_url(f"http://{site}/to?to={to}", inside=[site])


def test_the_open_web_sends_nobody_inside() -> None:
    """A page that anybody may have written leads to a server that only the operator's own words open."""
    wiki, far = "http://127.0.0.1:9000/secret", URL("https://evil.example/")
    inside = frozenset({"127.0.0.1:9000", "wiki.inside:8080"})

    assert redirected(None, wiki, inside) == (URL(wiki), inside)
    assert redirected(URL(wiki), wiki, inside) == (URL(wiki), inside)
    assert redirected(URL(wiki), str(far), inside) == (far, inside)
    with pytest.raises(Refused, match="port 9000"):
        redirected(far, wiki, inside)
    # a name is not known to lead inside until it is looked up, and then nothing excuses it
    assert redirected(far, "http://wiki.inside:8080/", inside) == (URL("http://wiki.inside:8080/"), frozenset())


async def test_what_only_claims_to_be_packed_is_an_observation(site: str) -> None:
    with pytest.raises(ToolFailed, match="its answer broke off"):
        await fetch_url(f"http://{site}/torn", inside=[site])


async def test_no_proxy_of_the_environment_is_asked(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would look names up and connect in our place, past every check."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{site}")
    with pytest.raises(Refused, match="not an address of the open web"):
        await fetch_url("http://localhost/asked", timeout_s=60)
    assert (await fetch_url(f"http://{site}/packed", inside=[site])).body == b"small"


async def test_redirects_end(site: str) -> None:
    assert (await fetch_url(f"http://{site}/again/{MAX_REDIRECTS}", inside=[site])).body == b"there"
    with pytest.raises(ToolFailed, match=r"more than 5 redirects"):
        await fetch_url(f"http://{site}/again/{MAX_REDIRECTS + 1}", inside=[site])


@pytest.mark.parametrize("path", ["flood", "bomb"])
async def test_no_more_is_taken_than_was_allowed(site: str, path: str) -> None:
    with pytest.raises(ToolFailed, match=r"more than 1,000,000 bytes"):
        await fetch_url(f"http://{site}/{path}", inside=[site], max_bytes=1_000_000, timeout_s=60)


async def test_what_comes_packed_otherwise_is_not_read(site: str) -> None:
    with pytest.raises(ToolFailed, match=r"sent as 'br', unasked"):
        await fetch_url(f"http://{site}/strange", inside=[site])


async def test_a_silent_server_costs_the_deadline_and_no_more(site: str) -> None:
    with pytest.raises(ToolFailed, match=r"no whole answer within 0.3 s"):
        await fetch_url(f"http://{site}/silent", inside=[site], timeout_s=0.3)


async def test_a_missing_page_is_said_without_its_query(site: str) -> None:
    with pytest.raises(ToolFailed, match=r"/none: HTTP 404") as failed:
        await fetch_url(f"http://{site}/none?token=secret", inside=[site])
    assert "secret" not in str(failed.value)


async def test_nothing_of_ours_is_sent_along(site: str) -> None:
    got = await fetch_url(f"http://{site}/asked", inside=[site])
    sent = got.body.decode().lower()
    assert '"cookie"' not in sent and '"authorization"' not in sent and '"referer"' not in sent
    assert got.media_type == "application/json"
