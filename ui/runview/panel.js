// The run panel: clock and Stop, meters, the graph and the lanes as one picture, the sources, and what it all cost in time.

class Panel {
  /** `ways`: {onStop, onAnswerNow, onClose, effects(runId) -> promise of rows} */
  constructor(api, ways) {
    this.graph = new Graph((laneId) => this.select(laneId));
    this.lanes = new Lanes((laneId) => this.select(laneId));
    this.sources = new Sources(api);
    this.mark = mark("pending");
    this.word = el("span", { class: "state-word" });
    this.clock = el("b", { class: "clock" });
    this.stop = new StopMenu(ways);
    this.ledger = new Ledger(ways.effects);
    const close = button("", { icon: "panel", label: "Hide the run panel (Alt+G)", kind: "quiet icon", onClick: ways.onClose });
    this.meters = el("div", { class: "meters" });
    this.tabs = this.makeTabs();
    this.run = el("div", { class: "run", role: "tabpanel" }, this.graph.root, this.lanes.root, this.ledger.root);
    this.footMark = mark("done");
    this.footName = el("b");
    this.footLead = el("span");
    this.footRest = el("p", { class: "muted" });
    this.footLine = el("p", {}, this.footMark, this.footName, this.footLead);
    this.foot = el("footer", {}, this.footLine, this.footRest);
    this.root = el("aside", { class: "panel", "aria-label": "Run", hidden: true },
      el("header", {}, this.mark, this.word, this.clock, el("span", { class: "space" }), this.stop.root, close),
      this.meters, this.tabs, el("div", { class: "panel-body" }, this.run, this.sources.root), this.foot);
    this.tab = "run";
  }

  makeTabs() {
    this.count = el("span", { class: "count" });
    const make = (name, words, extra) => el("button", { type: "button", role: "tab", "data-tab": name,
      on: { click: () => this.show(name) } }, words, extra);
    const tabs = el("div", { class: "tabs", role: "tablist" }, make("run", "Run"), make("sources", "Sources ", this.count));
    tabs.addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      this.show(this.tab === "run" ? "sources" : "run");
      tabs.querySelector("[aria-selected=true]").focus();
    });
    return tabs;
  }

  show(tab) {
    this.tab = tab;
    for (const button of this.tabs.children) {
      const chosen = button.dataset.tab === tab;
      setAttr(button, "aria-selected", chosen ? "true" : "false");
      button.tabIndex = chosen ? 0 : -1;
    }
    show(this.run, tab === "run");
    show(this.sources.root, tab === "sources");
    if (this.view) this.updateFoot(this.view);
  }

  /** `doing`: {stopping, hurried}, what this page has asked for and has not seen yet. */
  update(view, now, doing) {
    const fresh = !this.view || this.view.run_id !== view.run_id;
    this.view = view;
    if (fresh) this.select(null);
    if (fresh && isLive(view)) this.tab = "run";
    updateMark(this.mark, RUN_STATES[view.status] || "pending");
    setAttr(this.word, "class", `state-word f-${familyOf(RUN_STATES[view.status])}`);
    setText(this.word, doing.stopping && isLive(view) ? "Stopping" : RUN_WORDS[view.status] || view.status);
    this.stop.update(view, doing);
    this.drawMeters(view);
    this.graph.update(view);
    this.lanes.update(view, now);
    this.ledger.update(view);
    this.sources.update(view);
    setText(this.count, view.sources.length ? String(view.sources.length) : "");
    this.show(this.tab);
    this.tick(now);
  }

  tick(now) {
    if (!this.view) return;
    const live = isLive(this.view);
    const worked = workedAt(this.view, this.view.ended_s ?? now);
    setText(this.clock, live ? (this.view.started_at === null ? "" : clock(worked)) : seconds(worked));
    if (live) this.lanes.tick(now);
  }

  drawMeters(view) {
    keyed(this.meters, meterValues(view), ([label]) => label, ([label]) => {
      const parts = { value: el("b"), more: el("span", { class: "muted" }), rule: el("i", { class: "rule", hidden: true }) };
      const node = el("div", { class: "meter" }, el("span", { class: "muted" }, label), parts.value, parts.more, parts.rule);
      node.parts = parts;
      return node;
    }, ({ parts }, [, value, more, share]) => {
      setText(parts.value, value);
      setText(parts.more, more || "");
      show(parts.more, !share);
      show(parts.rule, !!share);
      if (!share) return;
      const { part, whole, ticks } = share;
      setVar(parts.rule, "--share", Math.min(1, part / whole).toFixed(4));
      setVar(parts.rule, "--ticks", ticks || 10);
      setAttr(parts.rule, "class", `rule ${ticks ? "" : "budget"} ${!ticks && part >= 0.8 * whole ? "high" : ""}`);
    });
  }

  updateFoot(view) {
    const run = this.tab === "run";
    const path = view.critical_path.length > 1 ? view.critical_path.join(", ") : "";
    setText(this.footName, run && path ? "Critical path" : "");
    const waits = view.status === "waiting";
    setText(this.footLead, run ? path : sourcesFoot(view));
    setText(this.footRest, run ? (waits ? "You can close this page. The request stays open until you answer it." : speedFoot(view)) : "");
    show(this.footMark, !run);
    updateMark(this.footMark, view.answer.unsupported ? "partial" : "done");
    this.footLine.classList.toggle("path", run && !!path);
    show(this.foot, !!(this.footLead.textContent || this.footRest.textContent));
  }

  select(laneId) {
    const chosen = laneId === this.selected ? null : laneId;
    this.selected = chosen;
    this.graph.select(chosen);
    this.lanes.select(chosen);
  }
}

/** [label, value, second line, {part, whole, ticks} where a share has a true whole; without ticks it is a budget's]. */
function meterValues(view) {
  const { meters, plan } = view;
  const budget = view.budget || {};
  const done = plan.filter((row) => GOOD.has(row.state)).length;
  const values = [];
  if (plan.length) values.push(["Sub-tasks", `${done} of ${plan.length}`, "", { part: done, whole: plan.length, ticks: plan.length }]);
  if (meters.cost_usd !== null) values.push(["Cost, estimated", ...spent(meters.cost_usd, budget.usd, dollars, "")]);
  const all = meters.tokens_in + meters.tokens_out;
  values.push(["Tokens", ...spent(all, budget.tokens, tokens, `${tokens(meters.tokens_in)} in, ${tokens(meters.tokens_out)} out`)]);
  values.push(["Model calls", ...spent(meters.calls, budget.steps, String, plural(meters.tools, "tool call"))]);
  if (view.status === "waiting" && values.length < 4) values.push(["While it waits", "no worker, no cost"]);
  if (isComparable(view) && values.length < 4) {
    values.push(["Side by side", `${view.speedup.toFixed(1)} times faster`, `one by one ${seconds(view.serial_s)}`]);
  }
  return values;
}

/** What was used of a limit, or just what was used. */
function spent(part, whole, words, more) {
  return whole ? [`${words(part)} of ${words(whole)}`, "", { part, whole }] : [words(part), more];
}

/** A run that was cut short, or waited for a person, proves nothing about speed. */
const isComparable = (view) =>
  !(view.requests || []).length && view.speedup >= 1 && view.serial_s && (isLive(view) || view.status === "succeeded");

function speedFoot(view) {
  if (!isComparable(view)) return (view.expected || {}).decision || "";
  const so = view.ended_s === null ? "so far" : "took";
  const spent = view.ended_s === null ? view.serial_s / view.speedup : workedAt(view, view.ended_s);
  const floor = view.floor_s ? ` Floor of this plan, estimated: ${seconds(view.floor_s)}.` : "";
  return `One after another ${seconds(view.serial_s)}, ${so} ${seconds(spent)}: ${view.speedup.toFixed(1)} times faster.${floor}`;
}

function sourcesFoot(view) {
  const cited = view.sources.some((source) => source.cited);
  const bare = view.answer.final && view.answer.unsupported;
  if (view.sources.length && !cited && !bare && !isLive(view)) return "These were found; no answer cites them.";
  if (!view.answer.final) return "";
  if (bare) return `${plural(bare, "statement")} of the answer ${bare === 1 ? "has" : "have"} no source.`;
  return cited ? "Every statement of the answer has a source." : "";
}
