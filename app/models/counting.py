"""Tokens as the served model counts them, asked of the tokenizer endpoint that vLLM and others have beside `/v1`.

A text is asked for once: counts are remembered by its digest. A server without the endpoint is asked once in a while
and estimated in between; one that does not answer now costs one short wait and an estimate, never a run.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import aiohttp

from agents.counting import estimated
from agents.errors import ModelRefusedRequest, ModelUnavailable
from app.models.faults import from_json, to_json
from app.models.http import SESSIONS, Deadlines, Endpoint, post_json
from app.models.probe import Check

log = logging.getLogger(__name__)

WAIT = Deadlines(connect_s=2, total_s=5)
KEPT = 20_000
AT_ONCE = 4
ASK_AGAIN_S = 300.0
MAX_MODELS_BYTES = 4 << 20
ABSENT = (404, 405, 501)


class ServedTokens:
    """Counts for one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._beside = Endpoint(endpoint.url.rstrip("/").removesuffix("/v1"), endpoint.model, endpoint.api_key)
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._window: int | None = None
        self._ask_at = self._ask_window_at = 0.0

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text: the server's count, or an estimate."""
        digests = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        unknown = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in self._counts}
        if unknown and time.monotonic() >= self._ask_at:
            await asyncio.gather(*(self._ask(digest, text) for digest, text in unknown.items()))
        while len(self._counts) > KEPT:
            self._counts.popitem(last=False)
        return [
            self._counts[digest] if digest in self._counts else estimated(text)
            for digest, text in zip(digests, texts, strict=True)
        ]

    async def _ask(self, digest: bytes, text: str) -> None:
        async with self._at_once:
            if time.monotonic() < self._ask_at:
                return
            body = {"model": self._endpoint.model, "prompt": text, "add_special_tokens": False}
            try:
                _, answer = await post_json(self._beside, "/tokenize", to_json(body), WAIT)
            except (ModelRefusedRequest, ModelUnavailable) as error:
                self._ask_at = time.monotonic() + ASK_AGAIN_S
                if getattr(error, "status", None) not in ABSENT:
                    log.warning("tokens are estimated for a while: %s", error)
                return
        if isinstance(count := answer.get("count"), int) and count >= 0:
            self._counts[digest] = count
        if isinstance(told := answer.get("max_model_len"), int) and told > 0:
            self._window = told

    async def window(self) -> int | None:
        """The model's context window as the server's list of models tells it."""
        if self._window is None and time.monotonic() >= self._ask_window_at:
            self._ask_window_at = time.monotonic() + ASK_AGAIN_S
            try:
                self._window = _window_in(await served_models(self._endpoint), self._endpoint.model)
            except (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError) as error:
                log.info("the context window is not known: %s", error)
        return self._window


async def served_models(endpoint: Endpoint) -> Any:
    """What the server says of its models. Raises ClientError, ConnectionError, TimeoutError or ValueError."""
    key = endpoint.api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    url = f"{endpoint.url.rstrip('/')}/models"
    session = await SESSIONS.current()
    async with (
        asyncio.timeout(WAIT.total_s),
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        response.raise_for_status()
        body = b""
        while len(body) < MAX_MODELS_BYTES and (piece := await response.content.readany()):
            body += piece
        return from_json(body)


async def greeted(endpoint: Endpoint) -> Check:
    """Whether the server answers, by the one question that costs nothing."""
    check = Check("models")
    try:
        cards = (told if isinstance(told := await served_models(endpoint), dict) else {}).get("data")
        names = {card.get("id") for card in cards if isinstance(card, dict)} if isinstance(cards, list) else set()
        check.found = "" if endpoint.model in names else f"it does not list {endpoint.model}"
    except aiohttp.ClientResponseError as error:
        check.ok = error.status in ABSENT
        check.found, check.error = ("it lists no models", "") if check.ok else ("", f"HTTP {error.status}")
    except TimeoutError:
        check.ok, check.error = False, f"no answer within {WAIT.total_s:g} s"
    except (aiohttp.ClientError, ConnectionError) as error:
        check.ok, check.error = False, f"no connection: {error or type(error).__name__}"[:300]
    except ValueError:
        check.ok, check.error = False, "its list of models is not JSON"
    return check


def _window_in(told: Any, model: str) -> int | None:
    """`max_model_len` of the model's card (vLLM, SGLang), or `context_length` (others)."""
    cards = told.get("data") if isinstance(told, dict) else None
    for card in cards if isinstance(cards, list) else ():
        if isinstance(card, dict) and card.get("id") == model:
            found = card.get("max_model_len") or card.get("context_length")
            return found if isinstance(found, int) and found > 0 else None
    return None
