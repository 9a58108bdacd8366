"""Composition root: Settings -> App. Only this module constructs; what opens here closes here."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, fields
from typing import Any

from langgraph.checkpoint.serde import _msgpack
from langgraph.store.base import BaseStore

from agents.agent import assemble, discover_agents
from agents.allowance import Allowance, Budget
from agents.breaker import Breakers
from agents.context import Context, Limits
from agents.policy import Calling
from agents.remote.remotes import Remotes
from agents.sandbox.box import Bounds
from agents.sandbox.choice import Chosen
from agents.tracing import untraced_is_free
from app.activities import Activity, discover_activities
from app.breakers import PostgresSwitch
from app.cards import PostgresCards
from app.demo_process import demo_model
from app.journal import Journal
from app.memory import PostgresMemory
from app.models import Deadlines, Endpoint, Models
from app.models.counting import ServedTokens
from app.peers import Peers, peer_agents, peers_of
from app.pins import PostgresPins
from app.postgres import Pool, database, migrate, open_pool, opened_store
from app.protocols.a2a_push import push_for_ever
from app.remotes import connect, servers_of
from app.retention import Retention
from app.runs import Runs
from app.settings import Settings
from app.steering import Steering
from app.web import Web
from app.work import Worker
from retrieval.bundled import ingest_bundled
from retrieval.corpus import Corpus
from retrieval.embed import Embedder, EmbedderUnavailable, HttpEmbedder, OnnxEmbedder
from retrieval.rerank import HttpReranker

log = logging.getLogger(__name__)


@dataclass(slots=True)
class App:
    """Everything that a front door needs."""

    settings: Settings
    pool: Pool
    journal: Journal
    models: Models
    corpus: Corpus
    runs: Runs
    steering: Steering
    activities: Mapping[str, Activity]
    store: BaseStore
    memory: PostgresMemory
    remotes: Remotes
    peers: Peers
    calling: Calling = field(default_factory=Calling)
    """Breakers and budgets of what tools and models call."""
    started_at: float = field(default_factory=time.monotonic)
    started_in_s: float = 0.0
    new_vectors: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when text was indexed whose vectors are still to be made."""
    bundled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the bundled articles can be searched, or could not be indexed."""


@asynccontextmanager
async def compose(settings: Settings, *, work: bool = True, embed: bool = True) -> AsyncIterator[App]:
    """Open everything. `work`: this process takes runs from the queue. `embed`: it makes vectors in the background."""
    if not _msgpack.STRICT_MSGPACK_ENABLED:
        raise RuntimeError(
            "LANGGRAPH_STRICT_MSGPACK was not set before LangGraph was imported; start through `sextant`"
        )
    started_at = time.monotonic()
    untraced_is_free()
    async with AsyncExitStack() as stack:
        # three waits that need nothing of each other; all end before one's failure is raised
        opening = asyncio.create_task(_database(stack, settings))
        serving = asyncio.create_task(_model_url(stack, settings))
        loading = asyncio.create_task(embedder(settings))
        await asyncio.wait([opening, serving, loading])
        conninfo, pool = opening.result()
        model_url, vectors = serving.result(), loading.result()
        models = Models(endpoints(settings, model_url), deadlines(settings))
        stack.push_async_callback(models.aclose)
        corpus = await stack.enter_async_context(await _corpus(settings, vectors))
        journal = await stack.enter_async_context(Journal(pool, conninfo).listening())
        activities = discover_activities()
        limits = limits_of(settings)
        memory = PostgresMemory(pool, vectors)
        team = discover_agents()
        peers = peers_of(settings, team)
        lines, cards = {name: peer.about for name, peer in peers.items()}, PostgresCards(pool)
        calling = await _calls(stack, pool)
        servers = Remotes(servers_of(settings, team), PostgresPins(pool), connect)
        remotes = await stack.enter_async_context(servers.kept())
        context = Context(
            models,
            assemble(team, models, limits, lines, calling) | peer_agents(peers, cards),
            corpus,
            limits,
            Allowance(budget_of(settings)),
            memory=memory,
            web=await stack.enter_async_context(reading(settings)),
            counters={role: ServedTokens(models.endpoint(role)) for role in models},
            remotes=remotes,
            sandbox=await stack.enter_async_context(running_code(settings)),
            peers=lines,
            calling=calling,
        )
        store = await stack.enter_async_context(opened_store(pool))
        retention = retention_of(settings, pool)
        worker = Worker(
            pool, journal, activities, context, model_name=settings.model, store=store, chore=retention.prune
        )
        await worker.queue.open(pool)
        runs = Runs(pool, journal, worker.queue, activities, max_question_chars=settings.max_question_chars)
        steering = Steering(pool, worker.queue, runs, activities)
        app = App(settings, pool, journal, models, corpus, runs, steering, activities, store, memory, remotes,
                  Peers(peers, cards), calling)  # fmt: skip
        if embed:
            await _background(stack, _keep_indexed(app), "indexing")
        await _background(stack, push_for_ever(pool, runs, steering, settings.web_allowed), "push notifications")
        if work:
            await stack.enter_async_context(worker.working(settings.worker_concurrency))
        app.started_in_s = time.monotonic() - started_at
        yield app


async def _database(stack: AsyncExitStack, settings: Settings) -> tuple[str, Pool]:
    """The database, open and migrated."""
    url = settings.database_url.get_secret_value() if settings.database_url else None
    conninfo = await stack.enter_async_context(database(url, settings.home))
    pool = await open_pool(conninfo, max_size=settings.worker_concurrency + 8)
    stack.push_async_callback(pool.close)
    await migrate(pool)
    return conninfo, pool


async def _model_url(stack: AsyncExitStack, settings: Settings) -> str:
    """The model that was set, or a demo model of our own."""
    if settings.model_url:
        return settings.model_url
    return await stack.enter_async_context(demo_model())


async def _corpus(settings: Settings, vectors: Embedder | None) -> Corpus:
    """The documents, with a second look at what search finds where there is an endpoint for it."""
    return await Corpus.open(settings.home / "index", vectors, reranker=reranker(settings))


async def _calls(stack: AsyncExitStack, pool: Pool) -> Calling:
    """What all agents share when they call services, with breakers that all processes share."""
    calling = Calling(breakers=Breakers(PostgresSwitch(pool)))
    await _background(stack, calling.breakers.follow(), "breakers")
    return calling


async def _background(stack: AsyncExitStack, work: Coroutine[Any, Any, None], name: str) -> None:
    """Run `work` for as long as the stack lasts; end it before what was opened earlier is closed."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(stop)


def _report(done: asyncio.Task[None]) -> None:
    if not done.cancelled() and (error := done.exception()):
        log.error("%s stopped: %s", done.get_name(), error, exc_info=error)


async def _keep_indexed(app: App) -> None:
    """Index the bundled articles on the first start, then make vectors whenever text is waiting for them."""
    try:
        await ingest_bundled(app.corpus)
    finally:
        app.bundled.set()
    while True:
        await app.corpus.embed_pending()
        app.new_vectors.clear()
        with suppress(TimeoutError):
            # another process may have added text
            await asyncio.wait_for(app.new_vectors.wait(), 30)


def endpoints(settings: Settings, model_url: str) -> dict[str, Endpoint]:
    """Model role -> where it is served; a role without an endpoint of its own shares the large one's."""
    large = Endpoint(
        model_url, settings.model, settings.model_key, settings.price_in_usd_per_mtok, settings.price_out_usd_per_mtok
    )
    small_name = settings.small_model or ("demo-small" if settings.demo else settings.model)
    roles = {
        "small": (settings.small_url, small_name),
        "embed": (settings.embed_url, settings.embed_model or settings.model),
        "rerank": (settings.rerank_url, settings.rerank_model or settings.model),
    }
    own = {role: Endpoint(url or model_url, model, settings.model_key) for role, (url, model) in roles.items()}
    same = (large.url, large.model)  # the same served model has the same price
    return {"large": large, **{role: large if (it.url, it.model) == same else it for role, it in own.items()}}


def deadlines(settings: Settings) -> Deadlines:
    """The four deadlines of a model call."""
    return Deadlines(
        settings.connect_timeout_s,
        settings.first_token_timeout_s,
        settings.between_tokens_timeout_s,
        settings.model_timeout_s,
    )


def limits_of(settings: Settings) -> Limits:
    """Bounds of every run."""
    return Limits(
        settings.max_steps,
        settings.max_parallel,
        subtask_timeout_s=settings.subtask_timeout_s,
        quorum=settings.quorum,
        subtask_usd=settings.subtask_usd,
        subtask_tokens=settings.subtask_tokens,
        context_tokens=settings.context_tokens,
    )


def budget_of(settings: Settings) -> Budget:
    """What a run may spend that names no budget of its own."""
    units = (unit.name for unit in fields(Budget))
    return Budget(**{unit: getattr(settings, f"budget_{unit}") for unit in units})


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[Web | None]:
    """The open web, where it is switched on."""
    async with AsyncExitStack() as stack:
        web = Web(settings.web_allowed) if settings.web else None
        if web:
            stack.push_async_callback(web.aclose)
        yield web


@asynccontextmanager
async def running_code(settings: Settings) -> AsyncIterator[Chosen]:
    """The sandbox; what it is, it finds out when the first code comes."""
    sandbox = Chosen(settings.sandbox, sandbox_bounds(settings))
    try:
        yield sandbox
    finally:
        await sandbox.aclose()


def sandbox_bounds(settings: Settings) -> Bounds:
    """Bounds of one run of code."""
    wall_s = settings.sandbox_timeout_s
    return Bounds(wall_s=wall_s, cpu_s=math.ceil(wall_s), memory_bytes=settings.sandbox_memory_mb * 1_000_000)


def retention_of(settings: Settings, pool: Pool) -> Retention:
    """What is removed by age."""
    return Retention(pool, settings.retention_days, settings.retention_resumable_days)


async def embedder(settings: Settings) -> Embedder | None:
    """The configured endpoint, or the built-in MiniLM; None, and search by words alone, when its files are damaged."""
    if settings.embed_url:
        key = settings.model_key.get_secret_value() if settings.model_key else ""
        return HttpEmbedder(settings.embed_url, settings.embed_model or settings.model, api_key=key)
    try:
        return await OnnxEmbedder.load()
    except EmbedderUnavailable as error:
        log.error("no vectors, search uses words alone: %s", error)
        return None


def reranker(settings: Settings) -> HttpReranker | None:
    """The endpoint that looks at search's finds again, where one is set."""
    if not settings.rerank_url:
        return None
    key = settings.model_key.get_secret_value() if settings.model_key else ""
    return HttpReranker(settings.rerank_url, settings.rerank_model or settings.model, api_key=key)
