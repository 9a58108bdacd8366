// Lanes: one row per step or agent on a shared axis of seconds. A lane tells time by texture; the clock moves by one
// CSS variable, so a running bar grows without touching its row.

const MAX_LANES = 200;
const LEGEND = [["model", "model"], ["ttft", "first token"], ["tool", "tool"], ["failed", "failed try"],
  ["gap", "back-off"], ["queue", "queue"], ["wait", "waits for you"]];

class Lanes {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.ticks = el("div", { class: "axis" });
    this.rows = el("div", { role: "rowgroup", class: "rows" });
    this.nowLine = el("i", { class: "now-line" }, el("span", {}, "now"));
    this.medianText = el("span", {});
    this.medianLine = el("i", { class: "median-line" }, this.medianText);
    this.plot = el("div", { class: "plot", "aria-hidden": "true" }, this.medianLine, this.nowLine);
    this.more = el("p", { class: "more", hidden: true });
    this.counts = el("p", { class: "counts", hidden: true });
    this.legend = el("div", { class: "legend", "aria-hidden": "true" });
    const head = el("div", { class: "lanes-head", role: "row" },
      el("span", { role: "columnheader" }, "Agents"),
      el("span", { role: "columnheader", "aria-label": "Time line" }, this.ticks),
      el("span", { role: "columnheader", class: "right" }, "seconds"));
    this.grid = el("div", { role: "grid", "aria-label": "Agents over time", class: "grid" }, head, this.rows, this.plot);
    this.grid.addEventListener("keydown", (event) => this.onKey(event));
    this.root = el("section", { class: "lanes" }, this.counts, this.grid, this.more, this.legend);
  }

  update(view, now) {
    const lanes = view.lanes.slice(0, MAX_LANES);
    this.view = view;
    this.tick(now);
    keyed(this.rows, lanes, (lane) => lane.id, (lane) => this.makeRow(lane), (row, lane) => this.updateRow(row, lane, now));
    const rows = [...this.rows.children];
    if (!rows.some((row) => row.tabIndex === 0) && rows.length) rows[0].tabIndex = 0;
    this.updateMedian(view);
    this.updateNotes(view, lanes);
    show(this.nowLine, isLive(view) && view.started_at !== null);
  }

  /** Only the clock: the axis, the live bars and the seconds of what is running. */
  tick(now) {
    this.axis = new Axis(this.view.lanes.slice(0, MAX_LANES), now);
    const redrawn = this.drawn !== this.axis.key;
    if (redrawn) this.drawAxis();
    this.drawn = this.axis.key;
    setVar(this.grid, "--now", this.axis.at(now).toFixed(2));
    for (const row of this.rows.children) {
      if (redrawn && row.lane) drawBar(row.parts.bar, row.lane, this.axis);
      if (row.lane && isOpen(row.lane)) setText(row.parts.elapsed, seconds(laneElapsed(row.lane, now)));
    }
  }

  drawAxis() {
    const { axis } = this;
    setVar(this.grid, "--span", axis.span);
    const marks = axis.ticks().map(([place, words]) => el("i", { style: `--at:${place}` }, words));
    const breaks = axis.breaks.map(([from, to]) =>
      el("i", { class: "break", style: `--at:${axis.at(from) + axis.short / 2}`, title: `${seconds(to - from)} without work` }));
    this.ticks.replaceChildren(...marks, ...breaks);
  }

  makeRow(lane) {
    const parts = {
      mark: mark(lane.state),
      title: el("span", { class: "name" }),
      activity: el("span", { class: "activity" }),
      bar: el("span", { class: "bar" }),
      words: el("span", { class: "waits" }),
      late: el("b", { class: "late" }),
      elapsed: el("span", { class: "elapsed" }),
      cost: el("span", { class: "cost" }),
      detail: el("div", { class: "detail", role: "gridcell", hidden: true }),
    };
    const row = el("div", { role: "row", class: "lane", tabindex: "-1",
      on: { click: () => this.onSelect(row.lane.id), focus: () => this.rove(row) } },
      el("div", { role: "gridcell", class: "who" }, parts.mark, el("span", { class: "what" }, parts.title, parts.activity)),
      el("div", { role: "gridcell", class: "when" }, parts.bar, parts.words),
      el("div", { role: "gridcell", class: "right figures" }, el("span", {}, parts.late, parts.elapsed), parts.cost),
      parts.detail);
    row.parts = parts;
    setVar(row, "--depth", lane.depth);
    return row;
  }

  updateRow(row, lane, now) {
    if (row.lane === lane) return;
    row.lane = lane;
    const { parts } = row;
    const started = lane.start !== null;
    const elapsed = laneElapsed(lane, now);
    const spent = [lane.tokens ? tokens(lane.tokens) : "", lane.cost_usd ? dollars(lane.cost_usd) : ""];
    updateMark(parts.mark, lane.state, lane.attempt);
    setText(parts.title, lane.title);
    setText(parts.activity, started ? activityWords(lane) : "");
    setText(parts.words, started ? "" : waitsFor(lane));
    setAttr(parts.words, "title", started ? null : waitsFor(lane));
    setAttr(parts.title, "title", lane.title);
    setText(parts.late, lane.late_s ? `+${lane.late_s.toFixed(1)} s` : "");
    setText(parts.elapsed, seconds(elapsed));
    setText(parts.cost, spent.filter(Boolean).join("  "));
    setAttr(row, "aria-label", spokenLane(lane, elapsed));
    setAttr(row, "class", `lane f-${familyOf(lane.state)} l-${lane.state} ${started ? "" : "unstarted"}`);
    row.classList.toggle("selected", lane.id === this.selected);
    setAttr(row, "aria-selected", lane.id === this.selected ? "true" : "false");
    drawBar(parts.bar, lane, this.axis);
    if (lane.id === this.selected) this.fillDetail(row);
  }

  updateMedian(view) {
    const started = view.lanes.filter((lane) => lane.kind === "agent" && lane.start !== null);
    const visible = view.median_s !== null && started.length > 2;
    show(this.medianLine, visible);
    if (!visible) return;
    const from = Math.min(...started.map((lane) => lane.start));
    setVar(this.medianLine, "--at", this.axis.at(from + view.median_s).toFixed(2));
    setText(this.medianText, `median ${seconds(view.median_s)}`);
  }

  updateNotes(view, lanes) {
    const total = view.lanes.length;
    show(this.more, total > lanes.length);
    setText(this.more, `Showing ${lanes.length} of ${total} lanes. The counts above are of all of them.`);
    show(this.counts, total > 30);
    if (total > 30) setText(this.counts, stateCounts(view.lanes));
    const used = new Set(lanes.flatMap((lane) => lane.segments.map((part) => (part.failed ? "failed" : part.kind))));
    if (lanes.some((lane) => lane.state === "waiting")) used.add("wait");
    const shown = LEGEND.filter(([kind]) => used.has(kind));
    keyed(this.legend, shown, ([kind]) => kind, ([kind, words]) =>
      el("span", {}, el("i", { class: `seg k-${kind}` }), words), () => {});
  }

  select(laneId) {
    this.selected = laneId;
    for (const row of this.rows.children) {
      const chosen = !!laneId && row.lane.id === laneId;
      row.classList.toggle("selected", chosen);
      setAttr(row, "aria-selected", chosen ? "true" : "false");
      show(row.parts.detail, chosen);
      if (chosen) this.fillDetail(row);
    }
  }

  fillDetail(row) {
    setText(row.parts.detail, laneDetail(row.lane));
    show(row.parts.detail, row.parts.detail.textContent !== "");
  }

  rove(row) {
    for (const other of this.rows.children) other.tabIndex = other === row ? 0 : -1;
  }

  onKey(event) {
    const rows = [...this.rows.children];
    const at = rows.indexOf(event.target);
    if (at < 0) return;
    const goTo = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (goTo !== undefined && rows[goTo]) {
      event.preventDefault();
      rows[goTo].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onSelect(rows[at].lane.id);
    }
  }
}

/** Segments of one lane, keyed by place: a growing one keeps its node. Also used by the phone's stages. */
function drawBar(bar, lane, axis) {
  const first = lane.segments.length ? lane.segments[0].start : lane.start;
  const until = (second) => (second === null ? "var(--now)" : axis.at(second).toFixed(3));
  setVar(bar, "--a", axis.at(first ?? 0).toFixed(3));
  setVar(bar, "--b", until(isOpen(lane) ? null : lane.end));
  setAttr(bar, "class", `bar ${lane.critical ? "critical" : ""} ${lane.end === null && lane.start !== null ? "open" : ""}`);
  const parts = lane.segments.map((part, at) => ({ ...part, at, live: part.end === null && lane.end === null }));
  // who leads others makes no calls while they work
  if (lane.kind === "agent" && !parts.length && lane.start !== null) parts.push({ kind: "lead", start: lane.start, end: null, at: "lead" });
  if (lane.state === "waiting" && lane.start !== null) parts.push({ kind: "wait", start: lane.end ?? lane.start, end: null, at: "wait" });
  keyed(bar, parts, (part) => part.at, () => el("i", {}), (node, part) => {
    setVar(node, "--a", axis.at(part.start).toFixed(3));
    setVar(node, "--b", until(part.kind === "wait" ? null : part.end ?? lane.end));
    setAttr(node, "class", `seg k-${part.kind} ${part.failed ? "failed" : ""} ${part.live ? "live" : ""}`);
    setAttr(node, "title", [part.label, callWords(part.figures)].filter(Boolean).join(" · ") || null);
  });
}

/** Of a lane that nothing is heard of any more, the last that was. */
const activityWords = (lane) => (lane.state === "lost" && lane.activity ? `last heard: ${lane.activity}` : lane.activity || "");

function spokenLane(lane, elapsed) {
  const words = [lane.title, STATE_WORDS[lane.state] || lane.state];
  if (lane.attempt > 1) words.push(`try ${lane.attempt}`);
  if (elapsed === null) words.push(waitsFor(lane));
  else words.push(seconds(elapsed), activityWords(lane));
  if (lane.late_s) words.push(`${lane.late_s.toFixed(1)} s over the median`);
  if (lane.critical) words.push("on the critical path");
  return words.filter(Boolean).join(", ");
}

/** What a selected row adds: where its time went, by kind. */
function laneDetail(lane) {
  const spent = new Map();
  const names = { model: "model", ttft: "first token", tool: "tools", gap: "back-off", queue: "queue" };
  for (const part of lane.segments) {
    if (part.end === null) continue;
    const name = part.failed ? "failed tries" : names[part.kind] || part.kind;
    spent.set(name, (spent.get(name) || 0) + part.end - part.start);
  }
  const where = [...spent].filter(([, s]) => s >= 0.05).map(([name, s]) => `${name} ${seconds(s)}`);
  const longest = lane.segments.filter((part) => part.label && part.end !== null)
    .sort((a, b) => b.end - b.start - (a.end - a.start))[0];
  const words = [lane.role ? `${lane.role[0].toUpperCase()}${lane.role.slice(1)}` : "", where.join(", ")];
  if (longest) words.push(`longest: ${[longest.label, callWords(longest.figures)].filter(Boolean).join(" · ")}`);
  return words.filter(Boolean).join(" · ");
}

function stateCounts(lanes) {
  const counts = new Map();
  for (const lane of lanes) counts.set(lane.state, (counts.get(lane.state) || 0) + 1);
  return [...counts].map(([state, n]) => `${n} ${(STATE_WORDS[state] || state).toLowerCase()}`).join(" · ");
}
