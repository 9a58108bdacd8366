// The axis of seconds. Stretches in which nobody worked (a request waits for days, a run was stopped and resumed) are
// drawn short and marked as breaks, so that the seconds of work keep their room and the labels stay true.

const AXIS_S = [5, 8, 10, 12, 14, 16, 20, 25, 30, 40, 50, 60, 90, 120, 180, 240, 300, 600, 900, 1200, 1800, 3600];
const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const IDLE_S = 15;
const BREAK_SHARE = 0.09;
const MOST_BREAKS = 5;

class Axis {
  constructor(lanes, now) {
    this.breaks = idleStretches(lanes, now).slice(-MOST_BREAKS);
    const worked = now - this.breaks.reduce((sum, [from, to]) => sum + to - from, 0);
    const share = 1 - BREAK_SHARE * this.breaks.length;
    this.span = AXIS_S.find((limit) => limit * share >= worked * 1.06) || Math.ceil((worked * 1.06) / share / 3600 + 1) * 3600;
    this.short = this.span * BREAK_SHARE;
    // a break that is still open grows without anything moving
    this.key = JSON.stringify([this.span, this.breaks.map(([from, to]) => [from, to === now ? "now" : to])]);
  }

  /** Second of the run -> place on the axis, in drawn seconds. */
  at(second) {
    let place = second;
    for (const [from, to] of this.breaks) {
      if (second <= from) break;
      place += second >= to ? this.short - (to - from) : ((second - from) / (to - from)) * this.short - (second - from);
    }
    return place;
  }

  /** [[place, label]] of the marks: round seconds, in every stretch of work. */
  ticks() {
    const step = STEPS_S.find((s) => this.span / s <= 7) || 600;
    const label = (second) => (second < 60 || !this.breaks.length ? String(second) : clock(second));
    const marks = [];
    let from = 0;
    for (const [idle, on] of [...this.breaks, [Infinity, 0]]) {
      for (let second = Math.ceil(from / step) * step; second <= idle && this.at(second) <= this.span; second += step) {
        const place = this.at(second);
        const last = marks.length ? marks[marks.length - 1][0] : -Infinity;
        if (place - last >= this.span / 12) marks.push([place, label(second)]);
      }
      from = on;
    }
    return marks;
  }
}

/** [[from, to]]: longer stretches of the run in which no lane did anything. */
function idleStretches(lanes, now) {
  const busy = lanes.flatMap((lane) => busyStretches(lane, now)).sort((a, b) => a[0] - b[0]);
  const idle = [];
  let until = 0;
  for (const [from, to] of [...busy, [now, now]]) {
    if (from - until > IDLE_S) idle.push([until, from]);
    until = Math.max(until, to);
  }
  return idle;
}

function busyStretches(lane, now) {
  if (lane.start === null) return [];
  const parts = lane.segments.filter((part) => part.kind !== "gap" && part.kind !== "queue").map((part) => [part.start, part.end ?? lane.end ?? now]);
  if (lane.end === null && lane.state !== "lost") parts.push([parts.length ? parts[parts.length - 1][1] : lane.start, now]);
  return parts.length ? parts : [[lane.start, lane.end ?? now]];
}
