// What can be done with a run that has ended without all of its answer: resume it, retry what is missing, raise the
// budget. Beside it stands what has left Sextant and is not repeated.

const UNIT_WORDS = { steps: "model calls", tokens: "tokens", usd: "", seconds: "s of work", supersteps: "steps of the graph" };

/** How much of a unit a run has used, in words of that unit. */
const inUnit = (unit, value) =>
  unit === "usd" ? dollars(value) : `${unit === "tokens" ? tokens(value) : Math.round(value).toLocaleString("en")}`;

/** {unit, words, more} when the run ended because its budget did; null otherwise. `more` is what lets it go on. */
function budgetReached({ budget_reached: reached }) {
  if (!reached) return null;
  const { unit, limit, actual, more } = reached;
  return { unit, more, words: `Budget reached: ${inUnit(unit, actual)} of ${inUnit(unit, limit)} ${UNIT_WORDS[unit]}`.trim() };
}

/** {words, command, budget, about} of the one remedy that fits; null when the run needs none. */
function remedy(view) {
  const reached = budgetReached(view);
  const unfinished = ["failed", "cancelled"].includes(view.status);
  const missing = view.status === "succeeded" && view.missing.length > 0;
  if (view.pruned || (!unfinished && !missing)) return null;
  const kept = "What is finished is not done again.";
  if (reached && reached.more) {
    const words = `Raise to ${inUnit(reached.unit, reached.more.budget[reached.unit])} ${UNIT_WORDS[reached.unit]}`.trim();
    return { ...reached.more, words: `${words} and go on`, about: kept };
  }
  if (missing) return { command: "retry", words: `Retry the missing part${view.missing.length > 1 ? "s" : ""}`, about: kept };
  return { command: "resume", words: "Resume", about: "It goes on from its last step." };
}

class Recover {
  /** `deps`: {onRecover(remedy) -> promise of whether it was taken, effects() -> promise of rows} */
  constructor(deps) {
    this.deps = deps;
    this.act = button("", { kind: "recover-act", onClick: () => this.start() });
    this.act.append(el("span", {}));
    this.about = el("span", { class: "muted" });
    this.done = el("p", { class: "muted kept" });
    this.root = el("div", { class: "recover", hidden: true }, el("div", { class: "row" }, this.act, this.about), this.done);
  }

  update(view) {
    const found = remedy(view);
    this.view = view;
    show(this.root, !!found);
    if (!found || this.busy) return;
    this.remedy = found;
    setText(this.act.lastChild, found.words);
    setText(this.about, found.about);
    this.act.disabled = false;
    const key = `${view.run_id} ${view.ended_s}`;
    if (this.asked === key || view.started_at === null) return;
    this.asked = key;
    this.tell();
  }

  async tell() {
    const rows = await this.deps.effects().catch(() => []);
    setText(this.done, rows.length ? `Already done, and not repeated: ${list(rows.map((row) => effectWords(row)))}.` : "");
    show(this.done, rows.length > 0);
  }

  async start() {
    this.busy = true;
    this.act.disabled = true;
    setText(this.act.lastChild, this.remedy.command === "retry" ? "Retrying…" : "Resuming…");
    const taken = await this.deps.onRecover(this.remedy);
    this.busy = false;
    if (!taken) this.update(this.view);
  }
}

/** `save note “Budget”`: the tool with what it was first told; `order` names what comes first. */
function effectWords({ tool, args, known }, order = []) {
  const told = args || {};
  const first = [...order, ...Object.keys(told)].map((name) => own(told, name)).find((value) => ["string", "number"].includes(typeof value));
  const what = first === undefined ? "" : ` “${String(first).slice(0, 60)}”`;
  return `${String(tool).replace(/_/g, " ")}${what}${known ? "" : " (nobody knows if it happened)"}`;
}
