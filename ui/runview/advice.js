// How a run went: a few figures, what it waited for, and the one change that would help most. Closed until it is wanted.

const RUNG_WORDS = { json_schema: "by schema", tool_call: "as a tool call", text: "in words" };

class HowItWent {
  /** `onLane(laneId)` shows a step in the run panel. */
  constructor(onLane) {
    this.onLane = onLane;
    this.gain = el("b");
    this.sentence = el("span");
    this.figures = el("dl", { class: "went-figures" });
    this.path = el("ol", { class: "went-path" });
    this.odd = el("p", { class: "muted", hidden: true });
    this.hint = el("span", { class: "muted" });
    const lead = el("p", { class: "went-advice" }, this.gain, this.sentence);
    this.root = el("details", { class: "went", hidden: true },
      el("summary", {}, glyph("chevron"), el("b", {}, "How this run went"), this.hint), lead, this.figures,
      el("p", { class: "went-head" }, "What the answer waited for, step by step"), this.path, this.odd);
  }

  update(view) {
    const told = view.advice;
    show(this.root, !isLive(view) && !!told);
    if (!told || this.drawn === told) return;
    this.drawn = told;
    setText(this.hint, told.change ? "one change would help" : "nothing worth changing");
    setText(this.gain, told.change ? `About ${saving(told.change)} less. ` : "");
    setText(this.sentence, told.text);
    this.figures.replaceChildren(...figuresOf(told).map(([value, name, about]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, el("b", {}, value), el("span", { class: "muted" }, about)))));
    this.drawPath(told);
    setText(this.odd, oddAnswers(view.unreadable || []));
    show(this.odd, this.odd.textContent !== "");
  }

  /** A staircase: each step begins where the one before it ended. */
  drawPath({ path, change }) {
    const whole = path.reduce((sum, step) => sum + step.seconds, 0) || 1;
    const advised = new Set(change ? change.lane_ids : []);
    let before = 0;
    this.path.replaceChildren(...path.map((step) => {
      const bar = el("i", { style: `--a:${(before / whole).toFixed(4)};--w:${(step.seconds / whole).toFixed(4)}` });
      before += step.seconds;
      const words = [el("span", { class: "name" }, step.title), el("span", { class: "went-bar", "aria-hidden": "true" }, bar),
        el("span", { class: "took" }, seconds(step.seconds))];
      const label = `${step.title}, ${seconds(step.seconds)}${advised.has(step.lane_id) ? ", the advice is about it" : ""}. Show it in the run`;
      return el("li", {}, el("button", { type: "button", class: `went-step ${advised.has(step.lane_id) ? "advised" : ""}`,
        "aria-label": label, title: step.title, on: { click: () => this.onLane(step.lane_id) } }, ...words));
    }));
  }
}

/** [value, name, what it means in a few words]; a run of one step has only its time. */
function figuresOf(told) {
  const took = [seconds(told.took_s), "Took", "at work, without waiting for you"];
  if (told.path.length < 2 && told.speedup < 1.05) return [took];
  const figures = [took, [seconds(told.serial_s), "One after another", "all steps in a row"],
    [seconds(told.floor_s), "Shortest possible", "steps that need each other, in a row"],
    [`${told.speedup.toFixed(1)}×`, "Faster", mostPossible(told.ceiling)]];
  return figures;
}

/** Some steps run alone, however many agents help: so much and no more. */
const mostPossible = (ceiling) => (ceiling === null || ceiling < 1.05 ? "than one after another" : `at most ${ceiling.toFixed(1)}×: some steps run alone`);

/** `6.0 s and 0.40 cents` */
function saving({ gain_s: gain, gain_usd: usd }) {
  return usd ? `${seconds(gain)} and ${(usd * 100).toFixed(2)} cents` : seconds(gain);
}

function oddAnswers(counts) {
  return counts.map(({ role, rung, n }) => `${plural(n, "answer")} of the ${role.replace(/_/g, " ")}, asked for ${RUNG_WORDS[rung] || rung}, ` +
    `could not be read and ${n === 1 ? "was" : "were"} asked for again.`).join(" ");
}

/** One model call in figures: `first token 0.3 s · 1.2k in, 210 out · $0.002`. */
function callWords(figures) {
  if (!figures) return "";
  const used = figures.in === undefined ? "" : `${tokens(figures.in)} in, ${tokens(figures.out)} out`;
  const words = [figures.latency_s === undefined ? "" : seconds(figures.latency_s),
    figures.ttft_s === undefined ? "" : `first token ${seconds(figures.ttft_s)}`, used,
    figures.cached ? `${tokens(figures.cached)} cached` : "", figures.cost_usd === undefined ? "" : dollars(figures.cost_usd)];
  return words.filter(Boolean).join(" · ");
}
