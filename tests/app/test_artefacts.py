"""What tools made, on a real database and over HTTP: kept once, in bounds, for its owner, never run by a browser."""

from collections.abc import AsyncIterator, Iterator

import httpx
import psycopg
import pytest
from house import House, house

from agents.artefacts import MAX_BYTES, Artefact
from agents.errors import ToolFailed
from app.artefacts import MAX_KEPT, MAX_KEPT_BYTES, RunArtefacts, clean_name, read_artefact
from app.postgres import Pool, StaleWriter

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


async def a_run(pool: Pool, run_id: str = "r1", owner: str = "ann", epoch: int = 1) -> RunArtefacts:
    async with pool.connection() as connection:
        await connection.execute(
            "insert into threads (thread_id, owner, title, graph) values ('t1', %s, 'T', 'chat') "
            "on conflict do nothing",
            (owner,),
        )
        await connection.execute(
            "insert into runs (run_id, thread_id, owner, graph, status, input, epoch) "
            "values (%s, 't1', %s, 'chat', 'running', '{}', %s)",
            (run_id, owner, epoch),
        )
    return RunArtefacts(pool, run_id, owner, epoch=epoch)


@pytest.fixture
async def kept(pool: Pool) -> AsyncIterator[RunArtefacts]:
    """Artefacts of one claim."""
    yield await a_run(pool)


async def test_what_is_kept_is_read_and_kept_once(pool: Pool, kept: RunArtefacts) -> None:
    first = await kept.keep("plot.png", "image/png", PNG)
    again = await kept.keep("plot.png", "image/png", PNG)  # as after a crash
    other = await kept.keep("plot.png", "image/png", PNG + b"!")

    assert first == again == Artefact(first.id, "plot.png", "image/png", len(PNG))
    assert other.id != first.id
    assert await kept.read(first.id) == PNG
    async with pool.connection() as connection:
        row = await (await connection.execute("select count(*) as n from artefacts")).fetchone()
    assert row and row["n"] == 2


async def test_nobody_else_can_read_it(pool: Pool, kept: RunArtefacts) -> None:
    made = await kept.keep("plot.png", "image/png", PNG)

    with pytest.raises(ToolFailed, match="there is none with the id"):
        await RunArtefacts(pool, "r1", "bob", epoch=1).read(made.id)
    assert await read_artefact(pool, made.id, "bob") is None


async def test_a_claim_that_is_over_keeps_nothing_more(pool: Pool, kept: RunArtefacts) -> None:
    async with pool.connection() as connection:
        await connection.execute("update runs set epoch = 2")

    with pytest.raises(StaleWriter):
        await kept.keep("plot.png", "image/png", PNG)


async def test_size_and_number_are_bounded_and_the_refusal_says_how(pool: Pool, kept: RunArtefacts) -> None:
    with pytest.raises(ToolFailed, match=f"{MAX_BYTES + 1:,} bytes of {MAX_BYTES:,}; make it smaller"):
        await kept.keep("big", "text/plain", bytes(MAX_BYTES + 1))

    for n in range(MAX_KEPT):
        await kept.keep(f"{n}.txt", "text/plain", b"x")
    assert (await kept.keep("0.txt", "text/plain", b"x")).name == "0.txt"
    with pytest.raises(ToolFailed, match=f"{MAX_KEPT} artefacts or 50 MB of a run are reached"):
        await kept.keep("one-more.txt", "text/plain", b"x")

    second = await a_run(pool, "r2")
    for n in range(MAX_KEPT_BYTES // MAX_BYTES):
        await second.keep(str(n), "text/plain", bytes(MAX_BYTES))
    with pytest.raises(ToolFailed, match="make fewer"):
        await second.keep("one-more", "text/plain", b"x")


@pytest.mark.parametrize(
    ("given", "name"),
    [("../../etc/passwd", "passwd"), ("a\\b\\plot.png", "plot.png"), ("", "artefact"), ("..", "artefact"),
     ("a\nb\x1b[2J.png", "ab[2J.png"), ("x" * 500 + ".png", "x" * 116 + ".png"), ("Größe \u202e.png", "Größe .png")],
)  # fmt: skip
def test_a_name_has_no_folder_and_no_control_character(given: str, name: str) -> None:
    assert clean_name(given) == name


# -- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[House]:
    """The server, with a run that made things."""
    with house(tmp_path_factory.mktemp("house"), postgres) as running:
        assert running.settings.database_url
        with psycopg.connect(running.settings.database_url.get_secret_value()) as connection:
            connection.execute("insert into threads (thread_id, title, graph) values ('t', 'T', 'chat')")
            connection.execute(
                "insert into runs (run_id, thread_id, graph, status, input) "
                "values ('r', 't', 'chat', 'succeeded', '{}')"
            )
        yield running


@pytest.fixture
def http(server: House) -> Iterator[httpx.Client]:
    """The person at this machine."""
    with server.http() as client:
        yield client


def put(server: House, id: str, media_type: str, data: bytes, name: str = "plot", owner: str = "local") -> None:
    assert server.settings.database_url
    with psycopg.connect(server.settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "insert into artefacts (artefact_id, run_id, owner, name, media_type, size, data) "
            "values (%s, 'r', %s, %s, %s, %s, %s)",
            (id, owner, name, media_type, len(data), data),
        )


@pytest.mark.parametrize(
    ("media_type", "served", "how"),
    [("image/png", "image/png", "inline"), ("text/plain", "text/plain; charset=utf-8", "inline"),
     ("text/html", "application/octet-stream", "attachment"),
     ("image/svg+xml", "application/octet-stream", "attachment"),
     ("text/csv", "application/octet-stream", "attachment")],
)  # fmt: skip
def test_only_pictures_and_plain_text_are_shown(
    server: House, http: httpx.Client, media_type: str, served: str, how: str
) -> None:
    id = media_type.replace("/", ".").replace("+", ".")
    put(server, id, media_type, b"<script>alert(1)</script>", name='a "b"\r\n; é.html')

    answer = http.get(f"artefacts/{id}")

    assert (answer.status_code, answer.content) == (200, b"<script>alert(1)</script>")
    assert answer.headers["content-type"] == served
    told = answer.headers["content-disposition"]
    assert told == f"{how}; filename*=UTF-8''a%20%22b%22%0D%0A%3B%20%C3%A9.html"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("id", ["nothing", "anns", "a%00b", "..%2f..%2fetc"])
def test_what_is_not_there_and_what_is_anothers_looks_the_same(server: House, http: httpx.Client, id: str) -> None:
    if id == "anns":
        put(server, "anns", "image/png", PNG, owner="ann")

    answer = http.get(f"artefacts/{id}")

    assert answer.status_code in (404, 422)
    assert PNG not in answer.content
    assert (answer.status_code == 404) == (id in ("nothing", "anns", "..%2f..%2fetc"))


def test_a_deleted_conversation_takes_them_along(server: House, http: httpx.Client) -> None:
    put(server, "going", "image/png", PNG)
    assert http.get("artefacts/going").status_code == 200

    assert http.delete("threads/t").status_code in (200, 204)

    assert http.get("artefacts/going").status_code == 404
