"""What a Prometheus scrapes: how the tools and the services behind them stand, and what the runs are doing.

The numbers come from the database, so that every process of a fleet answers the same and none counts for itself.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from app.compose import App
from app.last_hour import LastHour
from app.tools_api import CALLS, described_tools

OPENNESS = {"closed": 0.0, "half-open": 0.5, "open": 1.0}
_RUNS = """
select status, count(*) as runs from runs where coalesce(finished_at, now()) > now() - interval '1 hour' group by status
"""


def metrics_router(get_app: Callable[[], App]) -> APIRouter:
    """`GET /metrics`, in the text format of Prometheus."""
    router = APIRouter(tags=["metrics"])
    hour = LastHour(CALLS)

    @router.get("/metrics")
    async def metrics() -> Response:
        """Breakers, calls, errors and p95 of each tool in the last hour, and runs by status."""
        app = get_app()
        described = await described_tools(app, hour)
        async with app.pool.connection() as connection:
            runs = await (await connection.execute(_RUNS)).fetchall()
        registry = CollectorRegistry()
        registry.register(Told([*_services(described), *_tools(described["tools"]), _runs(runs)]))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class Told(Collector):
    """Figures that are known already, as the library's registry takes them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        return self._families


def _services(described: Mapping[str, Any]) -> Iterable[Metric]:
    breakers = GaugeMetricFamily(
        "sextant_breaker_open", "Breaker of a service: 0 closed, 0.5 half-open, 1 open", labels=["service"]
    )
    states = {it["service"]: it["breaker"]["state"] for it in [*described["tools"], *described["services"]]}
    for service, state in sorted(states.items()):
        breakers.add_metric([service], OPENNESS[state])
    yield breakers


def _tools(tools: Iterable[Mapping[str, Any]]) -> Iterable[Metric]:
    # a window that moves may shrink, which a counter must not
    calls = GaugeMetricFamily("sextant_tool_calls_last_hour", "Calls that ended in the last hour", labels=["tool"])
    errors = GaugeMetricFamily("sextant_tool_errors_last_hour", "Those of them that failed", labels=["tool"])
    p95 = GaugeMetricFamily("sextant_tool_p95_seconds", "p95 of their duration; absent without one", labels=["tool"])
    for tool in tools:
        calls.add_metric([tool["name"]], tool["calls"])
        errors.add_metric([tool["name"]], tool["errors"])
        if tool["p95_ms"] is not None:
            p95.add_metric([tool["name"]], tool["p95_ms"] / 1000)
    yield from (calls, errors, p95)


def _runs(rows: Iterable[Mapping[str, Any]]) -> Metric:
    runs = GaugeMetricFamily("sextant_runs", "Runs that have not ended, or did in the last hour", labels=["status"])
    for row in rows:
        runs.add_metric([row["status"]], row["runs"])
    return runs
