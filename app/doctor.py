"""Check each part by using it: database, model, embedder, index, disk, sandbox. One that is broken hides no other.

Nothing here mends anything, and nothing is shown that a log should not hold. A finding is one line; what is wrong comes
with what to do about it.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agents.agent import discover_agents
from agents.errors import ToolFailed
from agents.remote.remotes import Lost
from agents.remote.servers import Server
from agents.sandbox.box import NoIsolation
from agents.sandbox.boxes import Bubblewrap
from agents.sandbox.choice import prove
from app.activities import discover_activities
from app.compose import deadlines, embedder, endpoints, retention_of, running_code, sandbox_bounds
from app.demo_process import demo_model
from app.launch import described
from app.models import Models, Probe
from app.postgres import MIGRATIONS, Pool, database, open_pool
from app.remotes import connect, servers_file, servers_of
from app.settings import Settings, environment_strangers
from retrieval.corpus import Corpus

LOW_DISK_BYTES = 2_000_000_000
NO_DISK_BYTES = 200_000_000
ROUND_TRIPS = 20
SLOW_ROUND_TRIP_MS = 20.0
TABLES = {
    "runs": ("runs", "threads", "interrupts"),
    "events": ("run_events",),
    "checkpoints": ("checkpoints", "checkpoint_blobs", "checkpoint_writes"),
    "effects": ("effects",),
    "artefacts": ("artefacts",),
    "queue": ("procrastinate_jobs", "procrastinate_events", "procrastinate_periodic_defers"),
    "memory": ("memories", "memory_marks", "board_entries", "board_claims", "store"),
}
"""What is stored -> its tables. The first of each counts the things."""
CHECK_TIMEOUT_S = 120.0

Mark = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    part: str
    mark: Mark
    found: str
    fix: str = ""


Check = Callable[[Settings], AsyncGenerator[Finding, None]]


async def examine(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Every finding, as soon as it is there."""
    checks: Sequence[tuple[str, Check]] = (
        ("settings", _settings), ("disk", _disk), ("Postgres", _postgres), ("model", _model), ("embedder", _embedder),
        ("index", _index), ("graphs", _graphs), ("MCP servers", _remotes), ("sandbox", _sandbox),
    )  # fmt: skip
    for part, check in checks:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S), aclosing(check(settings)) as findings:
                async for finding in findings:
                    yield finding
        except TimeoutError:
            yield Finding(part, "fail", f"no result within {CHECK_TIMEOUT_S:.0f} s", "Look for what it waits for.")
        except Exception as error:
            problem, fix = described(error)
            yield Finding(part, "fail", problem, fix)


# -- this machine ----------------------------------------------------------------------------------------------------


async def _settings(settings: Settings) -> AsyncGenerator[Finding, None]:
    model = "the demo model" if settings.demo else f"{settings.model} at {settings.model_url}"
    changed = ", ".join(sorted(settings.model_fields_set)) or "nothing"
    strange = environment_strangers()
    others = ", ".join(name for name, near in strange.items() if not near)
    yield Finding("settings", "ok", f"{model}; changed: {changed}" + (f"; not ours: {others}" if others else ""))
    for name, near in strange.items():
        if near:
            yield Finding(
                "settings", "warn", f"there is no setting {name}, so it does nothing", f"Did you mean {near}?"
            )


async def _disk(settings: Settings) -> AsyncGenerator[Finding, None]:
    home = settings.home.resolve()
    took_ms = await asyncio.to_thread(_written_ms, home)
    free = shutil.disk_usage(home).free
    found = f"{home}: {free / 1e9:.1f} GB free, a synced write takes {took_ms:.1f} ms"
    if free < LOW_DISK_BYTES:
        mark: Mark = "fail" if free < NO_DISK_BYTES else "warn"
        yield Finding("disk", mark, found, "Free some space, or move SEXTANT_HOME to another disk.")
    else:
        yield Finding("disk", "ok", found)


def _written_ms(home: Path) -> float:
    home.mkdir(parents=True, exist_ok=True)
    probe = home / f".doctor.{os.getpid()}"
    began = time.perf_counter()
    try:
        with probe.open("wb") as file:
            file.write(bytes(4096))
            os.fsync(file.fileno())
        return (time.perf_counter() - began) * 1000
    finally:
        probe.unlink(missing_ok=True)


# -- Postgres --------------------------------------------------------------------------------------------------------


async def _postgres(settings: Settings) -> AsyncGenerator[Finding, None]:
    url = settings.database_url.get_secret_value() if settings.database_url else None
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        conninfo = await stack.enter_async_context(database(url, settings.home))
        opened_s = time.perf_counter() - began
        pool = await open_pool(conninfo, min_size=1, max_size=2)
        stack.push_async_callback(pool.close)
        async with pool.connection() as connection:
            where = "embedded" if url is None else f"{connection.info.host}:{connection.info.port}"
        version = (await _rows(pool, "show server_version"))[0]["server_version"]
        trip_ms = await _round_trip_ms(pool)
        found = f"{version}, {where}, open in {opened_s:.2f} s, round trip {trip_ms:.1f} ms"
        slow = trip_ms > SLOW_ROUND_TRIP_MS
        yield Finding("Postgres", "warn" if slow else "ok", found, "Every step of a run waits for it." if slow else "")
        schema = await _schema(pool)
        yield schema
        yield await _sizes(pool)
        if schema.found.startswith("all "):
            yield await _retention(settings, pool)


async def _round_trip_ms(pool: Pool) -> float:
    async with pool.connection() as connection:
        began = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            await connection.execute("select 1")
        return (time.perf_counter() - began) / ROUND_TRIPS * 1000


async def _schema(pool: Pool) -> Finding:
    known = {path.stem for path in MIGRATIONS.glob("*.sql")}
    if (await _rows(pool, "select to_regclass('sextant_migrations') is null as empty"))[0]["empty"]:
        return Finding("schema", "ok", f"empty database; the first start applies {len(known)} migrations")
    applied = {row["name"] for row in await _rows(pool, "select name from sextant_migrations")}
    strange = sorted(name for name in applied - known if not name.startswith("procrastinate/"))
    if strange:
        found = f"migrated by a newer Sextant: {', '.join(strange)}"
        return Finding("schema", "fail", found, "Update Sextant, or restore a backup from before.")
    if missing := known - applied:
        return Finding("schema", "ok", f"{len(missing)} migrations to come; the next start applies them")
    return Finding("schema", "ok", f"all {len(known)} migrations applied")


async def _sizes(pool: Pool) -> Finding:
    size = (await _rows(pool, "select pg_database_size(current_database()) as bytes"))[0]["bytes"]
    query = (
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint as bytes, "
        "coalesce(max(case when c.relname = %s then s.n_live_tup end), 0)::bigint as rows from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace left join pg_stat_user_tables s on s.relid = c.oid "
        "where c.relkind = 'r' and n.nspname = current_schema() and c.relname = any(%s)"
    )
    parts = []
    for group, tables in TABLES.items():
        it = (await _rows(pool, query, tables[0], list(tables)))[0]
        parts.append(f"{group} {_size(it['bytes'])} ({it['rows']:,})")
    return Finding("tables", "ok", f"{_size(size)} in all; {', '.join(parts)}")


async def _retention(settings: Settings, pool: Pool) -> Finding:
    """What the next turn of the pruning would take, and what it leaves alone although it is old."""
    if not settings.retention_days:
        return Finding("retention", "ok", "everything is kept for ever")
    outlook = await retention_of(settings, pool).outlook()
    found = (
        f"steps are kept for {settings.retention_days} days; older runs to prune within the hour: {outlook['due']:,}"
    )
    held = f"; kept, for they can be resumed: {outlook['held']:,}" if outlook["held"] else ""
    return Finding("retention", "ok", found + held)


async def _rows(pool: Pool, sql: str, *params: Any) -> list[dict[str, Any]]:
    async with pool.connection() as connection:
        return list(await (await connection.execute(sql, params)).fetchall())


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:,.0f} kB"


# -- model -----------------------------------------------------------------------------------------------------------


async def _model(settings: Settings) -> AsyncGenerator[Finding, None]:
    async with AsyncExitStack() as stack:
        url = settings.model_url
        if url is None:
            url = await stack.enter_async_context(demo_model())
        models = Models(endpoints(settings, url), deadlines(settings))
        stack.push_async_callback(models.aclose)
        for role in _roles(settings, models):
            for finding in _probed(await models.probe(role)):
                yield finding


def _roles(settings: Settings, models: Models) -> list[str]:
    """Roles that have an endpoint of their own; asking the same one twice would tell nothing."""
    large, small = models.endpoint("large"), models.endpoint("small")
    own = [] if (small.url, small.model) == (large.url, large.model) else ["small"]
    served = {"embed": settings.embed_url, "rerank": settings.rerank_url}
    return ["large", *own, *(role for role, url in served.items() if url)]


def _probed(probe: Probe) -> list[Finding]:
    """One finding for each thing asked; the same failure of several is one finding."""
    part = f"model {probe.role}"
    good = ", ".join(f"{it.name} {it.seconds:.2f} s" for it in probe.checks if it.ok)
    findings = [Finding(part, "ok", f"{probe.model}: {good}")] if good else []
    failed: dict[tuple[str, str], list[str]] = {}
    for check in probe.checks:
        # an endpoint that is away is away for everything; its optional route would only say so once more
        if not check.ok and (good or check.name != "tokenize"):
            failed.setdefault((check.error, check.fix), []).append(check.name)
    findings += [Finding(part, "fail", f"{', '.join(names)}: {error}", fix) for (error, fix), names in failed.items()]
    return findings


# -- corpus ----------------------------------------------------------------------------------------------------------


async def _embedder(settings: Settings) -> AsyncGenerator[Finding, None]:
    made = await embedder(settings)
    if made is None:
        fix = "Restore the folder retrieval/minilm from the release; until then search goes by words alone."
        yield Finding("embedder", "fail", "the built-in one cannot be loaded", fix)
        return
    began = time.perf_counter()
    vectors = await made.embed(["How long does a question take?"])
    took_ms = (time.perf_counter() - began) * 1000
    yield Finding("embedder", "ok", f"{made.name}: {len(vectors[0])} dimensions, a question in {took_ms:.0f} ms")


async def _index(settings: Settings) -> AsyncGenerator[Finding, None]:
    async with await Corpus.open(settings.home / "index", await embedder(settings)) as corpus:
        stats = corpus.stats()
        if not stats.chunks:
            fix = "`sextant ingest FOLDER` adds yours; `sextant up` adds the bundled field guide."
            yield Finding("index", "warn", "no documents yet", fix)
        else:
            began = time.perf_counter()
            await corpus.search("What is in these documents?", 5)
            took_ms = (time.perf_counter() - began) * 1000
            waiting = f", {stats.pending:,} wait for vectors" if stats.pending else ""
            found = f"{stats.documents:,} documents, {stats.chunks:,} passages{waiting}, {_size(stats.index_bytes)}"
            yield Finding("index", "ok", f"{found}, a search in {took_ms:.0f} ms")
        faiss = f"FAISS {stats.faiss}, {stats.gpus or 'no'} GPU" if stats.faiss else "FAISS is not installed"
        yield Finding("vectors", "ok" if stats.faiss else "warn", faiss, "" if stats.faiss else "pip install faiss-cpu")
        for problem in stats.problems:
            yield Finding("index", "warn", problem, "`sextant ingest` with the same files mends what is damaged.")


# -- what runs -------------------------------------------------------------------------------------------------------


async def _graphs(settings: Settings) -> AsyncGenerator[Finding, None]:
    yield Finding("graphs", "ok", ", ".join(discover_activities()))


async def _remotes(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Each server connected for a moment; nothing is approved by that."""
    servers = servers_of(settings, discover_agents())
    for server, finding in zip(servers, await asyncio.gather(*map(_greeted, servers)), strict=True):
        part = f"MCP {server.name}"
        fix = "" if finding.mark == "ok" else f"Check {server.target!r} in {servers_file(settings)}."
        yield Finding(part, finding.mark, finding.found, fix)


async def _greeted(server: Server) -> Finding:
    try:
        async with connect(server) as connection:
            tools = await connection.tools()
            return Finding(server.name, "ok", f"{connection.about}, {server.transport}: {len(tools)} tools")
    except (ToolFailed, Lost) as error:
        return Finding(server.name, "warn", str(getattr(error, "problem", error)))


async def _sandbox(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Code that tries what it must not be able to do, in the sandbox that runs would use."""
    if settings.sandbox == "off":
        yield Finding("sandbox", "ok", "off: agents run no code")
        return
    async with running_code(settings) as sandbox:
        try:
            found = await sandbox.found()
            began = time.perf_counter()
            outcome = await found.run("sum([n * n for n in [1, 2, 3]])")
        except NoIsolation as missing:
            yield Finding("sandbox", "fail", f"{missing.reason}; code is refused", missing.fix)
            return
        took_ms = (time.perf_counter() - began) * 1000
    if outcome.printed.strip() != "14":
        wrong = outcome.problem or outcome.printed.strip()
        yield Finding("sandbox", "fail", f"{found.name} calculates wrongly: {wrong}", "Install Sextant again.")
    elif found.name == "bubblewrap":
        yield Finding("sandbox", "ok", f"bubblewrap isolates; numpy, pandas, plots; a run takes {took_ms:.0f} ms")
    else:
        small = f"{found.name}: small computations, no numpy and no plots; a run takes {took_ms:.0f} ms"
        wanted = settings.sandbox == "monty"
        yield Finding("sandbox", "ok" if wanted else "warn", small, "" if wanted else await _why_small(settings))


async def _why_small(settings: Settings) -> str:
    boxes = Bubblewrap(sandbox_bounds(settings))
    try:
        await prove(boxes)
    except NoIsolation as missing:
        return f"For real Python: {missing.fix} ({missing.reason})."
    finally:
        await boxes.aclose()
    return "Start it again: bubblewrap works by now."
