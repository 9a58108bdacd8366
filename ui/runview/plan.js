// A plan to look at before it runs: each sub-task on or off, asked, given to a role, made to wait, with its tools; above
// them what it would take, drawn anew with every edit. It is answered like any other request.

const NO_PLAN = { tasks: [], note: "" };
const MAX_TITLE = 200;

class PlanCard extends RequestCard {
  fill() {
    const { plan, roles, tools, estimates, limits, what } = this.request;
    Object.assign(this, { roles: roles || {}, tools: tools || {}, estimates: estimates || {}, limits: limits || {} });
    this.proposed = plan || NO_PLAN;
    this.tasks = structuredClone(this.proposed.tasks);
    setText(this.title, this.request.question || "Run this plan?");
    setAttr(this.root, "aria-label", "Plan to review");
    this.root.classList.add("plan-card");
    const note = what || this.proposed.note;
    if (note) this.body.append(el("p", { class: "asks", dir: "auto" }, note));
    this.forecast = new Forecast((id) => this.rows.get(id).toggle(true));
    this.rows = new Map();
    this.list = el("ol", { class: "plan-tasks" });
    for (const task of this.tasks) {
      const row = new TaskRow(task, this);
      this.rows.set(task.id, row);
      this.list.append(row.root);
    }
    this.body.append(this.forecast.root, this.list);
    this.makeButtons();
    this.onEdit();
  }

  makeButtons() {
    this.main = button("Run this plan", { kind: "filled", onClick: () => this.approve() });
    this.undo = button("Undo edits", { onClick: () => this.reset() });
    setAttr(this.main, "aria-keyshortcuts", "Control+Enter");
    const reject = button("Do not run it", { kind: "quiet danger", onClick: () => this.askLine(DO_NOT_RUN) });
    setAttr(this.main, "title", "Ctrl Enter runs it");
    this.estimate = el("span", { class: "muted estimate" });
    this.buttons.append(this.main, this.undo, reject, el("span", { class: "space" }), this.estimate);
    this.quick = el("span", { hidden: true });
    this.promise = el("p", { hidden: true });
  }

  // ---- editing

  secondsOf(id) {
    const known = this.estimates[id] && this.estimates[id].seconds;
    return known > 0 ? known : USUAL_S;
  }

  nameOf(id) {
    return String(this.tasks.findIndex((task) => task.id === id) + 1);
  }

  onEdit() {
    const changes = changedTasks(this.proposed.tasks, this.tasks);
    const on = runnableTasks(this.tasks);
    setText(this.main.lastChild, changes ? `Run with ${plural(changes, "sub-task")} changed` : "Run this plan");
    show(this.undo, changes > 0);
    setText(this.undo.lastChild, changes > 1 ? "Undo edits" : "Undo edit");
    const width = this.proposed.in_turn ? 1 : this.limits.max_parallel || on.length;
    const [made, costs] = [scheduled(on, (id) => this.secondsOf(id), Math.max(1, width)), this.costs(on)];
    this.forecast.update({ tasks: on, names: (id) => this.nameOf(id), costs, width, made });
    const money = costs === null ? "" : `, ${dollars(costs)}`;
    setText(this.estimate, on.length ? `About ${seconds(made.makespan)}${money}` : "");
    for (const row of this.rows.values()) row.update();
    const wrong = [...this.rows.values()].some((row) => row.problem());
    this.main.disabled = !on.length || wrong;
    this.complain(on.length ? "" : "All sub-tasks are switched off: switch one on, or do not run the plan.");
  }

  /** Estimated money of what is on; null when nobody knows it. */
  costs(tasks) {
    const known = tasks.map((task) => this.estimates[task.id] && this.estimates[task.id].usd);
    return known.length && known.every((usd) => typeof usd === "number") ? known.reduce((a, b) => a + b, 0) : null;
  }

  reset() {
    this.tasks.forEach((task, at) => Object.assign(task, structuredClone(this.proposed.tasks[at])));
    for (const row of this.rows.values()) row.refill();
    this.onEdit();
    this.main.focus();
  }

  approve() {
    if (this.main.disabled) return undefined;
    if (!changedTasks(this.proposed.tasks, this.tasks)) return this.send({ decision: "approve" });
    return this.send({ decision: "edit", plan: { ...this.proposed, tasks: this.tasks } });
  }

  // ---- what came of it

  refused(error) {
    super.refused(error);
    const at = /^tasks\.(\d+)/.exec(error.field || "");
    const task = at && this.tasks[Number(at[1])];
    if (task) this.rows.get(task.id).toggle(true);
  }

  tell(request, over) {
    const answer = isUnanswered(request) ? this.sent : request.answer;
    const changes = answer && answer.plan ? changedTasks(this.proposed.tasks, answer.plan.tasks || []) : 0;
    const words = answer && answer.decision === "edit" && !over ? `approved by you, with ${plural(changes, "sub-task")} changed.` : "";
    super.tell(request, over);
    const [, name, said] = this.told.children;
    if (!name) return;
    setText(name, "The plan");
    if (words) setText(said, words);
  }
}

const DO_NOT_RUN = { decision: "reject", ask: "Why not? It is kept with the run", send: "Do not run it", danger: true };

/** How many sub-tasks differ from those that were proposed. */
function changedTasks(before, after) {
  const known = new Map(before.map((task) => [task.id, task]));
  return after.filter((task) => asKey(known.get(task.id)) !== asKey(task)).length;
}

const asKey = (task) => task && JSON.stringify([task.title, task.question, task.role, [...task.depends_on].sort(),
  [...(task.tools || [])].sort(), task.enabled !== false]);

// ---- one sub-task

class TaskRow {
  constructor(task, card) {
    Object.assign(this, { task, card });
    this.on = el("input", { type: "checkbox", checked: task.enabled !== false, "aria-label": "Run this sub-task",
      on: { change: () => this.set("enabled", this.on.checked) } });
    this.name = el("span", { class: "name", dir: "auto" });
    this.gist = el("span", { class: "muted" });
    this.opener = el("button", { type: "button", class: "task-line", "aria-expanded": "false", on: { click: () => this.toggle() } },
      el("span", { class: "n" }, card.nameOf(task.id)), this.name, this.gist, glyph("chevron"));
    this.fields = el("div", { class: "task-fields", hidden: true });
    this.root = el("li", { class: "task" }, el("div", { class: "task-head" }, this.on, this.opener), this.fields);
  }

  toggle(open = this.fields.hidden) {
    if (open && !this.fields.childElementCount) this.makeFields();
    show(this.fields, open);
    setAttr(this.opener, "aria-expanded", open ? "true" : "false");
    this.update();
  }

  makeFields() {
    const { task, card } = this;
    this.title = el("input", { type: "text", maxlength: MAX_TITLE, dir: "auto", on: { input: () => this.set("title", this.title.value) } });
    this.question = el("textarea", { rows: 3, dir: "auto", on: { input: () => this.set("question", this.question.value) } });
    const known = Object.keys(card.roles);
    const names = known.includes(task.role) ? known : [task.role, ...known];
    this.role = el("select", { on: { change: () => this.setRole(this.role.value) } },
      ...names.map((name) => el("option", { value: name }, sentenceCase(name.replace(/_/g, " ")))));
    this.about = el("p", { class: "muted" });
    this.needs = el("div", { class: "chips" });
    this.toolset = el("div", { class: "chips" });
    this.why = el("p", { class: "muted" });
    this.fields.append(labelled("Title", this.title), labelled("Question", this.question), labelled("Role", this.role), this.about,
      chipGroup("Starts after", this.needs), this.why, chipGroup("May use", this.toolset));
    this.refill();
  }

  /** Fields as the task is, after it was made or put back. */
  refill() {
    this.on.checked = this.task.enabled !== false;
    if (!this.title) return;
    this.title.value = this.task.title;
    this.question.value = this.task.question;
    this.role.value = this.task.role;
  }

  set(name, value) {
    this.task[name] = value;
    this.card.onEdit();
  }

  /** Another role has other tools: all of them, until some are taken away. */
  setRole(role) {
    this.task.tools = [];
    this.set("role", role);
  }

  problem() {
    return this.task.enabled !== false && !this.task.question.trim();
  }

  update() {
    const { task, card } = this;
    const on = task.enabled !== false;
    const after = task.depends_on.filter((id) => card.tasks.some((other) => other.id === id && other.enabled !== false)).map((id) => card.nameOf(id));
    setText(this.name, task.title || "Untitled");
    const waits = after.length ? `, after ${list(after)}` : "";
    setText(this.gist, on ? `${task.role.replace(/_/g, " ")}${waits} · ${seconds(card.secondsOf(task.id))}` : "off");
    this.root.classList.toggle("off", !on);
    if (!this.fields.hidden) this.updateFields();
  }

  updateFields() {
    const { task, card } = this;
    setText(this.about, sentence(card.roles[task.role] || ""));
    setAttr(this.question, "aria-invalid", this.problem() ? "true" : null);
    const reasons = [];
    const others = card.tasks.filter((other) => other.id !== task.id);
    keyed(this.needs, others, (other) => other.id, (other) => this.makeNeed(other), (chip, other) => {
      const chosen = task.depends_on.includes(other.id);
      const circle = !chosen && closesCircle(card.tasks, task.id, other.id);
      if (circle) reasons.push(card.nameOf(other.id));
      setText(chip, `${card.nameOf(other.id)} ${other.title}`);
      setAttr(chip, "aria-pressed", chosen ? "true" : "false");
      setAttr(chip, "aria-disabled", circle ? "true" : null);
      setAttr(chip, "title", circle ? `Not possible: ${card.nameOf(other.id)} waits for this one` : other.title);
    });
    setText(this.why, reasons.length ? `${list(reasons)} cannot be chosen: ${reasons.length > 1 ? "they wait" : "it waits"} for this one.` : "");
    show(this.why, reasons.length > 0);
    const tools = card.tools[task.role] || [];
    const all = !(task.tools || []).length;
    keyed(this.toolset, tools.map((name) => ({ id: name })), (tool) => `${task.role} ${tool.id}`, (tool) => this.makeTool(tool.id), (chip, tool) =>
      setAttr(chip, "aria-pressed", all || task.tools.includes(tool.id) ? "true" : "false"));
    show(this.toolset.parentNode, tools.length > 0);
  }

  makeNeed(other) {
    return chip(() => {
      const { task, card } = this;
      if (task.depends_on.includes(other.id)) this.set("depends_on", task.depends_on.filter((id) => id !== other.id));
      else if (!closesCircle(card.tasks, task.id, other.id)) this.set("depends_on", [...task.depends_on, other.id]);
    });
  }

  /** None chosen is all of them: an agent without any tool would be another role. */
  makeTool(name) {
    const made = chip(() => {
      const all = this.card.tools[this.task.role] || [];
      const now = new Set((this.task.tools || []).length ? this.task.tools : all);
      if (!now.delete(name)) now.add(name);
      this.set("tools", now.size && now.size < all.length ? all.filter((known) => now.has(known)) : []);
    });
    setText(made, sentenceCase(name.replace(/_/g, " ")));
    return made;
  }
}

const chip = (onClick) => el("button", { type: "button", class: "pick", on: { click: onClick } });

const chipGroup = (words, chips) => el("div", { class: "field", role: "group", "aria-label": words }, el("span", { class: "group-name" }, words), chips);

function labelled(words, input) {
  const id = `task-${(labelled.made = (labelled.made || 0) + 1)}`;
  setAttr(input, "id", id);
  return el("div", { class: "field" }, el("div", { class: "field-head" }, el("label", { for: id }, words)), input);
}

// ---- what it would take

class Forecast {
  /** `onPick(id)` opens a sub-task. */
  constructor(onPick) {
    this.onPick = onPick;
    this.time = el("b");
    this.rest = el("span", { class: "muted" });
    this.rows = el("div", { class: "forecast-rows" });
    this.root = el("div", { class: "forecast" }, el("p", { role: "status" }, this.time, " ", this.rest), this.rows);
  }

  update({ tasks, names, costs, width, made }) {
    const { spans, makespan, serial, path } = made;
    const critical = new Set(path);
    setText(this.time, tasks.length ? `About ${seconds(makespan)}` : "Nothing to run");
    const beside = Math.min(width, tasks.length);
    const words = [beside > 1 && serial > makespan ? `${seconds(serial)} one after another` : "",
      tasks.length > width ? `${width} at once` : "", costs === null ? "cost not known yet" : `about ${dollars(costs)}`];
    setText(this.rest, tasks.length ? words.filter(Boolean).join(" · ") : "");
    keyed(this.rows, tasks, (task) => task.id, (task) => this.makeRow(task.id), (row, task) => {
      const [start, end] = spans.get(task.id) || [0, 0];
      setVar(row, "--a", (start / (makespan || 1)).toFixed(4));
      setVar(row, "--w", ((end - start) / (makespan || 1)).toFixed(4));
      setAttr(row, "class", `forecast-row ${critical.has(task.id) ? "critical" : ""}`);
      setText(row.firstChild, names(task.id));
      setAttr(row, "aria-label", `Sub-task ${names(task.id)}, ${task.title}: from ${seconds(start)} to ${seconds(end)}${critical.has(task.id) ? ", sets the time" : ""}`);
      setAttr(row, "title", `${task.title}, ${seconds(start)} to ${seconds(end)}`);
    });
  }

  makeRow(id) {
    return el("button", { type: "button", on: { click: () => this.onPick(id) } }, el("span", { class: "n" }), el("span", { class: "track" }, el("i", {})));
  }
}
