"""Tools over HTTP: what each promises, who holds it, how its service stands, and how it did in the last hour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from langchain_core.tools import BaseTool

from agents.agent import discover_agents
from agents.breaker import CLOSED, Standing
from agents.policy import service_of
from agents.tools.contract import contract_of
from agents.tools.remote import offered_tools
from app.compose import App
from app.last_hour import LastHour
from app.postgres import Pool

MAX_DESCRIPTION_CHARS = 2_000

# from the stored events: a cut call has no end of its own, but its timeout carries the call's id
CALLS = """
with recent as materialized (
    select run_id from runs where coalesce(finished_at, now()) > now() - interval '1 hour'
),
told as materialized (
    select it.run_id, it.span_id, it.at, it.type, it.data from recent join run_events as it using (run_id)
    where it.type in ('tool.started', 'tool.finished', 'tool.timeout') and it.at > now() - interval '1 hour'
),
ended as (
    select begun.data ->> 'name' as name, extract(epoch from done.at - begun.at)::float8 as seconds,
        done.type = 'tool.timeout' or not coalesce((done.data ->> 'ok')::boolean, true) as failed
    from told as begun
    join lateral (
        select done.at, done.type, done.data from told as done
        where done.run_id = begun.run_id and done.at >= begun.at and (
            (done.type = 'tool.finished' and done.span_id = begun.span_id)
            or (done.type = 'tool.timeout' and done.data ->> 'call_id' = begun.data ->> 'call_id'))
        order by done.at limit 1
    ) as done on true
    where begun.type = 'tool.started'
)
select name, count(*) as calls, count(*) filter (where failed) as errors,
    percentile_disc(0.95) within group (order by seconds) as p95_s
from ended group by name
"""

_OPENED = "select service, opened_at from breakers"


def tools_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/tools`."""
    router = APIRouter(prefix="/tools", tags=["tools"])
    hour = LastHour(CALLS)

    @router.get("")
    async def tools() -> dict[str, Any]:
        """All tools that some role may call, and the services, models among them, that were called lately."""
        return await described_tools(get_app(), hour)

    return router


async def described_tools(app: App, hour: LastHour) -> dict[str, Any]:
    """`tools` and `services`, as they stand now for all processes."""
    figures = await hour.figures(app.pool)
    breakers = Shown(app.calling.breakers.standings(), await _opened(app.pool))
    return {
        "tools": [
            _shown(tool, roles, granted, breakers, figures.get(name))
            for name, (tool, roles, granted) in sorted(_held(app).items())
        ],
        "services": [{"service": service, "breaker": breakers.of(service)} for service in sorted(breakers.standings)],
    }


def _held(app: App) -> dict[str, tuple[BaseTool, list[str], list[str]]]:
    """Tool name -> the tool, the roles that hold it, and those that may call it without a person."""
    held: dict[str, tuple[BaseTool, list[str], list[str]]] = {}
    for role, agent in sorted(discover_agents().items()):
        for tool in [*agent.tools, *offered_tools(app.remotes, role)]:
            _, roles, granted = held.setdefault(tool.name, (tool, [], []))
            roles.append(role)
            granted += [role] if tool.name in agent.grants else []
    return held


@dataclass(frozen=True, slots=True)
class Shown:
    """Breakers as they are shown: how this process takes them, since when as the database has it."""

    standings: Mapping[str, Standing]
    opened: Mapping[str, datetime]

    def of(self, service: str) -> dict[str, Any]:
        """One of them; `since` is None while it is closed, or where only this process knows that it is open."""
        standing = self.standings.get(service, CLOSED)
        since = self.opened.get(service) if standing.state != "closed" else None
        return {
            "state": standing.state,
            "since": since and since.isoformat(),
            "next_try_s": round(standing.retry_in_s, 1),
            "why": standing.why,
        }


async def _opened(pool: Pool) -> dict[str, datetime]:
    async with pool.connection() as connection:
        rows = await (await connection.execute(_OPENED)).fetchall()
    return {row["service"]: row["opened_at"] for row in rows}


def _shown(tool: BaseTool, roles: list[str], granted: list[str], breakers: Shown, hour: Any) -> dict[str, Any]:
    contract = contract_of(tool)
    service = service_of(tool.name, contract)
    return {
        "name": tool.name,
        "description": tool.description[:MAX_DESCRIPTION_CHARS],
        "service": service,
        "effect": contract.effect,
        "approval": contract.approval,
        "reaches_out": contract.reaches_out,
        "timeout_s": contract.timeout_s,
        "roles": roles,
        "granted_to": granted,
        "breaker": breakers.of(service),
        "calls": hour["calls"] if hour else 0,
        "errors": hour["errors"] if hour else 0,
        "p95_ms": round(1000 * hour["p95_s"]) if hour else None,
    }
