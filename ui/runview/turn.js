// One turn of the conversation: the question, how it is being worked on, the answer.

const LONG_QUESTION = 900;
const LONG_PLAN = 12;

class Turn {
  /**
   * `run` is a row of the thread's runs; `deps` are {narrow, clock, onOpen, onCite} and what a person may do to it:
   * {onStop, onAnswerNow, onAnswer, onRecover, onEditor, onEdit, onChoose, effects, effectsFrom}.
   */
  constructor(run, deps) {
    Object.assign(this, { runId: run.run_id, deps, view: null, expanded: null, stopping: false, hurried: false });
    const ways = { onStop: () => deps.onStop(this), onAnswerNow: () => deps.onAnswerNow(this) };
    const effects = () => deps.effects(this.runId);
    this.asked = new QuestionPart(run.question, { onOpen: () => deps.onEditor(this), onEdit: (text, key) => deps.onEdit(this, text, key),
      onChoose: deps.onChoose, effects: () => deps.effectsFrom(this) });
    this.plan = el("section", { class: "plan", "aria-label": "Plan", hidden: true });
    this.status = this.makeStatus(ways);
    this.fold = this.makeFold();
    this.findings = el("section", { class: "findings", "aria-label": "Findings", hidden: true });
    this.stages = new Stages(ways);
    show(this.stages.root, false);
    this.requests = new Requests({ onAnswer: (request, answer) => deps.onAnswer(this, request, answer), view: () => this.view,
      titleOf: (laneId) => (this.view.lanes.find((lane) => lane.id === laneId) || {}).title || "" });
    this.recover = new Recover({ onRecover: (remedy) => deps.onRecover(this, remedy), effects });
    this.answer = el("div", { class: "answer prose", "data-length": "0", "data-run": run.run_id });
    this.answer.rawText = "";
    this.made = el("div", { class: "made-list", hidden: true });
    this.after = el("div", { class: "after" });
    this.went = new HowItWent((laneId) => deps.onLane(this, laneId));
    this.comparison = new Comparison({ ...deps, onCompare: () => deps.onCompare(this) });
    this.actions = this.makeActions();
    this.root = el("article", { class: "turn", "aria-label": "Question and answer", "data-run": run.run_id },
      this.asked.root, this.plan, this.status.root, this.status.trouble, this.requests.root, this.fold.root, this.findings,
      this.stages.root, this.answer, this.made, this.after, this.recover.root, this.actions, this.comparison.problem, this.comparison.card,
      this.went.root);
  }

  makeStatus(ways) {
    const parts = { lead: el("b"), rest: el("span"), trouble: el("p", { class: "trouble", role: "status", hidden: true }) };
    parts.hurry = button("Answer with what we have", { icon: "bolt", kind: "small hurry", onClick: ways.onAnswerNow });
    parts.stop = new StopMenu({ ...ways, kind: "small" });
    parts.resume = button("Resume", { kind: "small", onClick: () => this.deps.onRecover(this, { command: "resume" }) });
    parts.row = el("div", { class: "row" }, parts.hurry, parts.resume, parts.stop.root);
    parts.root = el("div", { class: "status", hidden: true }, el("p", {}, parts.lead, " ", parts.rest), parts.row);
    return parts;
  }

  /** The one line above plan and findings: it opens them, and shows this run in the panel. */
  makeFold() {
    const parts = { mark: mark("done"), lead: el("b"), rest: el("span"), arrow: glyph("chevron") };
    parts.root = el("button", { type: "button", class: "fold", hidden: true, "aria-expanded": "false",
      on: { click: () => this.toggle() } }, parts.mark, el("span", { class: "words" }, parts.lead, " ", parts.rest), parts.arrow);
    return parts;
  }

  makeActions() {
    const copy = copyButton("Copy", () => {
      const cited = this.view.sources.filter((source) => source.cited);
      const notes = cited.map((source) => `[${source.n}] ${[source.title || source.document, pageOf(source)].filter(Boolean).join(", ")}`);
      return [plainText(this.view.answer.blocks), notes.join("\n")].filter(Boolean).join("\n\n");
    });
    this.note = el("span", { class: "muted bare-note" }, el("span", { class: "bare", "aria-hidden": "true" }, "underlined"), " ", el("span"));
    this.sourcesButton = el("button", { type: "button", class: "btn quiet small",
      on: { click: () => this.deps.onOpen(this, "sources") } });
    return el("div", { class: "actions", hidden: true }, copy, this.sourcesButton, this.comparison.ask, el("span", { class: "space" }), this.note);
  }

  toggle() {
    // on a phone a running turn shows only what is being written, so the first touch asks for all of it
    this.expanded = this.deps.narrow() && isLive(this.view) ? this.expanded !== true : !this.isOpen();
    this.draw(this.view, null, this.deps.clock(this));
    if (this.expanded) this.deps.onOpen(this, "run");
  }

  isOpen() {
    return this.expanded ?? !(this.view.answer.text || (!isLive(this.view) && this.view.status === "succeeded"));
  }

  /** `dirty` names what changed, null means everything. */
  draw(view, dirty, now) {
    this.view = view;
    const changed = (...names) => !dirty || names.some((name) => dirty.has(name));
    const opened = this.isOpen();
    const turned = opened !== this.wasOpen;
    this.wasOpen = opened;
    if (changed("status", "status_line", "findings", "plan") || turned) this.drawProgress(view, opened);
    if (changed("plan") || turned) this.drawPlan(view, opened);
    if (changed("findings") || turned) this.drawFindings(view, opened);
    if (changed("answer", "status") || turned) this.drawAnswer(view);
    if (changed("artefacts")) drawMade(this.made, view.artefacts || [], this.deps.api);
    if (changed("requests", "status", "lanes")) this.requests.update(view);
    if (changed("missing", "error", "status", "budget_reached")) this.drawAfter(view);
    if (changed("sources", "answer", "status")) this.drawActions(view);
    if (changed("advice", "status")) this.went.update(view);
    this.drawStages(view, now, opened);
  }

  drawProgress(view, opened) {
    const live = isLive(view);
    const { status, fold } = this;
    const said = this.said(view);
    show(status.root, live);
    setAttr(status.root, "class", `status f-${familyOf(RUN_STATES[view.status])} r-${view.status}`);
    setText(status.lead, said.lead);
    setText(status.rest, said.rest);
    status.stop.update(view, this);
    show(status.resume, view.status === "lost" && !this.stopping);
    show(status.hurry, view.status === "running" && !this.stopping && !this.hurried && view.plan.length > 0 && !view.answer.text);
    const inside = view.plan.length + view.findings.length > 0;
    show(fold.root, !live || (inside && (!opened || view.findings.length > 0)));
    updateMark(fold.mark, view.status === "failed" && budgetReached(view) ? "partial" : RUN_STATES[view.status] || "pending");
    show(fold.mark, !live);
    setText(fold.lead, live ? `${plural(view.findings.length, "finding")} so far` : said.lead);
    setText(fold.rest, live ? "" : said.rest);
    fold.root.classList.toggle("open", inside && opened);
    setAttr(fold.root, "aria-expanded", inside && opened ? "true" : "false");
    fold.root.classList.toggle("live", live);
    this.root.classList.toggle("over", !live);
    this.root.classList.toggle("expanded", this.expanded === true);
  }

  /** The sentence of the run; what this page has asked for is said until the run says it itself. */
  said(view) {
    if (!isLive(view)) {
      if (view.status !== "failed" || !view.error || view.budget_reached) return view.status_line;
      return { lead: view.status_line.lead, rest: "What was found so far is kept." };
    }
    if (this.stopping) return { lead: "Stopping.", rest: "What is running now is being called off." };
    if (this.hurried && view.status === "running") {
      return { lead: "Answering with what we have.", rest: "What has not returned is named in the answer." };
    }
    if (view.status === "queued" && this.behind) return { lead: "Queued.", rest: "It waits for the message before it." };
    return view.status_line;
  }

  /** A message behind another one: nothing streams to it yet, so it is drawn from its row. */
  drawQueued() {
    const nothing = { status: "queued", status_line: { lead: "Queued.", rest: "" }, started_at: null, plan: [], findings: [], answer: {} };
    if (!this.view || this.view.status === "queued") this.drawProgress(this.view || nothing, false);
  }

  /** Where the run stands among the others: `row` from the list of runs, `behind` another one that is not over. */
  place(row, behind) {
    this.row = row;
    this.asked.update(this.runId, row.siblings);
    if (this.view) this.comparison.update(this.view, row.siblings);
    const moved = this.behind !== behind;
    this.behind = behind;
    if (behind && this.pending) this.drawQueued();
    else if (moved && this.view) this.draw(this.view, null, this.deps.clock(this));
  }

  drawPlan(view, opened) {
    show(this.plan, opened && view.plan.length > 0);
    const long = view.plan.length > LONG_PLAN && !this.wholePlan;
    const rows = long ? view.plan.slice(0, LONG_PLAN - 2) : view.plan;
    const more = long ? [{ id: " more", more: true }] : [];
    keyed(this.plan, [{ id: " head", head: true }, ...rows, ...more], (row) => row.id, (row) => this.makePlanRow(row), (node, row) => {
      if (row.head) setText(node.lastChild, plural(view.plan.length, "sub-task"));
      else if (row.more) setText(node, `${view.plan.length - rows.length} more: ${stateCounts(view.plan.slice(rows.length))}`);
      else updatePlanRow(node, row, view.plan);
    });
  }

  makePlanRow(row) {
    if (row.head) return el("header", {}, el("b", {}, "Plan"), el("span", { class: "muted" }));
    if (!row.more) return makePlanRow(row);
    return el("button", { type: "button", class: "btn quiet small plan-more", on: { click: () => {
      this.wholePlan = true;
      this.drawPlan(this.view, true);
    } } });
  }

  drawFindings(view, opened) {
    show(this.findings, opened && view.findings.length > 0);
    if (!opened) return;
    keyed(this.findings, view.findings, (finding) => finding.lane_id, makeFinding, (node, finding) => {
      updateMark(node.parts.mark, finding.state);
      setText(node.parts.title, finding.title);
      renderBlocks(node.parts.body, finding.blocks, this.deps.onCite(this));
      node.parts.body.classList.toggle("streaming", finding.streaming);
    });
  }

  drawAnswer(view) {
    const { answer } = view;
    this.answer.rawText = answer.text;
    setAttr(this.answer, "data-length", answer.text.length);
    setAttr(this.answer, "data-final", answer.final ? "true" : "false");
    renderBlocks(this.answer, answer.blocks, this.deps.onCite(this));
    this.answer.classList.toggle("streaming", isLive(view) && !answer.final && answer.text !== "");
    setAttr(this.answer, "aria-busy", isLive(view) ? "true" : null);
  }

  drawAfter(view) {
    const notes = view.missing.map((gap) => ({ id: `m ${gap.title}`, state: "partial", lead: `${gap.title} is missing.`, rest: gapWords(gap.reason, view.status) }));
    const reached = !isLive(view) && budgetReached(view);
    if (reached) {
      const rest = view.error ? "" : "The answer holds what was found until then.";
      notes.unshift({ id: "budget", state: "partial", lead: `${reached.words}.`, rest });
    } else if (view.error && view.status !== "cancelled") {
      notes.unshift({ id: "error", state: "failed", lead: sentence(view.error.message), rest: sentence(view.error.fix) });
    }
    this.recover.update(view);
    keyed(this.after, isLive(view) ? [] : notes, (note) => note.id, (note) => {
      const parts = { lead: el("b"), rest: el("span") };
      const node = el("div", { class: `note f-${familyOf(note.state)}` }, mark(note.state), el("p", {}, parts.lead, " ", parts.rest));
      node.parts = parts;
      return node;
    }, (node, note) => {
      setText(node.parts.lead, note.lead);
      setText(node.parts.rest, note.rest);
    });
  }

  drawActions(view) {
    const ended = !isLive(view) && view.answer.text !== "";
    show(this.actions, ended);
    const cited = view.sources.filter((source) => source.cited).length;
    show(this.sourcesButton, cited > 0);
    setText(this.sourcesButton, plural(cited, "source"));
    const bare = view.answer.unsupported;
    setText(this.note.lastChild, bare ? `${plural(bare, "statement")} without a source` : "");
    show(this.note.firstChild, !!bare && cited > 0); // where nothing is cited, nothing is underlined
    if (this.row) this.comparison.update(view, this.row.siblings);
  }

  drawStages(view, now, opened) {
    const wanted = this.deps.narrow() && view.lanes.length > 0 && (isLive(view) || (opened && this.expanded === true));
    show(this.stages.root, wanted);
    if (wanted) this.stages.update(view, now, this);
  }

  tick(now) {
    if (!this.stages.root.hidden) this.stages.tick(now);
  }

  /** Say what is wrong, or "" when all is well; `silent` says that nothing is heard of the run, so no clock goes on. */
  trouble(text, silent = false) {
    this.silent = silent;
    setText(this.status.trouble, text);
    show(this.status.trouble, !!text);
  }
}

/** Why a part is missing. A state in which it was left is told as what became of it: once a run is over, nothing runs. */
function gapWords(reason, status) {
  if (["pending", "ready", "blocked"].includes(reason)) return "Not begun.";
  const left = ["running", "retrying", "waiting", "second try", "lost"].includes(reason) || (reason === "cancelled" && status === "cancelled");
  return left ? `Not finished when ${status === "cancelled" ? "it was stopped" : "the run ended"}.` : sentence(reason);
}

function questionBubble(question) {
  const words = el("p", { class: "words", dir: "auto" });
  const bubble = el("div", { class: "question" }, words);
  setText(words, question);
  if (question.length > LONG_QUESTION) {
    words.classList.add("clamped");
    const more = el("button", { type: "button", class: "btn quiet small", on: { click: () => {
      words.classList.remove("clamped");
      more.remove();
    } } }, `Show all ${question.length.toLocaleString("en")} characters`);
    bubble.append(more);
  }
  return bubble;
}

function makePlanRow(row) {
  const parts = { mark: mark(row.state), n: el("span", { class: "n" }), title: el("span", { class: "title" }),
    after: el("span", { class: "muted" }) };
  const node = el("div", { class: "plan-row" }, parts.mark, parts.n, parts.title, parts.after);
  node.parts = parts;
  return node;
}

function updatePlanRow({ parts }, row, plan) {
  updateMark(parts.mark, row.state, row.attempt);
  setText(parts.n, String(plan.indexOf(row) + 1));
  setText(parts.title, row.title);
  setAttr(parts.title, "title", row.question);
  const needs = row.depends_on.map((id) => plan.findIndex((other) => other.id === id) + 1).filter(Boolean);
  const waiting = ["pending", "blocked"].includes(row.state);
  setText(parts.after, waiting && needs.length ? `after ${list(needs.map(String))}` : "");
}

function makeFinding(finding) {
  const parts = { mark: mark(finding.state), title: el("span"), body: el("div", { class: "prose" }) };
  const node = el("div", { class: "finding", "data-lane": finding.lane_id },
    el("p", { class: "by muted" }, parts.mark, parts.title), parts.body);
  node.parts = parts;
  return node;
}
