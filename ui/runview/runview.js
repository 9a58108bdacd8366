// The conversation of one thread: its turns, the live one among them, the run panel and the popover.
// Streamlit calls the default export at every rerun; only what differs in `data` does anything, so nothing remounts and
// nothing reconnects. While a run streams, Streamlit hears nothing; when it has ended, it is told once.

const WIDE = matchMedia("(min-width: 1200px)");
const NARROW = matchMedia("(max-width: 699px)");
const PANEL_CHOICE = "sextant.panel";
const AT_FOOT_PX = 60;
const ANNOUNCE_EVERY_MS = 5000;
const UNSEEN_MS = 30_000;
const mounted = new WeakMap();

async function fetchJson(url, options) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, ...options });
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return body;
  const words = (body && body.error && body.error.message) || `The server answered ${response.status}.`;
  throw Object.assign(new Error(words), { status: response.status });
}

class Conversation {
  constructor(root, host) {
    Object.assign(this, { root, host, turns: new Map(), thread: undefined, follow: true, saidAt: -ANNOUNCE_EVERY_MS });
    this.home = new Home((ask) => this.trigger("ask", ask));
    this.list = el("div", { class: "turns" });
    this.problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.spoken = el("p", { class: "sr-only", "aria-live": "polite" });
    this.jump = button("", { icon: "down", label: "Go to the newest text", kind: "jump", onClick: () => this.toFoot(true) });
    this.opener = button("Run", { icon: "panel", kind: "opener small", onClick: () => this.setPanel(true, true) });
    setAttr(this.opener, "title", "Show the run panel (Alt+G)");
    this.scrim = el("div", { class: "scrim", hidden: true, on: { click: () => this.setPanel(false, true) } });
    root.append(this.home.root, this.list, this.problem, this.jump, this.spoken, this.opener, this.scrim);
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
    document.addEventListener("visibilitychange", () => this.onSeen(), { signal });
    for (const query of [WIDE, NARROW]) query.addEventListener("change", () => this.redraw(), { signal });
    this.grown = new ResizeObserver(() => this.follow && this.thread && this.toFoot(false));
    this.grown.observe(this.list);
    this.timer = setInterval(() => this.tick(), 250);
    this.nearby = new IntersectionObserver((entries) => this.onNearby(entries), { rootMargin: "1200px" });
  }

  update(data, trigger) {
    const fresh = this.thread === undefined;
    this.trigger = trigger;
    if (this.api !== data.api) {
      this.api = data.api;
      this.makePanel();
    }
    if (fresh || data.thread !== this.thread) this.openThread(data.thread);
    if (data.run && !this.turns.has(data.run.run_id)) this.addLive(data.run);
    show(this.home.root, !data.thread);
    this.home.update(data.info);
  }

  makePanel() {
    if (this.panel) this.panel.root.remove();
    if (this.popover) this.popover.root.remove();
    this.panel = new Panel(this.api, { onStop: () => this.stop(this.shown), onClose: () => this.setPanel(false, true) });
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
    if (thread) this.loadRuns(thread);
  }

  closeThread() {
    if (this.feed) this.feed.close();
    this.feed = null;
    this.watched = null;
    this.shown = null;
    delete document.documentElement.dataset.sxRun;
    if (this.popover) this.popover.close(false);
    for (const turn of this.turns.values()) turn.root.remove();
    this.turns.clear();
    this.nearby.disconnect();
    show(this.problem, false);
  }

  async loadRuns(thread) {
    try {
      const { runs } = await fetchJson(`${this.api}/threads/${encodeURIComponent(thread)}/runs`);
      if (thread !== this.thread) return;
      for (const run of runs) if (!this.turns.has(run.run_id)) this.addTurn(run);
      this.sortTurns(runs);
      this.showTurn([...this.turns.values()].pop());
      this.watchNext();
    } catch (error) {
      if (thread !== this.thread) return;
      const next = error.status === 404 ? "It may have been deleted; start a new one." : "Reload the page to try again.";
      setText(this.problem, `This chat could not be loaded. ${error.message} ${next}`);
      show(this.problem, true);
    }
  }

  /** A run that was just sent may be drawn before the list of the earlier ones arrives. */
  sortTurns(runs) {
    const sent = [...this.turns.values()].filter((turn) => !runs.some((run) => run.run_id === turn.runId));
    const order = runs.map((run) => this.turns.get(run.run_id)).concat(sent);
    this.turns = new Map(order.map((turn) => [turn.runId, turn]));
    this.list.prepend(...order.map((turn) => turn.root));
  }

  addTurn(run) {
    const turn = new Turn(run, {
      api: this.api,
      narrow: () => NARROW.matches,
      clock: (of) => this.now(of),
      onStop: (of) => this.stop(of),
      onOpen: (of, tab) => this.openTurn(of, tab),
      onCite: (of) => (chip, attrs) => this.cite(of, chip, attrs),
    });
    turn.pending = UNFINISHED.has(run.status);
    this.turns.set(run.run_id, turn);
    this.list.append(turn.root, this.popover.root);
    this.nearby.observe(turn.root);
    return turn;
  }

  addLive(run) {
    const turn = this.addTurn({ status: "queued", ...run });
    this.showTurn(turn);
    this.watchNext();
    this.toFoot(true);
  }

  /** One stream at a time: runs of a thread are worked on one after another. */
  watchNext() {
    const next = [...this.turns.values()].find((turn) => turn.pending);
    if (!next || (this.feed && this.watched === next)) return;
    if (this.feed) this.feed.close();
    this.watched = next;
    this.feed = new Feed(this.api, next.runId, {
      onView: (view, dirty) => this.onView(next, view, dirty),
      onEnd: () => this.onEnd(next),
      onTrouble: (text) => next.trouble(text),
    });
  }

  onView(turn, view, dirty) {
    if (!dirty || dirty.has("now")) turn.received = { at: performance.now(), now: view.now };
    this.draw(turn, view, dirty);
    if (!dirty || dirty.has("status_line")) this.announce(view);
  }

  async onEnd(turn) {
    const thread = this.thread;
    turn.pending = false;
    await this.loadView(turn);
    if (thread !== this.thread) return;
    this.feed = null;
    this.announce(turn.view);
    this.watchNext();
    this.trigger("ended", turn.runId);
  }

  onNearby(entries) {
    for (const entry of entries) {
      const turn = entry.isIntersecting && [...this.turns.values()].find((known) => known.root === entry.target);
      if (turn && !turn.pending && !turn.view) this.loadView(turn);
    }
  }

  async loadView(turn) {
    try {
      const view = await fetchJson(`${this.api}/runs/${encodeURIComponent(turn.runId)}/view`);
      if (this.turns.get(turn.runId) === turn) this.draw(turn, view, null);
    } catch (error) {
      show(turn.status.root, true);
      turn.trouble(`This answer could not be loaded. ${error.message}`);
    }
  }

  draw(turn, view, dirty) {
    turn.view = view;
    if (turn === this.watched) document.documentElement.dataset.sxRun = view.status; // marks the chat's row, no rerun
    turn.draw(view, dirty, this.now(turn));
    if (turn !== this.shown) return;
    this.panel.update(view, this.now(turn), turn.stopping);
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
      if (!turn.view || !isLive(turn.view)) continue;
      const now = this.now(turn);
      turn.tick(now);
      if (turn === this.shown) this.panel.tick(now);
    }
  }

  async stop(turn) {
    if (!turn || turn.stopping || !turn.view || !isLive(turn.view)) return;
    turn.stopping = true;
    this.draw(turn, turn.view, null);
    try {
      await fetchJson(`${this.api}/runs/${encodeURIComponent(turn.runId)}/cancel`, { method: "POST" });
    } catch (error) {
      turn.stopping = false;
      this.draw(turn, turn.view, null);
      turn.trouble(`It could not be stopped. ${error.message}`);
    }
  }

  onSeen() {
    clearTimeout(this.unseen);
    if (!document.hidden && this.feed) this.feed.resume();
    if (document.hidden) this.unseen = setTimeout(() => this.feed && this.feed.pause(), UNSEEN_MS);
  }

  // ---- the panel

  showTurn(turn) {
    if (!turn) return;
    this.shown = turn;
    if (turn.view) this.panel.update(turn.view, this.now(turn), turn.stopping);
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
    show(this.jump, !this.follow && !!this.thread);
  }

  toFoot(always) {
    if (always) this.follow = true;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    show(this.jump, false);
  }

  onKey(event) {
    if (event.key === "Escape") {
      if (this.popover.chip) this.popover.close(true);
      else if (document.documentElement.dataset.sxPanel === "sheet") this.setPanel(false, true);
    }
    if (!event.altKey || event.ctrlKey || event.metaKey) return;
    const act = { KeyS: () => this.stop(this.watched), KeyG: () => this.setPanel(!this.wantsPanel(), true) }[event.code];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** For those who listen: at most one sentence in five seconds, and then the newest. */
  announce(view) {
    this.toSay = `${view.status_line.lead} ${view.status_line.rest}`;
    const waitMs = this.saidAt + ANNOUNCE_EVERY_MS - performance.now();
    clearTimeout(this.saying);
    clearTimeout(this.unseen);
    this.saying = setTimeout(() => {
      this.saidAt = performance.now();
      setText(this.spoken, this.toSay);
    }, Math.max(0, waitMs));
  }

  dispose() {
    this.closeThread();
    this.abort.abort();
    this.grown.disconnect();
    clearInterval(this.timer);
    clearTimeout(this.saying);
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
