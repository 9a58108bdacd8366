"""Models over HTTP: which role is served where, whether that answers now, and how it did in the last hour."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter

from app.compose import App
from app.last_hour import LastHour
from app.models import Endpoint
from app.models.counting import greeted
from app.models.http import shown_url

BUILT_IN = {"role": "embed", "url": "", "demo": False, "error": "", "calls": 0, "errors": 0, "p95_ms": None}

# a call that nobody waited for any more has not failed
_CALLS = """
with recent as materialized (
    select run_id from runs where coalesce(finished_at, now()) > now() - interval '1 hour'
),
told as materialized (
    select it.run_id, it.span_id, it.type, it.data from recent join run_events as it using (run_id)
    where it.type in ('llm.started', 'llm.finished') and it.at > now() - interval '1 hour'
)
select begun.data ->> 'model' as name, count(*) as calls, count(*) filter (where done.data ? 'error') as errors,
    percentile_disc(0.95) within group (order by (done.data ->> 'latency_s')::float8) as p95_s
from told as begun join told as done using (run_id, span_id)
where begun.type = 'llm.started' and done.type = 'llm.finished' and done.data ->> 'error' is distinct from 'stopped'
group by 1
"""


def models_router(get_app: Callable[[], App]) -> APIRouter:
    """Routes under `/models`."""
    router = APIRouter(prefix="/models", tags=["models"])
    hour = LastHour(_CALLS)

    @router.get("")
    async def models() -> dict[str, Any]:
        """Each role's model: where it is served, whether it answers at this moment, and its last hour in runs."""
        return {"models": await described_models(get_app(), hour)}

    return router


async def described_models(app: App, hour: LastHour) -> list[dict[str, Any]]:
    """One row for each role that has a model."""
    settings, figures = app.settings, await hour.figures(app.pool)
    served = {"large": True, "small": True, "embed": bool(settings.embed_url), "rerank": bool(settings.rerank_url)}
    roles = {role: app.models.endpoint(role) for role, asked in served.items() if asked}
    rows = await asyncio.gather(*(_shown(role, it, figures.get(it.model)) for role, it in roles.items()))
    shown = [{**row, "demo": settings.demo and row["role"] in ("large", "small")} for row in rows]
    if not settings.embed_url:
        name = app.corpus.stats().embedder
        found = "built in" if name else "its files are damaged: search goes by words alone"
        shown.insert(2, {**BUILT_IN, "model": name or "none", "answers": name is not None, "found": found})
    return shown


async def _shown(role: str, endpoint: Endpoint, hour: Mapping[str, Any] | None) -> dict[str, Any]:
    check = await greeted(endpoint)
    counted = {"calls": hour["calls"], "errors": hour["errors"]} if hour else {"calls": 0, "errors": 0}
    late = round(1000 * hour["p95_s"]) if hour and hour["p95_s"] is not None else None
    return {"role": role, "url": shown_url(endpoint.url), "model": endpoint.model, "answers": check.ok,
            "found": check.found, "error": check.error, **counted, "p95_ms": late}  # fmt: skip
