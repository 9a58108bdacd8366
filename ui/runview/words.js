// Numbers and states in words. A number keeps its unit and a fixed number of decimals.

const STATE_WORDS = {
  pending: "Pending", ready: "Ready", running: "Running", retrying: "Retrying", waiting: "Waiting for you",
  blocked: "Blocked", done: "Done", cached: "Cached", partial: "Partial", failed: "Failed", timed_out: "Timed out",
  cancelled: "Cancelled", not_taken: "Not taken", second_try: "Second try", lost: "Lost",
};

const RUN_WORDS = {
  queued: "Queued", running: "Running", waiting: "Waiting for you", succeeded: "Done", failed: "Failed",
  cancelled: "Stopped", lost: "Lost",
};

const UNFINISHED = new Set(["queued", "running", "waiting", "lost"]);
const ENDED = new Set(["done", "cached", "partial", "failed", "timed_out", "cancelled", "not_taken", "lost"]);

const GOOD = new Set(["done", "cached", "partial"]);

const isLive = (view) => UNFINISHED.has(view.status);

function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 60) return `${Math.max(0, value).toFixed(1)} s`;
  if (value >= 3600) return `${Math.floor(value / 3600)} h ${String(Math.floor(value / 60) % 60).padStart(2, "0")} min`;
  const minutes = Math.floor(value / 60);
  return `${minutes} min ${String(Math.floor(value % 60)).padStart(2, "0")} s`;
}

function clock(value) {
  const whole = Math.max(0, Math.floor(value));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** Seconds of work at second `now` of the run: the queue, and a person who was asked, are not on the clock. */
const workedAt = (view, now) => view.worked_s ?? Math.max(0, now - (view.rested_s || 0));

function tokens(value) {
  if (value < 1000) return String(value);
  return value < 1_000_000 ? `${(value / 1000).toFixed(1)}k` : `${(value / 1_000_000).toFixed(2)}M`;
}

const dollars = (value) => `$${value.toFixed(value < 1 ? 3 : 2)}`;

const sentenceCase = (words) => `${words.slice(0, 1).toUpperCase()}${words.slice(1)}`;

/** Reasons and fixes as sentences: `timed out` -> `Timed out.` */
const sentence = (words) => (words ? sentenceCase(/[.!?…]$/.test(words) ? words : `${words}.`) : "");

const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function list(words) {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

/** What an unstarted lane says instead of drawing a guess. */
function waitsFor(lane) {
  if (lane.state === "not_taken") return "not taken";
  if (lane.state === "cancelled") return "stopped before it started";
  if (!lane.waits_for || !lane.waits_for.length) return "not started";
  const [first, second, ...more] = lane.waits_for;
  if (more.length) return `starts after ${first} and ${more.length + 1} more`;
  return second ? `starts after ${first} and ${second}` : `starts when ${first} is done`;
}

/** A lane that waits for a person is still on the clock, though nobody works on it. */
const isOpen = (lane) => lane.start !== null && (lane.end === null || lane.state === "waiting");

const laneElapsed = (lane, now) => (lane.start === null ? null : (isOpen(lane) ? now : lane.end) - lane.start - (lane.idle_s || 0));

const pageOf = (source) => (source.page ? `page ${source.page}` : source.heading || "");
