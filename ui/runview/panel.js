// The run panel: clock and Stop, meters, the graph and the lanes as one picture, the sources, and what it all cost in time.

class Panel {
  constructor(api, { onStop, onClose }) {
    this.graph = new Graph((laneId) => this.select(laneId));
    this.lanes = new Lanes((laneId) => this.select(laneId));
    this.sources = new Sources(api);
    this.mark = mark("pending");
    this.word = el("span", { class: "state-word" });
    this.clock = el("b", { class: "clock" });
    this.stop = button("Stop", { icon: "stop", kind: "stop", onClick: onStop });
    setAttr(this.stop, "title", "Alt+S");
    const close = button("", { icon: "panel", label: "Hide the run panel (Alt+G)", kind: "quiet icon", onClick: onClose });
    this.meters = el("div", { class: "meters" });
    this.tabs = this.makeTabs();
    this.run = el("div", { class: "run", role: "tabpanel" }, this.graph.root, this.lanes.root);
    this.footMark = mark("done");
    this.footName = el("b");
    this.footLead = el("span");
    this.footRest = el("p", { class: "muted" });
    this.footLine = el("p", {}, this.footMark, this.footName, this.footLead);
    this.foot = el("footer", {}, this.footLine, this.footRest);
    this.root = el("aside", { class: "panel", "aria-label": "Run", hidden: true },
      el("header", {}, this.mark, this.word, this.clock, el("span", { class: "space" }), this.stop, close),
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

  update(view, now, stopping) {
    const fresh = !this.view || this.view.run_id !== view.run_id;
    this.view = view;
    if (fresh) this.select(null);
    if (fresh && isLive(view)) this.tab = "run";
    updateMark(this.mark, RUN_STATES[view.status] || "pending");
    setAttr(this.word, "class", `state-word f-${familyOf(RUN_STATES[view.status])}`);
    setText(this.word, stopping && isLive(view) ? "Stopping" : RUN_WORDS[view.status] || view.status);
    show(this.stop, isLive(view));
    this.stop.disabled = !!stopping;
    this.drawMeters(view);
    this.graph.update(view);
    this.lanes.update(view, now);
    this.sources.update(view);
    setText(this.count, view.sources.length ? String(view.sources.length) : "");
    this.show(this.tab);
    this.tick(now);
  }

  tick(now) {
    if (!this.view) return;
    const live = isLive(this.view);
    setText(this.clock, live ? (this.view.started_at === null ? "" : clock(now)) : seconds(this.view.ended_s ?? now));
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
      setVar(parts.rule, "--share", share[0] / share[1]);
      setVar(parts.rule, "--ticks", share[1]);
    });
  }

  updateFoot(view) {
    const run = this.tab === "run";
    const path = view.critical_path.length > 1 ? view.critical_path.join(", ") : "";
    setText(this.footName, run && path ? "Critical path" : "");
    setText(this.footLead, run ? path : sourcesFoot(view));
    setText(this.footRest, run ? speedFoot(view) : "");
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

/** [label, value, second line, [part, whole] where a share has a true whole]. */
function meterValues(view) {
  const { meters, plan } = view;
  const done = plan.filter((row) => GOOD.has(row.state)).length;
  const values = [];
  if (plan.length) values.push(["Sub-tasks", `${done} of ${plan.length}`, "", [done, plan.length]]);
  if (meters.cost_usd !== null) values.push(["Cost, estimated", dollars(meters.cost_usd)]);
  values.push(["Tokens", tokens(meters.tokens_in + meters.tokens_out),
    `${tokens(meters.tokens_in)} in, ${tokens(meters.tokens_out)} out`]);
  values.push(["Model calls", String(meters.calls), plural(meters.tools, "tool call")]);
  if (isComparable(view) && values.length < 4) {
    values.push(["Side by side", `${view.speedup.toFixed(1)} times faster`, `one by one ${seconds(view.serial_s)}`]);
  }
  return values;
}

/** A run that was cut short proves nothing about speed. */
const isComparable = (view) => view.speedup !== null && view.serial_s && (isLive(view) || view.status === "succeeded");

function speedFoot(view) {
  if (!isComparable(view)) return "";
  const so = view.ended_s === null ? "so far" : "took";
  const spent = view.ended_s ?? view.serial_s / view.speedup;
  const floor = view.floor_s ? ` Floor of this plan, estimated: ${seconds(view.floor_s)}.` : "";
  return `One after another ${seconds(view.serial_s)}, ${so} ${seconds(spent)}: ${view.speedup.toFixed(1)} times faster.${floor}`;
}

function sourcesFoot(view) {
  if (!view.answer.final) return "";
  const bare = view.answer.unsupported;
  if (bare) return `${plural(bare, "statement")} of the answer ${bare === 1 ? "has" : "have"} no source.`;
  return view.sources.some((source) => source.cited) ? "Every statement of the answer has a source." : "";
}
