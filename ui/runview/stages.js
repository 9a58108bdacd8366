// The run on a phone: a list of stages with counts and bars, no ruler, nothing wider than the screen.

class Stages {
  constructor(onStop) {
    this.mark = mark("running");
    this.word = el("span", { class: "state-word" });
    this.clock = el("b", { class: "clock" });
    this.cost = el("span", { class: "muted" });
    this.stop = button("Stop", { icon: "stop", onClick: onStop });
    this.list = el("ul", { class: "stage-list" });
    this.root = el("section", { class: "stages", "aria-label": "Run" },
      el("header", {}, this.mark, this.word, this.clock, this.cost, this.stop), this.list);
  }

  update(view, now, stopping) {
    updateMark(this.mark, RUN_STATES[view.status] || "pending");
    setText(this.word, stopping ? "Stopping" : RUN_WORDS[view.status] || view.status);
    setText(this.cost, view.meters.cost_usd === null ? plural(view.meters.calls, "model call") : dollars(view.meters.cost_usd));
    show(this.stop, isLive(view));
    this.stop.disabled = !!stopping;
    this.view = view;
    keyed(this.list, view.lanes.slice(0, MAX_LANES), (lane) => lane.id, (lane) => makeStage(lane), (row, lane) =>
      this.updateStage(row, lane, now));
    this.tick(now);
  }

  tick(now) {
    setText(this.clock, isLive(this.view) ? clock(now) : seconds(this.view.ended_s ?? now));
    setVar(this.list, "--now", now.toFixed(2));
    setVar(this.list, "--span", Math.max(1, now).toFixed(2));
  }

  updateStage(row, lane, now) {
    const { parts } = row;
    const children = this.view.lanes.filter((other) => other.parent_id === lane.id);
    updateMark(parts.mark, lane.state, lane.attempt);
    setText(parts.title, lane.title);
    setText(parts.figure, children.length ? stageCounts(children) : stageFigure(lane, now));
    setAttr(row, "class", `stage d-${Math.min(lane.depth, 1)} f-${familyOf(lane.state)} l-${lane.state}`);
    row.classList.toggle("late", !!lane.late_s);
    show(parts.bar, lane.depth > 0 && lane.start !== null);
    drawBar(parts.bar, lane);
  }
}

function makeStage(lane) {
  const parts = { mark: mark(lane.state, 1, 14), title: el("span", { class: "name" }),
    bar: el("span", { class: "bar" }), figure: el("span", { class: "figure" }) };
  const row = el("li", {}, parts.mark, parts.title, el("span", { class: "when" }, parts.bar), parts.figure);
  row.parts = parts;
  return row;
}

function stageFigure(lane, now) {
  if (lane.start === null) return waitsFor(lane);
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
