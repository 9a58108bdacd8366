// What a person may tell the server about a thread's runs. Each call is one request; a refusal is an Error in words.

async function fetchJson(url, options) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, ...options }).catch(() => {
    throw Object.assign(new Error("The server cannot be reached."), { away: true });
  });
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return body;
  const { message, code, field } = (body && body.error) || {};
  throw Object.assign(new Error(message || `The server answered ${response.status}.`), { status: response.status, code, field });
}

class Commands {
  constructor(api) {
    this.api = api;
  }

  alive() {
    return fetchJson(`${this.api}/health`);
  }

  run(runId, path) {
    return `${this.api}/runs/${encodeURIComponent(runId)}${path}`;
  }

  thread(threadId, path) {
    return `${this.api}/threads/${encodeURIComponent(threadId)}${path}`;
  }

  send(url, method, body, headers) {
    const types = { Accept: "application/json", "Content-Type": "application/json" };
    return fetchJson(url, { method, body: JSON.stringify(body || {}), headers: { ...types, ...headers } });
  }

  view(runId) {
    return fetchJson(this.run(runId, "/view"));
  }

  async effects(runId) {
    return (await fetchJson(this.run(runId, "/effects"))).effects;
  }

  async runs(threadId) {
    return (await fetchJson(this.thread(threadId, "/runs"))).runs;
  }

  stop(runId) {
    return this.send(this.run(runId, "/cancel"), "POST");
  }

  answerNow(runId) {
    return this.send(this.run(runId, "/answer-now"), "POST");
  }

  /** `command` is resume or retry; `budget` may raise its limits. */
  recover(runId, { command, budget }) {
    return this.send(this.run(runId, `/${command}`), "POST", budget ? { budget } : {});
  }

  answer(runId, requestId, answer) {
    return this.send(this.run(runId, `/questions/${encodeURIComponent(requestId)}`), "POST", { answer });
  }

  /** Ask again in other words: a new run beside this one, after the one that it went on from. `key` is the request's own. */
  branch(threadId, row, question, key) {
    const body = { assistant_id: row.graph, input: { messages: [{ role: "user", content: question }] },
      after: row.parent_run_id || "", multitask_strategy: "branch" };
    return this.send(this.thread(threadId, "/runs"), "POST", body, { "Idempotency-Key": key });
  }

  choose(threadId, runId) {
    return this.send(this.thread(threadId, ""), "PATCH", { head_run_id: runId });
  }
}

/** A key that makes the repeat of a request harmless; randomUUID is not there on plain http. */
const onceKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
