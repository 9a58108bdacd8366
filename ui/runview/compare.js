// The same question given to one agent, as a branch beside the team's answer, and both in figures once both have ended.

const SOLO = "solo";

class Comparison {
  /** `deps`: {knowsSolo(), onCompare() -> promise, viewOf(runId) -> promise of a view, onChoose(runId), graphTitle(name)} */
  constructor(deps) {
    Object.assign(this, { deps, views: new Map() });
    this.ask = button("Compare with one agent", { kind: "quiet small", onClick: () => this.start() });
    setAttr(this.ask, "title", "Asks one agent the same question, in a branch beside this answer");
    show(this.ask, false);
    this.said = el("p", { class: "muted" });
    this.problem = el("p", { class: "trouble", role: "alert", hidden: true });
    this.table = el("table", { class: "compared-table" });
    this.other = button("", { kind: "small", onClick: () => this.rival && this.deps.onChoose(this.rival.run_id) });
    this.card = el("section", { class: "compared", "aria-label": "Team and one agent compared", hidden: true },
      el("header", {}, el("b", {}, "Team and one agent"), el("span", { class: "space" }), this.other), this.table, this.said);
  }

  /** `siblings` are the runs at the same place of the conversation, this one among them. */
  async update(view, siblings) {
    Object.assign(this, { view, siblings: siblings || [] });
    const others = this.siblings.filter((id) => id !== view.run_id);
    const mine = [view.run_id, view.status, ...others].join(" ");
    if (this.seen === mine) return;
    this.seen = mine;
    await this.lookAtOthers(others);
    if (this.seen === mine) this.draw();
  }

  /** Views of ended runs never change, so each is fetched once. */
  async lookAtOthers(others) {
    const unknown = others.filter((id) => !this.views.has(id));
    const found = (await Promise.all(unknown.map((id) => this.deps.viewOf(id).catch(() => null)))).filter(Boolean);
    for (const view of found) if (!isLive(view)) this.views.set(view.run_id, view);
    const ended = others.map((id) => this.views.get(id)).filter((view) => view && this.matches(view));
    this.rival = ended.pop() || found.find((view) => isLive(view) && this.matches(view)) || null;
  }

  /** The other half: one agent for a team, a team for one agent, asked the same. */
  matches(other) {
    return other.question.trim() === this.view.question.trim() && (other.graph === SOLO) !== (this.view.graph === SOLO);
  }

  draw() {
    const { view, rival } = this;
    const over = !isLive(view);
    show(this.ask, over && view.status === "succeeded" && view.graph !== SOLO && isTeam(view) && !rival && this.deps.knowsSolo());
    show(this.card, over && !!rival);
    if (!rival) return;
    const both = !isLive(rival);
    const [team, one] = view.graph === SOLO ? [rival, view] : [view, rival];
    show(this.table, both);
    setText(this.said, both ? verdict(team, one) : "The other one is still at work. The figures come when it has ended.");
    setText(this.other.lastChild || this.other, view.graph === SOLO ? "Read the team's answer" : "Read the one agent's answer");
    if (both) this.drawTable(team, one);
    if (!both) setTimeout(() => this.lookAgain(), 2000);
  }

  /** The other run has no stream here: it is looked at until it ends, for as long as this answer is on the page. */
  lookAgain() {
    if (!this.card.isConnected) return;
    this.seen = null;
    this.update(this.view, this.siblings);
  }

  drawTable(team, one) {
    const head = el("tr", {}, el("td", {}), el("th", { scope: "col" }, this.deps.graphTitle(team.graph)),
      el("th", { scope: "col" }, "One agent"), el("th", { scope: "col" }, "Difference"));
    this.table.replaceChildren(el("thead", {}, head), el("tbody", {}, ...comparedRows(team, one).map(([name, a, b, told]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, a), el("td", {}, b), el("td", { class: "muted" }, told)))));
  }

  async start() {
    this.ask.disabled = true;
    show(this.problem, false);
    try {
      await this.deps.onCompare();
      this.seen = null;
    } catch (error) {
      setText(this.problem, `It could not be started. ${error.message}`);
      show(this.problem, true);
    } finally {
      this.ask.disabled = false;
    }
  }
}

/** What a turn may ask of the conversation around it once its run has ended. */
function afterwards(conversation) {
  const named = (name) => conversation.graphs.find((graph) => graph.name === name);
  return {
    onLane(turn, laneId) {
      conversation.openTurn(turn, "run");
      if (conversation.panel.selected !== laneId) conversation.panel.select(laneId);
    },
    onCompare: (turn) => askOneAgent(conversation, turn),
    knowsSolo: () => !!named(SOLO),
    graphTitle: (name) => (named(name) || { title: name }).title,
    viewOf: (runId) => conversation.commands.view(runId),
  };
}

/** Ask again on the graph of one agent, beside the team's answer, and read on there. */
async function askOneAgent(conversation, turn) {
  turn.soloKey ||= onceKey(); // until it is known to have begun
  const run = await conversation.commands.branch(conversation.thread, { ...turn.row, graph: SOLO }, turn.row.question, turn.soloKey);
  turn.soloKey = null;
  await conversation.pulse.beat();
  conversation.toFoot(true);
  conversation.trigger("moved", run.run_id);
}

const isTeam = (view) => view.lanes.length > 1;

const allTokens = ({ meters }) => meters.tokens_in + meters.tokens_out;

const citedOf = (view) => view.sources.filter((source) => source.cited).length;

/** [name, the team's, the one agent's, the difference in words] */
function comparedRows(team, one) {
  const [slow, quick] = [workedAt(team, team.ended_s), workedAt(one, one.ended_s)];
  const rows = [["Time", seconds(slow), seconds(quick), ratio(slow, quick, "as long")],
    ["Tokens", tokens(allTokens(team)), tokens(allTokens(one)), ratio(allTokens(team), allTokens(one), "as many")]];
  const [a, b] = [team.meters.cost_usd, one.meters.cost_usd];
  if (a !== null && b !== null) rows.push(["Cost, estimated", dollars(a), dollars(b), ratio(a, b, "as much")]);
  rows.push(["Model calls", String(team.meters.calls), String(one.meters.calls), ""],
    ["Sources cited", String(citedOf(team)), String(citedOf(one)), more(citedOf(team) - citedOf(one))]);
  return rows;
}

function ratio(team, one, what) {
  if (!team || !one) return "";
  const times = team / one;
  if (times > 0.95 && times < 1.05) return "about the same";
  return times > 1 ? `team ${times.toFixed(1)} times ${what}` : `one agent ${(1 / times).toFixed(1)} times ${what}`;
}

const more = (n) => (n === 0 ? "the same" : n > 0 ? `team ${n} more` : `one agent ${-n} more`);

function verdict(team, one) {
  const ended = [[team, "The team"], [one, "The one agent"]].filter(([view]) => view.status !== "succeeded");
  if (ended.length) return `${ended.map(([, who]) => who).join(" and ")} did not come to an end, so the figures prove nothing.`;
  return "Figures of one run each. Which answer is better is for you to say: read both.";
}
