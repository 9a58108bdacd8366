// What a run asks a person: a call to approve, a call in doubt, or a question. Each is answered on its own, once; of two
// windows the first answer counts and the other is told. A bare Enter never approves.

const BEFORE = "answered_before";

class Requests {
  /** `deps`: {onAnswer(request, answer) -> promise, titleOf(laneId)} */
  constructor(deps) {
    this.deps = deps;
    this.root = el("section", { class: "requests", "aria-label": "Requests to you", hidden: true });
  }

  update(view) {
    const requests = view.requests || [];
    show(this.root, requests.length > 0);
    const open = requests.filter(isUnanswered);
    const first = open.find((request) => (this.cardOf(request)?.sent ?? null) === null) || open[0];
    keyed(this.root, requests, (request) => request.id, (request) => this.make(request), (node, request) =>
      node.card.update(request, view, request === first || open.length === 1));
  }

  cardOf(request) {
    const node = this.root.keyedNodes && this.root.keyedNodes.get(request.id);
    return node && node.card;
  }

  make(request) {
    const card = request.kind === "plan" && request.plan ? new PlanCard(request, this.deps) : new RequestCard(request, this.deps);
    card.root.card = card;
    return card.root;
  }
}

class RequestCard {
  constructor(request, deps) {
    Object.assign(this, { request, deps, kind: requestKind(request), sent: null, seenOpen: false, reviewed: false });
    this.args = request.args && typeof request.args === "object" ? request.args : {};
    this.exact = isExact(this.args);
    this.title = el("h4", { tabindex: "-1" }, requestTitle(request));
    this.body = el("div", { class: "request-body" });
    this.buttons = el("footer", {});
    this.problem = el("p", { class: "trouble", role: "alert", hidden: true });
    this.gist = el("p", { class: "gist" }, gistOf(this.args));
    this.review = button("Review", { kind: "small", onClick: () => this.open() });
    this.line = el("div", { class: "reason", hidden: true });
    this.form = el("div", { class: "request-form" }, this.body, this.problem, this.line, this.buttons);
    const badge = request.undoable === false ? el("span", { class: "tag" }, "cannot be undone") : null;
    this.head = el("header", {}, mark("waiting", 1, 20), this.title, badge, this.review);
    this.told = el("p", { class: "told", tabindex: "-1", hidden: true });
    const named = { class: "request f-yellow", "aria-label": requestTitle(request), "data-request": request.id };
    this.root = el("article", named, this.head, this.gist, this.form, this.told);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.fill();
  }

  // ---- what it shows

  fill() {
    const { request } = this;
    if (request.what) this.body.append(el("p", { class: "asks" }, request.what));
    if (request.because) this.body.append(el("p", { class: "asks because" }, request.because));
    if (this.kind === "approval") this.fillForm();
    else if (this.kind === "doubt") this.body.append(argumentList(this.args));
    else if (this.kind === "repeat") this.body.append(el("p", { class: "asks" }, doneBefore(request)), argumentList(this.args));
    else this.fillQuestion();
    this.body.append((this.promise = el("p", { class: "promise muted" })));
    this.makeButtons();
  }

  fillForm() {
    this.fields = fieldsOf(this.request.schema, this.args).map((spec) => new Field(spec, () => this.onEdit()));
    this.body.append(el("div", { class: "fields" }, ...this.fields.map((field) => field.root)));
    if (this.exact) return;
    for (const field of this.fields) field.disable(true); // what cannot be shown exactly must not be sent back
    const words = "It holds a number that is too long for a browser to show exactly, so it cannot be edited here.";
    this.body.append(el("p", { class: "trouble" }, words));
  }

  fillQuestion() {
    const words = questionWords(this.request);
    if (words) this.body.append(el("p", { class: "asks", dir: "auto" }, words));
    if (this.request.choices) return;
    this.input = el("textarea", { rows: 2, dir: "auto", "aria-label": "Your answer" });
    this.body.append(el("div", { class: "field" }, this.input));
  }

  makeButtons() {
    const choice = (words, decision, kind = "") => button(words, { kind, onClick: () => this.send({ decision }) });
    const withLine = (words, ask) => button(words, { kind: ask.danger ? "quiet danger" : "", onClick: () => this.askLine(ask) });
    if (this.kind === "approval") {
      this.main = button("Approve", { kind: "filled", onClick: () => this.approve() });
      this.undo = button("Undo edits", { onClick: () => this.fields.forEach((field) => field.reset()) });
      show(this.undo, false);
      this.buttons.append(this.main, this.undo, withLine("Reject with a reason", REJECT));
      setAttr(this.main, "aria-keyshortcuts", "Control+Enter");
      this.buttons.append(el("span", { class: "space" }), el("span", { class: "muted hint" }, "Ctrl Enter approves"));
    } else if (this.kind === "doubt") {
      this.buttons.append(withLine("It happened", HAPPENED), choice("Do it again", "again"), choice("Leave it out", "skip", "quiet"));
    } else if (this.kind === "repeat") {
      this.buttons.append(choice("Use that result", "use", "filled"), choice("Do it again", "again"), choice("Leave it out", "skip", "quiet"));
    } else if (this.request.choices) {
      this.buttons.append(...this.request.choices.map((decision) => choice(sentenceCase(String(decision)), decision)));
    } else {
      this.main = button("Answer", { kind: "filled", onClick: () => this.send(this.input.value) });
      this.buttons.append(this.main, el("span", { class: "space" }), el("span", { class: "muted hint" }, "Ctrl Enter answers"));
    }
    this.quick = button("Reject", { kind: "quiet small danger", onClick: () => { this.open(); this.askLine(REJECT); } });
    if (this.kind === "approval") this.head.append(this.quick);
  }

  update(request, view, expanded) {
    this.request = request;
    const over = isUnanswered(request) && !isLive(view);
    const open = isUnanswered(request) && !over && this.sent === null;
    const hadFocus = this.root.contains(this.root.getRootNode().activeElement);
    this.seenOpen ||= open;
    const wide = open && (expanded || this.reviewed);
    show(this.form, wide);
    show(this.gist, open && !wide && this.gist.textContent !== "");
    show(this.review, open && !wide);
    show(this.quick, open && !wide);
    show(this.head, open);
    this.root.classList.toggle("open", wide);
    this.root.classList.toggle("ended", !open);
    show(this.told, !open);
    if (open) setText(this.promise, this.promiseWords());
    else this.tell(request, over);
    if (hadFocus && !open) this.told.focus({ preventScroll: true });
  }

  promiseWords() {
    const by = this.deps.titleOf(this.request.lane_id);
    const asked = by ? `Asked by ${by}. ` : "";
    if (this.kind === "approval") {
      return this.request.undoable === false
        ? `${asked}It is done once. Should the worker die in the middle of it, you are asked what happened.`
        : `${asked}It is done once: a repeat of this call changes nothing.`;
    }
    if (this.kind === "repeat") return `${asked}Nothing has been done in this branch yet.`;
    return asked.trim();
  }

  /** One line in place of the card, once it is answered or cannot be. */
  tell(request, over) {
    const { state, words } = answerWords(this, request, over);
    if (this.toldAs === words) return;
    this.toldAs = words;
    this.told.replaceChildren(mark(state, 1, 16), el("b", {}, subjectOf(request)), el("span", {}, words));
  }

  open() {
    this.reviewed = true;
    this.update(this.request, this.deps.view(), true);
    const first = this.form.querySelector("input, textarea, select, button");
    if (first) first.focus();
  }

  bringUp() {
    this.reviewed = true;
    this.update(this.request, this.deps.view(), true);
    this.title.focus({ preventScroll: true });
  }

  // ---- editing

  get edits() {
    return this.fields.filter((field) => field.edited);
  }

  onEdit() {
    const n = this.edits.length;
    setText(this.main.lastChild, n ? `Approve with ${plural(n, "edit")}` : "Approve");
    show(this.undo, n > 0);
    setText(this.undo.lastChild, n > 1 ? "Undo edits" : "Undo edit");
  }

  approve() {
    const { edits } = this;
    if (!edits.length) return this.send({ decision: "approve" });
    const read = edits.map((field) => [field.name, field.read()]);
    if (read.some(([, value]) => value === undefined)) return undefined;
    return this.send({ decision: "edit", args: Object.fromEntries([...Object.entries(this.args), ...read]) });
  }

  /** One line of words that goes along with a decision. */
  askLine({ decision, ask, send, danger }) {
    const input = el("input", { type: "text", maxlength: 500, dir: "auto", placeholder: ask, "aria-label": ask });
    const act = () => this.send({ decision, reason: input.value.trim() });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") act();
      if (event.key === "Escape") this.closeLine();
      event.stopPropagation();
    });
    const back = button("Back", { kind: "quiet", onClick: () => this.closeLine() });
    this.line.replaceChildren(input, button(send, { kind: danger ? "danger" : "", onClick: act }), back);
    show(this.line, true);
    show(this.buttons, false);
    input.focus();
  }

  closeLine() {
    show(this.line, false);
    show(this.buttons, true);
    this.buttons.querySelector("button").focus();
  }

  onKey(event) {
    if (event.key !== "Enter") return;
    const chord = event.ctrlKey || event.metaKey;
    if (this.main && chord && this.sent === null) {
      event.preventDefault();
      this.main.click();
    } else if (!chord && event.composedPath()[0] === this.main) {
      event.preventDefault(); // a bare Enter never approves; Space and Ctrl Enter do
    }
  }

  // ---- sending

  async send(answer) {
    if (this.sent !== null || (typeof answer === "string" && !answer.trim())) return;
    this.sent = answer;
    this.complain("");
    this.update(this.request, this.deps.view(), true);
    try {
      await this.deps.onAnswer(this.request, answer);
    } catch (error) {
      this.sent = null;
      this.refused(error);
    }
  }

  refused(error) {
    this.update(this.request, this.deps.view(), true);
    if (error.code === BEFORE) {
      this.elsewhere = true;
      this.complain("It was answered in another window. The first answer counts.");
      this.setOff(true);
      return;
    }
    const name = /^args\.([^.]+)/.exec(error.field || "")?.[1];
    const field = this.fields && this.fields.find((known) => known.name === name);
    if (field) field.complain(error.message.replace(/^args\.[^:]*: /, ""));
    else this.complain(`It could not be sent. ${error.message}`);
  }

  complain(words) {
    setText(this.problem, words);
    show(this.problem, !!words);
  }

  setOff(off) {
    for (const control of this.form.querySelectorAll("button, input, textarea, select")) control.disabled = off;
  }
}

const isUnanswered = (request) => request.answer === null || request.answer === undefined;

const REJECT = { decision: "reject", ask: "Why not? The agent reads it", send: "Reject", danger: true };
const HAPPENED = { decision: "happened", ask: "What happened? A number, a link, a name", send: "It happened" };

function requestKind(request) {
  return ["approval", "doubt", "repeat"].includes(request.kind) ? request.kind : "question";
}

const subjectOf = (request) => (request.tool ? sentenceCase(String(request.tool).replace(/_/g, " ")) : "A question");

const ASKS_OF = { doubt: ": did it happen?", repeat: ": do it again?" };

const requestTitle = (request) => `${subjectOf(request)}${ASKS_OF[requestKind(request)] || ""}`;

/** When a call was done before, and what the other branch had been asked. */
function doneBefore({ done_at: at, asked_before: question }) {
  const asked = question ? `, when this chat was asked: ${question.slice(0, 200)}` : "";
  return sentence(`done ${momentOf(at)}${asked}`);
}

/** What a graph's own `interrupt(value)` says: its words, or the value itself. */
function questionWords(request) {
  const { value, question, message, text } = request;
  const words = [value, question, message, text].find((it) => typeof it === "string" && it.trim());
  if (words) return words;
  const rest = value ?? Object.fromEntries(Object.entries(request).filter(([name]) => !OUR_OWN.has(name)));
  return JSON.stringify(rest, null, 2);
}

const OUR_OWN = new Set(["id", "ns", "kind", "tool", "args", "schema", "what", "undoable", "choices", "span_id", "lane_id",
  "asked_s", "answer", "answered_by", "call_id", "done_at", "asked_before"]);

const asWords = (value) => (typeof value === "string" ? value : JSON.stringify(value));

const gistOf = (args) => Object.values(args).map(asWords).join(" · ").slice(0, 160);

function argumentList(args) {
  return el("dl", { class: "arguments" }, ...Object.entries(args).flatMap(([name, value]) => [
    el("dt", { class: "muted" }, labelOf(name, {})), el("dd", { dir: "auto" }, asWords(value))]));
}

/** {state, words} of a request that is over: what was said, by whom, or why nothing was. */
function answerWords(card, request, over) {
  if (over) return { state: "cancelled", words: "was not answered. Resume the run to answer it." };
  const answer = isUnanswered(request) ? card.sent : request.answer;
  const who = card.seenOpen && card.sent === null ? "by you, in another window" : "by you";
  const decision = answer && typeof answer === "object" ? answer.decision : undefined;
  const reason = answer && answer.reason ? `: ${answer.reason}` : ".";
  const edits = decision === "edit" ? editCount(request.args || {}, answer.args || {}) : 0;
  if (decision === "approve") return { state: "done", words: `approved ${who}.` };
  if (decision === "edit") return { state: "done", words: `approved ${who}, with ${plural(edits, "edit")}.` };
  if (decision === "reject") return { state: "cancelled", words: `rejected ${who}${reason}` };
  if (decision === "happened") return { state: "done", words: `happened, confirmed ${who}${reason}` };
  if (decision === "use") return { state: "cached", words: `was not done again: the result from before is used, decided ${who}.` };
  if (decision === "again") return { state: "ready", words: `is done again, decided ${who}.` };
  if (decision === "skip") return { state: "not_taken", words: `is left out, decided ${who}.` };
  return { state: "done", words: `answered ${who}: ${decision ?? asWords(answer)}` };
}

function editCount(before, after) {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].filter((name) => JSON.stringify(own(before, name)) !== JSON.stringify(own(after, name))).length;
}
