"""Every setting, typed, with its unit; the only reader of the environment.

Precedence: process environment, then `.env` in the working folder, then the default here. The defaults run offline:
embedded Postgres, the demo model, the built-in embedder. Numbers that can be computed are not settings.
"""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SEXTANT_"
_NEAR = 0.85
"""Likeness, the common prefix counted, from which a name is taken for a misspelled one."""

STRICT_MSGPACK = "LANGGRAPH_STRICT_MSGPACK"

ModelRole = Literal["large", "small", "embed", "rerank"]


class Settings(BaseSettings):
    """What a person may change without touching code. Every name is read as `SEXTANT_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_file_encoding="utf-8", frozen=True, extra="ignore"
    )

    home: Path = Path(".sextant")
    """Folder of all local state: embedded Postgres, index, uploads, logs."""

    database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("DATABASE_URL", "SEXTANT_DATABASE_URL")
    )
    """A Postgres 14+ to use. Unset: the embedded server under `home`."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but loopback needs a key for every request: `sextant key add NAME` first."""

    port: int = Field(default=8501, ge=0, le=65535)
    """Port of the chat and the API; the next free one is taken, and printed, when it is in use."""

    model_url: str | None = None
    """OpenAI-compatible base URL, ending in `/v1`. Unset: the demo model is started beside the app."""

    model: str = "demo-large"
    """Name of the served model for every role that has none of its own."""

    model_key: SecretStr | None = None
    """Bearer key of the model endpoint, if it wants one."""

    small_url: str | None = None
    small_model: str | None = None
    """A cheaper model for routine roles. Unset: the same as `model`."""

    embed_url: str | None = None
    embed_model: str | None = None
    """An OpenAI-compatible `/v1/embeddings`. Unset: the built-in MiniLM on the CPU."""

    rerank_url: str | None = None
    rerank_model: str | None = None
    """A `/v1/rerank` endpoint, which puts what search found in order. Unset: no second look."""

    price_in_usd_per_mtok: float | None = Field(default=None, ge=0)
    price_out_usd_per_mtok: float | None = Field(default=None, ge=0)
    """USD per million prompt and completion tokens. Unset: cost is not shown, rather than shown wrong."""

    connect_timeout_s: float = Field(default=5, gt=0)
    first_token_timeout_s: float = Field(default=60, gt=0)
    between_tokens_timeout_s: float = Field(default=30, gt=0)
    model_timeout_s: float = Field(default=300, gt=0)
    """The four deadlines of one model call; the last covers all of it."""

    max_steps: int = Field(default=12, ge=1, le=200)
    """Model calls that one agent may make in a run."""

    max_parallel: int = Field(default=8, ge=1, le=256)
    """Sub-agents of one run that work at once."""

    quorum: float = Field(default=1.0, gt=0, le=1)
    """Share of its inputs with which a step of a plan goes on; 1 waits for all. A plan may ask for a number itself."""

    subtask_timeout_s: float = Field(default=120, gt=0)
    """Deadline of one sub-agent, after which its part is reported as timed out."""

    subtask_usd: float | None = Field(default=None, gt=0)
    """Money that one agent may use for one question, where the model has a price. Unset: no limit of its own."""

    subtask_tokens: int | None = Field(default=None, ge=100)
    """Tokens that one agent may use for one question; at 80 % it is made to answer. Unset: no limit of its own."""

    context_tokens: int | None = Field(default=None, ge=2_000)
    """Tokens that a request and its answer may have together; what is older is paged out, and found again by search.
    Unset: what the model's server says of its context, or 32,768 where it says nothing."""

    budget_steps: int | None = Field(default=200, ge=1)
    budget_tokens: int | None = Field(default=None, ge=1)
    budget_usd: float | None = Field(default=None, gt=0)
    budget_seconds: float | None = Field(default=None, gt=0)
    budget_width: int | None = Field(default=None, ge=1)
    """What one run may spend when it names no budget: calls, tokens, money, time at work; and its sub-agents at work at
    once. At 80 % of what is spent it concludes."""

    worker_concurrency: int = Field(default=16, ge=1, le=1000)
    """Runs that one process works on at once."""

    max_question_chars: int = Field(default=100_000, ge=1)
    """Longest question accepted, in characters."""

    max_upload_mb: int = Field(default=100, ge=1)
    """Largest single uploaded file, in MB."""

    max_streams: int = Field(default=512, ge=1)
    """Event streams that one owner may hold open in one process."""

    retention_days: int = Field(default=30, ge=0, le=36_500)
    """Days after its end that a run's steps are kept; its question and answer stay. 0: all of it, for ever."""

    retention_resumable_days: int = Field(default=0, ge=0, le=36_500)
    """The same for runs that can be gone on with: stopped, failed, a part missing. 0: for ever."""

    web: bool = True
    """Agents may read pages of the open web: those whose address a person wrote; for any other, the person is asked."""

    web_inside: str = ""
    """Servers of this network that may be read too, separated by commas, as `host:port`: `wiki.local:80`."""

    mcp_servers: Path | None = None
    """JSON with `mcpServers`, as other MCP clients have it. Unset: `mcp.json` under `home`, where there is one."""

    a2a_peers: str = ""
    """Remote agents that a plan may give work to, as JSON: `[{"name": .., "url": .., "about": .., "token_env": ..}]`;
    `app/peers.py` shows all fields."""

    sandbox: Literal["auto", "bubblewrap", "monty", "off"] = "auto"
    """Where code that a model wrote runs. auto: bubblewrap where it isolates, else a small interpreter of a part of
    Python. off: nowhere. What cannot be isolated is refused, never run bare."""

    sandbox_timeout_s: float = Field(default=20, gt=0, le=55)
    """Then the code is killed, with all that it has started."""

    sandbox_memory_mb: int = Field(default=512, ge=128, le=65_536)
    """Memory of one run of code, all of its processes together."""

    admins: str = "local"
    """Owners of keys who decide for everybody which definitions of remote tools and agents may be used, by commas."""

    cors_origins: str = ""
    """Other sites whose pages may call the API, separated by commas: `http://localhost:3000` for agent-chat-ui."""

    @field_validator("model_url", "small_url", "embed_url", "rerank_url")
    @classmethod
    def _http_only(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError(
                f"{value!r} is not an http(s) URL; give the base URL, for example http://127.0.0.1:8000/v1"
            )
        return value.rstrip("/")

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """`cors_origins`, one by one."""
        return tuple(origin.strip().rstrip("/") for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def admin_owners(self) -> frozenset[str]:
        """`admins`, one by one."""
        return frozenset(it.strip() for it in self.admins.split(",") if it.strip())

    @property
    def web_allowed(self) -> frozenset[str]:
        """`web_inside`, one by one."""
        return frozenset(it.strip().lower() for it in self.web_inside.split(",") if it.strip())

    @property
    def demo(self) -> bool:
        """True when the offline demo model answers."""
        return self.model_url is None


def strangers(names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that have our prefix and are no setting -> the setting they are nearest to, "" if to none."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    strange = [name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known]
    return {name: next(iter(difflib.get_close_matches(name.upper(), known, 1, _NEAR)), "") for name in strange}


def environment_strangers() -> dict[str, str]:
    """`strangers` in the environment. One that is near to none may be somebody else's: Kubernetes makes such names."""
    return strangers(sorted(os.environ))


def require_strict_msgpack() -> None:
    """Make LangGraph refuse to build unknown types from checkpoint rows. Must run before LangGraph is imported.

    LangGraph reads the variable at import and its default builds any importable type on load, which is code
    execution for whoever can write to the database.
    """
    os.environ[STRICT_MSGPACK] = "true"


def variable(name: str) -> str | None:
    """One variable of the environment: for what a file of servers names by `${NAME}`, and for nothing else."""
    return os.environ.get(name)


def child_environment(**extra: str) -> dict[str, str]:
    """Environment for a process of ours: what this one has, with strict deserialisation, plus `extra`."""
    return {**os.environ, STRICT_MSGPACK: "true", **extra}
