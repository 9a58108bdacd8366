// The conversation of one thread: its turns, the live one among them, the run panel and the popover.
// Streamlit calls the default export at every rerun; only what differs in `data` does anything, so nothing remounts and
// nothing reconnects. While a run streams, Streamlit hears nothing; when it has ended, it is told once.

const WIDE = matchMedia("(min-width: 1200px)");
const NARROW = matchMedia("(max-width: 699px)");
const PANEL_CHOICE = "sextant.panel";
const AT_FOOT_PX = 60;
const UNSEEN_MS = 30_000;
const mounted = new WeakMap();

class Conversation {
  constructor(root, host) {
    Object.assign(this, { root, host, turns: new Map(), thread: undefined, follow: true });
    this.home = new Home((ask) => this.trigger("ask", ask));
    this.list = el("div", { class: "turns" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.voice = new Voice();
    this.pulse = new Pulse(() => (this.thread ? this.sync() : this.commands && this.commands.alive()));
    this.jump = button("", { icon: "down", label: "Go to the newest text", kind: "jump", onClick: () => this.toFoot(true) });
    this.opener = button("Run", { icon: "panel", kind: "opener small", onClick: () => this.setPanel(true, true) });
    setAttr(this.opener, "title", "Show the run panel (Alt+G)");
    this.scrim = el("div", { class: "scrim", hidden: true, on: { click: () => this.setPanel(false, true) } });
    root.append(this.home.root, this.list, this.problem, this.jump, this.voice.root, this.pulse.root, this.opener, this.scrim);
    show(this.jump, false);
    show(this.opener, false);
    this.listen();
  }

  listen() {
    this.scroller = this.host.closest("[data-testid=stMain]") || document.scrollingElement;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.scroller.addEventListener("scroll", () => this.onScroll(), { signal, passive: true });
    document.addEventListener("keydown", (event) => this.onKey(event), { signal });
    document.addEventListener("input", mendText, { signal, capture: true });
    document.addEventListener("visibilitychange", () => this.onSeen(), { signal });
    for (const query of [WIDE, NARROW]) query.addEventListener("change", () => this.redraw(), { signal });
    this.grown = new ResizeObserver(() => this.thread && (this.steering.hold() || (this.follow ? this.toFoot(false) : this.onScroll())));
    this.grown.observe(this.list);
    const foot = document.querySelector("[data-testid=stBottom]");
    if (foot) this.grown.observe(foot);
    for (const moved of ["wheel", "touchmove", "keydown", "pointerdown"]) {
      this.scroller.addEventListener(moved, () => (this.steering.held = null), { signal, passive: true });
    }
    this.timer = setInterval(() => this.tick(), 250);
    // Streamlit has keys of its own, and sees no fields inside this component
    this.root.addEventListener("keydown", (event) => !event.altKey && isField(event.composedPath()[0]) && event.stopPropagation());
    this.nearby = new IntersectionObserver((entries) => this.onNearby(entries), { rootMargin: "1200px" });
  }

  update(data, trigger) {
    const fresh = this.thread === undefined;
    this.trigger = trigger;
    this.graphs = data.info.graphs;
    if (this.api !== data.api) {
      this.api = data.api;
      this.commands = new Commands(data.api);
      this.steering = new Steering(this, this.commands);
      this.makePanel();
    }
    if (fresh || data.thread !== this.thread) this.openThread(data.thread);
    if (data.run && data.run.run_id !== this.sent) {
      this.sent = data.run.run_id; // once: it may belong to a branch that is not read any more
      if (!this.turns.has(this.sent)) this.addLive(data.run);
    }
    this.steering.lookAt(data.look);
    show(this.home.root, !data.thread);
    this.home.update(data.info);
  }

  makePanel() {
    if (this.panel) this.panel.root.remove();
    if (this.popover) this.popover.root.remove();
    this.panel = new Panel(this.api, { onStop: () => this.steering.stop(this.shown), onAnswerNow: () => this.steering.answerNow(this.shown),
      onClose: () => this.setPanel(false, true), effects: (runId) => this.commands.effects(runId) });
    this.popover = new Popover(this.list, this.api, this.panel.root, () => this.panel.sources.light(null));
    this.root.append(this.panel.root);
  }

  // ---- threads and turns

  openThread(thread) {
    this.closeThread();
    this.thread = thread;
    this.follow = true;
    this.fannedOut = false;
    this.applyPanel();
    if (thread) this.pulse.beat();
  }

  closeThread() {
    this.unwatch();
    this.shown = this.listed = null;
    if (this.popover) this.popover.close(false);
    for (const turn of this.turns.values()) turn.root.remove();
    this.turns.clear();
    this.nearby.disconnect();
    show(this.problem, false);
  }

  /** Show the runs of the branch that is being read: at first, after every command, and what other windows did. */
  async sync() {
    const { thread } = this;
    const mine = (this.syncs = (this.syncs || 0) + 1);
    try {
      const runs = await this.commands.runs(thread);
      if (thread === this.thread && mine === this.syncs) this.placeTurns(runs);
    } catch (error) {
      if (error.away) throw error;
      if (thread === this.thread && mine === this.syncs && !this.turns.size) this.unreachable(error);
    }
  }

  unreachable(error) {
    const next = error.status === 404 ? "It may have been deleted; start a new one." : "Reload the page to try again.";
    this.complain(`This chat could not be loaded. ${error.message} ${next}`);
  }

  complain(words) {
    setText(this.problem, words);
    show(this.problem, !!words);
  }

  placeTurns(runs) {
    const seen = JSON.stringify(runs);
    if (seen === this.listed) return;
    this.listed = seen;
    this.complain("");
    const before = [...this.turns.keys()];
    for (const turn of [...this.turns.values()]) if (!runs.some((run) => run.run_id === turn.runId)) this.removeTurn(turn);
    for (const run of runs) this.matchRow(this.turns.get(run.run_id) || this.addTurn(run), run);
    this.turns = new Map(runs.map((run) => [run.run_id, this.turns.get(run.run_id)]));
    [...this.turns.values()].forEach(({ root }, at) => {
      if (this.list.children[at] !== root) this.list.insertBefore(root, this.list.children[at] || null);
    });
    const last = [...this.turns.values()].pop();
    if (!this.turns.has(this.shown && this.shown.runId) || (last && !before.includes(last.runId))) this.showTurn(this.front());
    this.watchNext();
  }

  /** The list knows of ends and new beginnings of runs that this page does not follow. */
  matchRow(turn, run) {
    const going = UNFINISHED.has(run.status);
    const news = turn.row && turn.row.finished_at !== run.finished_at;
    turn.row = run;
    if (turn === this.watched && this.feed) return;
    if (!going && (turn.pending || news)) this.loadView(turn);
    turn.pending = going;
  }

  removeTurn(turn) {
    if (turn === this.watched) this.unwatch();
    this.nearby.unobserve(turn.root);
    turn.root.remove();
    this.turns.delete(turn.runId);
  }

  unwatch() {
    if (this.feed) this.feed.close();
    this.feed = null;
    this.watched = null;
    delete document.documentElement.dataset.sxRun;
  }

  addTurn(run) {
    const turn = new Turn(run, {
      api: this.api,
      narrow: () => NARROW.matches,
      clock: (of) => this.now(of),
      onStop: (of) => this.steering.stop(of),
      onAnswerNow: (of) => this.steering.answerNow(of),
      onAnswer: (of, request, answer) => this.steering.answer(of, request, answer),
      onRecover: (of, remedy) => this.steering.recover(of, remedy),
      onEditor: (of) => this.stayAt(of.asked.root),
      onEdit: (of, text, key) => this.steering.edit(of, text, key),
      onChoose: (runId) => this.steering.choose(runId),
      effects: (runId) => this.commands.effects(runId),
      effectsFrom: (of) => this.steering.effectsFrom(of),
      onOpen: (of, tab) => this.openTurn(of, tab),
      ...afterwards(this),
      onCite: (of) => (chip, attrs) => this.cite(of, chip, attrs),
    });
    turn.pending = UNFINISHED.has(run.status);
    this.turns.set(run.run_id, turn);
    this.list.append(turn.root, this.popover.root);
    this.nearby.observe(turn.root);
    return turn;
  }

  addLive(run) {
    this.addTurn({ status: "queued", ...run });
    this.showTurn(this.front());
    this.watchNext();
    this.toFoot(true);
    this.pulse.beat();
  }

  /** The run that matters most: the one that is going, else the last. */
  front() {
    const turns = [...this.turns.values()];
    return turns.find((turn) => turn.pending) || turns[turns.length - 1];
  }

  /** One stream at a time: runs of a thread are worked on one after another. */
  watchNext() {
    const going = [...this.turns.values()].filter((turn) => turn.pending);
    for (const turn of this.turns.values()) if (turn.row) turn.place(turn.row, going.indexOf(turn) > 0);
    const [next] = going;
    if (this.feed && this.watched === next) return;
    if (this.feed) this.unwatch();
    if (!next) return;
    if (this.watched && this.shown === this.watched) this.showTurn(next);
    this.watched = next;
    this.feed = new Feed(this.api, next.runId, {
      onView: (view, dirty) => this.onView(next, view, dirty),
      onEnd: () => this.onEnd(next),
      onTrouble: (text) => next.trouble(text, !!text),
    });
  }

  onView(turn, view, dirty) {
    if (!dirty || dirty.has("now")) turn.received = { at: performance.now(), now: view.now };
    this.draw(turn, view, dirty);
    if (!dirty || dirty.has("status_line")) this.voice.say(turn.said(view));
    const waited = !!turn.waits;
    turn.waits = view.status === "waiting";
    // "Needs you" is beside the page, and was drawn before this view: a first one that waits is news to it too
    if (waited !== turn.waits) this.trigger("moved", turn.runId);
  }

  async onEnd(turn) {
    const thread = this.thread;
    turn.pending = turn.stopping = turn.hurried = false;
    this.feed = null;
    await this.loadView(turn);
    if (thread !== this.thread) return;
    if (turn.view) this.voice.say(turn.said(turn.view));
    this.watchNext();
    this.pulse.beat();
    this.trigger("moved", turn.runId);
  }

  onNearby(entries) {
    for (const entry of entries) {
      const turn = entry.isIntersecting && [...this.turns.values()].find((known) => known.root === entry.target);
      if (turn && !turn.pending && !turn.view) this.loadView(turn);
    }
  }

  async loadView(turn) {
    try {
      const view = await this.commands.view(turn.runId);
      if (this.turns.get(turn.runId) === turn && !this.follows(turn)) this.draw(turn, view, null);
    } catch (error) {
      turn.trouble(`This answer could not be loaded. ${error.message}`);
    }
  }

  follows(turn) {
    return turn === this.watched && !!this.feed;
  }

  draw(turn, view, dirty) {
    turn.view = view;
    if (turn === this.watched) document.documentElement.dataset.sxRun = view.status; // marks the chat's row, no rerun
    turn.draw(view, dirty, this.now(turn));
    if (turn === this.watched) this.steering.notice(turn);
    this.steering.lookAt();
    if (turn !== this.shown) return;
    this.panel.update(view, this.now(turn), turn);
    this.applyPanel();
  }

  redraw() {
    for (const turn of this.turns.values()) if (turn.view) this.draw(turn, turn.view, null);
    this.applyPanel();
  }

  /** Seconds into the run by the server's clock, carried on by ours between messages. */
  now(turn) {
    const { view, received } = turn;
    if (!view || view.started_at === null) return 0;
    if (view.ended_s !== null) return view.ended_s;
    const since = received ? (performance.now() - received.at) / 1000 : 0;
    return Math.max(0, (received ? received.now : view.now) - view.started_at + since);
  }

  tick() {
    for (const turn of this.turns.values()) {
      if (!turn.view || !isLive(turn.view) || turn.silent) continue;
      const now = this.now(turn);
      turn.tick(now);
      if (turn === this.shown) this.panel.tick(now);
    }
  }

  onSeen() {
    clearTimeout(this.unseen);
    if (!document.hidden && this.feed) this.feed.resume();
    if (!document.hidden) this.pulse.beat();
    if (document.hidden) this.unseen = setTimeout(() => this.feed && this.feed.pause(), UNSEEN_MS);
  }

  // ---- the panel

  showTurn(turn) {
    if (!turn) return;
    this.shown = turn;
    if (turn.view) this.panel.update(turn.view, this.now(turn), turn);
    this.applyPanel();
  }

  openTurn(turn, tab) {
    this.showTurn(turn);
    this.panel.show(tab);
    if (!NARROW.matches) this.setPanel(true, true);
  }

  /** The panel opens by itself the first time a run fans out on a wide screen, unless the reader has closed it before. */
  wantsPanel() {
    const view = this.shown && this.shown.view;
    if (!view || NARROW.matches) return false;
    if (!WIDE.matches) return !!this.sheet;
    const choice = localStorage.getItem(PANEL_CHOICE);
    if (choice) return choice === "open";
    this.fannedOut ||= view.lanes.filter((lane) => lane.kind === "agent").length > 1;
    return this.fannedOut;
  }

  setPanel(open, chosen) {
    this.sheet = open;
    if (chosen && WIDE.matches) localStorage.setItem(PANEL_CHOICE, open ? "open" : "closed");
    this.applyPanel();
  }

  applyPanel() {
    const open = this.wantsPanel();
    const page = document.documentElement;
    show(this.panel.root, open);
    show(this.scrim, open && !WIDE.matches);
    show(this.opener, !open && !NARROW.matches && !!(this.shown && this.shown.view));
    const closed = this.opener.hasAttribute("hidden") ? "" : "closed"; // the header makes room for the button
    page.dataset.sxPanel = open ? (WIDE.matches ? "open" : "sheet") : closed;
    setAttr(this.root, "data-panel", open ? "open" : "closed");
  }

  cite(turn, chip, attrs) {
    const source = turn.view.sources.find((known) => known.key === attrs.key) || turn.view.sources.find((known) => known.n === attrs.n);
    if (!source) return;
    this.popover.open(chip, source, uses(turn.view.answer.blocks, source.n), statementOf(chip));
    if (turn === this.shown && this.popover.chip) this.panel.sources.light(source.n);
  }

  // ---- reading

  onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follow = scrollHeight - scrollTop - clientHeight < AT_FOOT_PX;
    setVar(this.jump, "--foot", `${footHeight()}px`);
    show(this.jump, !this.follow && !!this.thread);
  }

  toFoot(always) {
    if (always) this.follow = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    show(this.jump, false);
  }

  stayAt(node) {
    this.follow = false;
    node.scrollIntoView({ block: "center" });
  }

  onKey(event) {
    if (event.key === "Escape") {
      if (this.popover.chip) this.popover.close(true);
      else if (document.documentElement.dataset.sxPanel === "sheet") this.setPanel(false, true);
    }
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    const act = { KeyS: () => this.steering.stop(this.watched), KeyG: () => this.setPanel(!this.wantsPanel(), true) }[event.code];
    if (!act) return;
    event.preventDefault();
    act();
  }

  dispose() {
    this.closeThread();
    this.abort.abort();
    this.grown.disconnect();
    clearInterval(this.timer);
    this.pulse.stop();
    this.voice.hush();
    clearTimeout(this.unseen);
    delete document.documentElement.dataset.sxPanel;
  }
}

export default function runview({ data, parentElement, setTriggerValue }) {
  let conversation = mounted.get(parentElement);
  if (!conversation) {
    conversation = new Conversation(parentElement.querySelector(".runview"), parentElement.host);
    mounted.set(parentElement, conversation);
  }
  conversation.update(data, setTriggerValue);
  return () => {
    conversation.dispose();
    mounted.delete(parentElement);
    conversation.root.replaceChildren();
  };
}
