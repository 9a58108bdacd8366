// Lanes: one row per step or agent on a shared axis of seconds. A lane tells time by texture; the clock moves by one
// CSS variable, so a running bar grows without touching its row.

const AXIS_S = [5, 8, 10, 12, 14, 16, 20, 25, 30, 40, 50, 60, 90, 120, 180, 240, 300, 600, 900, 1200, 1800, 3600];
const MAX_LANES = 200;
const LEGEND = [["model", "model"], ["ttft", "first token"], ["tool", "tool"], ["failed", "failed try"],
  ["gap", "back-off"], ["queue", "queue"]];

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
    const span = AXIS_S.find((limit) => limit >= now * 1.06) || Math.ceil(now / 3600 + 1) * 3600;
    if (span !== this.span) this.drawAxis((this.span = span));
    setVar(this.grid, "--now", now.toFixed(2));
    for (const row of this.rows.children) {
      const lane = row.lane;
      if (lane && lane.start !== null && lane.end === null) setText(row.parts.elapsed, seconds(now - lane.start));
    }
  }

  drawAxis(span) {
    setVar(this.grid, "--span", span);
    const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((s) => span / s <= 7) || 600;
    const marks = [];
    for (let at = 0; at <= span; at += step) marks.push(el("i", { style: `--at:${at}` }, String(at)));
    this.ticks.replaceChildren(...marks);
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
    setText(parts.activity, started ? lane.activity || "" : "");
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
    drawBar(parts.bar, lane);
    if (lane.id === this.selected) this.fillDetail(row);
  }

  updateMedian(view) {
    const started = view.lanes.filter((lane) => lane.kind === "agent" && lane.start !== null);
    const visible = view.median_s !== null && started.length > 2;
    show(this.medianLine, visible);
    if (!visible) return;
    const from = Math.min(...started.map((lane) => lane.start));
    setVar(this.medianLine, "--at", (from + view.median_s).toFixed(2));
    setText(this.medianText, `median ${seconds(view.median_s)}`);
  }

  updateNotes(view, lanes) {
    const total = view.lanes.length;
    show(this.more, total > lanes.length);
    setText(this.more, `Showing ${lanes.length} of ${total} lanes. The counts above are of all of them.`);
    show(this.counts, total > 30);
    if (total > 30) setText(this.counts, stateCounts(view.lanes));
    const used = new Set(lanes.flatMap((lane) => lane.segments.map((part) => (part.failed ? "failed" : part.kind))));
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
function drawBar(bar, lane) {
  const first = lane.segments.length ? lane.segments[0].start : lane.start;
  setVar(bar, "--a", first ?? 0);
  setVar(bar, "--b", lane.end === null ? "var(--now)" : lane.end);
  setAttr(bar, "class", `bar ${lane.critical ? "critical" : ""} ${lane.end === null && lane.start !== null ? "open" : ""}`);
  const parts = lane.segments.map((part, at) => ({ ...part, at, live: part.end === null && lane.end === null }));
  keyed(bar, parts, (part) => part.at, () => el("i", {}), (node, part) => {
    setVar(node, "--a", part.start);
    setVar(node, "--b", part.end ?? (lane.end === null ? "var(--now)" : lane.end));
    setAttr(node, "class", `seg k-${part.kind} ${part.failed ? "failed" : ""} ${part.live ? "live" : ""}`);
    setAttr(node, "title", part.label || null);
  });
}

function spokenLane(lane, elapsed) {
  const words = [lane.title, STATE_WORDS[lane.state] || lane.state];
  if (lane.attempt > 1) words.push(`try ${lane.attempt}`);
  if (elapsed === null) words.push(waitsFor(lane));
  else words.push(seconds(elapsed), lane.activity || "");
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
  if (longest) words.push(`longest: ${longest.label}`);
  return words.filter(Boolean).join(" · ");
}

function stateCounts(lanes) {
  const counts = new Map();
  for (const lane of lanes) counts.set(lane.state, (counts.get(lane.state) || 0) + 1);
  return [...counts].map(([state, n]) => `${n} ${(STATE_WORDS[state] || state).toLowerCase()}`).join(" · ");
}
