// What has left Sextant in a run, and what waits to: the ledger of effects beside the requests that guard them.

class Ledger {
  constructor(fetchEffects) {
    this.fetchEffects = fetchEffects;
    this.rows = el("div", { class: "ledger-rows", role: "rowgroup" });
    const heads = ["Effect", "State", "When"].map((words) => el("span", { role: "columnheader" }, words));
    const head = el("div", { class: "ledger-row head", role: "row" }, ...heads);
    this.root = el("section", { class: "ledger", hidden: true }, el("h4", {}, "What left Sextant in this run"),
      el("div", { class: "ledger-table", role: "table", "aria-label": "Effects of this run" }, head, this.rows));
    this.effects = [];
  }

  update(view) {
    const requests = (view.requests || []).filter((request) => request.tool);
    this.view = view;
    const key = [view.run_id, view.status, view.meters.tools, requests.map((request) => !isUnanswered(request))].join(" ");
    if (key !== this.key && requests.length) this.refresh(key, view.run_id);
    this.key = key;
    this.draw(requests);
  }

  async refresh(key, runId) {
    const rows = await this.fetchEffects(runId).catch(() => null);
    if (!rows || this.key !== key) return;
    this.effects = rows;
    this.draw((this.view.requests || []).filter((request) => request.tool));
  }

  draw(requests) {
    const done = new Map(this.effects.map((effect) => [effect.call_id, effect]));
    const waiting = requests.filter((request) => !done.has(request.call_id));
    const orders = new Map(requests.map((request) => [request.call_id, own(request.schema, "required")]));
    const effects = requests.length ? this.effects : [];
    const rows = [...waiting.map((request) => requestRow(request, orders.get(request.call_id))),
      ...effects.map((effect) => effectRow(effect, orders.get(effect.call_id)))];
    show(this.root, rows.length > 0);
    keyed(this.rows, rows, (row) => row.id, () => {
      const parts = { mark: mark("pending", 1, 14), what: el("span", { role: "cell" }), state: el("span"), when: el("span", { role: "cell" }) };
      const node = el("div", { class: "ledger-row", role: "row" }, parts.what,
        el("span", { class: "state", role: "cell" }, parts.mark, parts.state), parts.when);
      node.parts = parts;
      return node;
    }, ({ parts }, row) => {
      updateMark(parts.mark, row.state);
      setText(parts.what, sentenceCase(row.what));
      setAttr(parts.what, "title", row.what);
      setText(parts.state, row.words);
      setText(parts.when, row.when);
    });
  }
}

function requestRow(request, order) {
  const answer = request.answer || {};
  const row = { id: request.call_id || request.id, what: effectWords({ ...request, known: true }, order) };
  if (request.kind === "doubt" && isUnanswered(request)) return { ...row, state: "lost", words: "not known", when: "say what happened" };
  if (isUnanswered(request)) return { ...row, state: "waiting", words: "not started", when: "after your word" };
  if (answer.decision === "use") return { ...row, state: "cached", words: "not repeated", when: hourOf(request.done_at) };
  if (["reject", "skip"].includes(answer.decision)) return { ...row, state: "cancelled", words: "not done", when: "never" };
  return { ...row, state: "ready", words: "about to start", when: "" };
}

function effectRow(effect, order) {
  const row = { id: effect.call_id, what: effectWords({ ...effect, known: true }, order), when: hourOf(effect.ended_at || effect.begun_at) };
  return effect.known ? { ...row, state: "done", words: "done once" } : { ...row, state: "lost", words: "not known" };
}

/** `at 14:02`, and the day when it was another one. */
function momentOf(stamp) {
  const at = new Date(stamp);
  const day = at.toDateString() === new Date().toDateString() ? "" : `on ${at.toLocaleDateString([], { day: "numeric", month: "short" })} `;
  return `${day}at ${hourOf(stamp)}`;
}

const hourOf = (stamp) => new Date(stamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
