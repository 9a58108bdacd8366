"""The API as the page's scripts call it: short, synchronous, and every failure one sentence with a next move."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

Json = dict[str, Any]
UploadPart = tuple[str, bytes, str]
"""Name, content, media type."""


class ApiProblem(Exception):
    """What went wrong, for a person: `str()` is the sentence, `fix` the next move."""

    def __init__(self, message: str, fix: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.fix = fix
        self.status = status


class Api:
    """One method per route. Holds one connection pool; safe to share between script threads."""

    def __init__(
        self,
        base_url: str,
        transport: httpx.BaseTransport | None = None,
        key: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`key` says whose request it is, anew for each: script threads of several people share this."""
        self._key = key
        self._http = httpx.Client(base_url=base_url, timeout=httpx.Timeout(10, write=60), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def info(self) -> Json:
        return self._json("GET", "info")

    def threads(self) -> list[Json]:
        return list(self._json("GET", "threads")["threads"])

    def create_thread(self, graph: str) -> str:
        return str(self._json("POST", "threads", json={"graph": graph})["thread_id"])

    def rename_thread(self, thread_id: str, title: str) -> None:
        self._json("PATCH", f"threads/{thread_id}", json={"title": title})

    def delete_thread(self, thread_id: str) -> None:
        self._json("DELETE", f"threads/{thread_id}")

    def start_run(
        self,
        thread_id: str,
        graph: str,
        question: str,
        meanwhile: str = "enqueue",
        review_plan: bool = False,
        key: str = "",
    ) -> Json:
        """Send once: the same `key` again is the same run. `meanwhile`: what a going run has of it."""
        messages = {"messages": [{"role": "user", "content": question}]}
        body: Json = {"assistant_id": graph, "input": messages, "multitask_strategy": meanwhile}
        body |= {"review_plan": True} if review_plan else {}
        return self._json(
            "POST", f"threads/{thread_id}/runs", json=body, headers={"Idempotency-Key": key or uuid4().hex}
        )

    def runs(self, thread_id: str) -> list[Json]:
        return list(self._json("GET", f"threads/{thread_id}/runs")["runs"])

    def view(self, run_id: str) -> Json:
        return self._json("GET", f"runs/{run_id}/view")

    def cancel(self, run_id: str) -> None:
        self._json("POST", f"runs/{run_id}/cancel")

    def answer_now(self, run_id: str) -> None:
        """Stop looking, and answer with what has returned."""
        self._json("POST", f"runs/{run_id}/answer-now")

    def resume(self, run_id: str, budget: Json | None = None) -> None:
        """Go on from the last step, with another budget if one is given."""
        self._json("POST", f"runs/{run_id}/resume", json={"budget": budget})

    def retry(self, run_id: str, budget: Json | None = None) -> None:
        """Try again what failed or is missing."""
        self._json("POST", f"runs/{run_id}/retry", json={"budget": budget})

    def questions(self) -> list[Json]:
        """What waits for a person, over all threads, oldest first."""
        return list(self._json("GET", "questions")["questions"])

    def answer(self, run_id: str, question_id: str, answer: Any) -> None:
        self._json("POST", f"runs/{run_id}/questions/{question_id}", json={"answer": answer})

    def upload(self, files: Iterable[UploadPart]) -> str:
        """Hand over files; returns the id to follow with `ingest`."""
        parts = [("files", part) for part in files]
        return str(self._json("POST", "documents", files=parts)["ingest_id"])

    def ingest(self, ingest_id: str) -> Json:
        return self._json("GET", f"ingests/{ingest_id}")

    def documents(self) -> Json:
        return self._json("GET", "documents")

    def delete_document(self, document_id: str) -> None:
        self._json("DELETE", f"documents/{document_id}")

    def memories(self) -> list[Json]:
        return list(self._json("GET", "memories", params={"limit": 500})["memories"])

    def remember(self, text: str) -> None:
        self._json("POST", "memories", json={"text": text})

    def forget(self, key: str) -> None:
        self._json("DELETE", f"memories/{key}")

    def models(self) -> list[Json]:
        """The model of each role: where it is, whether it answers, and its last hour."""
        return list(self._json("GET", "models")["models"])

    def tools(self) -> Json:
        """What agents may call, and the services behind it."""
        return self._json("GET", "tools")

    def remotes(self) -> list[Json]:
        """MCP servers, with what they define and what of it is approved."""
        return list(self._json("GET", "remotes")["remotes"])

    def approve(self, server: str, definitions: dict[str, str]) -> None:
        """Approve tools of a server by the hashes of what was read."""
        self._json("POST", f"remotes/{quote(server, safe='')}/approve", json={"tools": definitions})

    def withdraw(self, server: str, tool: str) -> None:
        """Take the yes to a tool back."""
        self._json("DELETE", f"remotes/{quote(server, safe='')}/approve", params={"tool": tool})

    def approve_peer(self, name: str, sha256: str) -> None:
        """Approve the card of an agent elsewhere by the hash of what was read."""
        self._json("POST", f"peers/{quote(name, safe='')}/approve", json={"sha256": sha256})

    def withdraw_peer(self, name: str) -> None:
        """Ask this agent nothing more, until its card is approved."""
        self._json("DELETE", f"peers/{quote(name, safe='')}/approve")

    def peers(self) -> list[Json]:
        """Agents of others that a plan may give work to."""
        return list(self._json("GET", "peers")["peers"])

    def _json(self, method: str, path: str, **request: Any) -> Json:
        signed = {"Authorization": f"Bearer {key}"} if (key := self._key()) else {}
        headers = {**request.pop("headers", {}), **signed}
        try:
            response = self._http.request(method, path, headers=headers, **request)
        except httpx.TimeoutException as error:
            raise ApiProblem("The server took too long to answer.", "Wait a moment, then try again.") from error
        except httpx.HTTPError as error:
            raise ApiProblem("The server cannot be reached.", "Start it with `sextant up`, then reload.") from error
        if response.is_error:
            raise _problem(response)
        return response.json() if response.content else {}


def sentence(words: str) -> str:
    """`question: it is empty` -> `Question: it is empty.`"""
    words = words.strip()
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', '!', '?', '…')) else '.'}" if words else ""


def _problem(response: httpx.Response) -> ApiProblem:
    try:
        told = response.json()["error"]
        return ApiProblem(sentence(str(told["message"])), sentence(str(told.get("fix") or "")), response.status_code)
    except (ValueError, KeyError, TypeError):
        words = f"The server answered {response.status_code} without saying why."
        return ApiProblem(words, "Its log has the cause.", response.status_code)
