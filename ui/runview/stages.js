// The run on a phone: a list of stages with counts and bars, no ruler, nothing wider than the screen.

class Stages {
  /** `ways`: {onStop, onAnswerNow} */
  constructor(ways) {
    this.mark = mark("running");
    this.word = el("span", { class: "state-word" });
    this.clock = el("b", { class: "clock" });
    this.cost = el("span", { class: "muted" });
    this.stop = new StopMenu(ways);
    this.list = el("ul", { class: "stage-list" });
    this.root = el("section", { class: "stages", "aria-label": "Run" },
      el("header", {}, this.mark, this.word, this.clock, this.cost, this.stop.root), this.list);
  }

  update(view, now, doing) {
    updateMark(this.mark, RUN_STATES[view.status] || "pending");
    setText(this.word, doing.stopping && isLive(view) ? "Stopping" : RUN_WORDS[view.status] || view.status);
    setText(this.cost, view.meters.cost_usd === null ? plural(view.meters.calls, "model call") : dollars(view.meters.cost_usd));
    this.stop.update(view, doing);
    this.view = view;
    this.axis = new Axis(view.lanes.slice(0, MAX_LANES), now);
    keyed(this.list, withTeams(view), (lane) => lane.id, makeStage, (row, lane) =>
      this.updateStage(row, lane, now));
    this.tick(now);
  }

  tick(now) {
    const worked = workedAt(this.view, this.view.ended_s ?? now);
    setText(this.clock, isLive(this.view) ? clock(worked) : seconds(worked));
    const axis = new Axis(this.view.lanes.slice(0, MAX_LANES), now);
    const redrawn = axis.key !== this.axis.key;
    this.axis = axis;
    setVar(this.list, "--now", axis.at(now).toFixed(2));
    setVar(this.list, "--span", Math.max(1, axis.at(now)).toFixed(2));
    for (const row of this.list.children) {
      if (!row.lane) continue;
      if (redrawn && isInner(row.lane)) drawBar(row.parts.bar, row.lane, axis);
      setText(row.parts.figure, stageFigure(row.lane, now));
    }
  }

  updateStage(row, lane, now) {
    const { parts } = row;
    const inner = isInner(lane);
    row.lane = lane.members ? null : lane; // a team's row has no clock of its own
    updateMark(parts.mark, lane.state, lane.attempt);
    setText(parts.title, lane.title);
    setText(parts.figure, lane.members ? stageCounts(lane.members) : stageFigure(lane, now));
    setAttr(row, "class", `stage d-${inner ? 1 : 0} f-${familyOf(lane.state)} l-${lane.state}`);
    setVar(row, "--depth", lane.depth || 0);
    row.classList.toggle("late", !!lane.late_s);
    show(parts.bar, inner && lane.start !== null);
    if (inner) drawBar(parts.bar, lane, this.axis);
  }
}

/** Inside of another row: a sub-agent, or a step of one that leads others. */
const isInner = (lane) => lane.kind === "agent" || lane.depth > 0;

/** Sub-agents under one row that counts them; their own node has no lane once they stand for it. */
function withTeams(view) {
  const lanes = view.lanes.slice(0, MAX_LANES);
  const rows = [];
  const counted = new Set();
  for (const lane of lanes) {
    if (lane.kind === "agent" && !lane.depth && !counted.has(lane.parent_id)) rows.push(teamRow(view, lanes, lane.parent_id));
    if (lane.kind === "agent") counted.add(lane.parent_id);
    rows.push(lane);
  }
  return rows;
}

/** Called by its node where the drawing has one: what a desk looks up is no team. */
function teamRow(view, lanes, parentId) {
  const members = lanes.filter((lane) => lane.kind === "agent" && lane.parent_id === parentId);
  const ended = members.every((lane) => ENDED.has(lane.state));
  const bad = members.filter((lane) => lane.state !== "done" && lane.state !== "cached").length;
  const state = !ended ? "running" : bad === members.length ? "failed" : bad ? "partial" : "done";
  return { id: `team ${parentId}`, title: view.shape.nodes.find((node) => node.id === parentId)?.title || "Team", kind: "team", state, members };
}

function makeStage(lane) {
  const parts = { mark: mark(lane.state, 1, 14), title: el("span", { class: "name" }),
    bar: el("span", { class: "bar" }), figure: el("span", { class: "figure" }) };
  const row = el("li", {}, parts.mark, parts.title, el("span", { class: "when" }, parts.bar), parts.figure);
  row.parts = parts;
  return row;
}

function stageFigure(lane, now) {
  if (lane.start === null) return lane.kind === "agent" ? waitsFor(lane).replace(/^starts (when|after) /, "after ").replace(/ is done$/, "") : waitsFor(lane);
  return lane.late_s ? `+${lane.late_s.toFixed(1)} s` : seconds(laneElapsed(lane, now));
}

function stageCounts(children) {
  const done = children.filter((lane) => ENDED.has(lane.state)).length;
  const slow = children.filter((lane) => lane.late_s && !ENDED.has(lane.state)).length;
  const failed = children.filter((lane) => ["failed", "timed_out"].includes(lane.state)).length;
  const again = children.filter((lane) => lane.state === "retrying").length;
  const words = [`${done} of ${children.length} done`];
  if (slow) words.push(`${slow} slow`);
  if (again) words.push(`${again} on another try`);
  if (failed) words.push(`${failed} failed`);
  return words.join(", ");
}
