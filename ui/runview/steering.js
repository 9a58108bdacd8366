// What a person does to the runs of the open conversation: each act is shown at once, and taken back when it is refused.

class Steering {
  constructor(conversation, commands) {
    Object.assign(this, { of: conversation, commands });
  }

  /** Say at once that it was asked for; take that back when it is refused. */
  async ask(turn, flag, send, refused) {
    turn[flag] = true;
    turn.trouble("");
    this.redraw(turn);
    try {
      await send();
    } catch (error) {
      turn[flag] = false;
      this.redraw(turn);
      turn.trouble(`${refused} ${error.message}`);
    }
  }

  redraw(turn) {
    if (turn.view) this.of.draw(turn, turn.view, null);
    else turn.drawQueued();
  }

  /** Bring a request that was chosen elsewhere into sight, now or as soon as it is drawn. */
  lookAt(requestId) {
    this.wanted = requestId || this.wanted;
    const node = this.wanted && this.of.list.querySelector(`[data-request="${CSS.escape(this.wanted)}"]`);
    if (!node) return;
    this.wanted = null;
    node.card.bringUp();
    this.of.stayAt(node);
  }

  /** A request that has just opened is brought into sight, unless the reader has scrolled up; then it is left alone. */
  notice(turn) {
    const node = turn.root.querySelector(".request.open");
    if (node === (this.noticed || null)) return;
    const before = this.noticed;
    this.noticed = node;
    if (before && this.held === before) Object.assign(this.of, { follow: true });
    this.held = node && this.of.follow ? node : null;
    this.hold();
  }

  /** Whole above the input, or from its top when it is higher than that; true while the reader has not moved on. */
  hold() {
    const { held, of } = this;
    if (!held || !held.isConnected) return false;
    const foot = footHeight();
    setVar(of.list, "--foot", `${foot}px`);
    const fits = held.offsetHeight + foot + 80 <= of.scroller.clientHeight;
    held.scrollIntoView({ block: fits ? "end" : "start" });
    return true;
  }

  async stop(turn) {
    if (!turn || turn.stopping || !turn.pending) return;
    await this.ask(turn, "stopping", () => this.commands.stop(turn.runId), "It could not be stopped.");
    if (!this.of.follows(turn)) await this.of.pulse.beat();
  }

  async answerNow(turn) {
    if (!turn || turn.hurried || !turn.pending) return;
    await this.ask(turn, "hurried", () => this.commands.answerNow(turn.runId), "It could not be hurried.");
  }

  async answer(turn, request, answer) {
    try {
      await this.commands.answer(turn.runId, request.id, answer);
    } finally {
      this.of.trigger("moved", turn.runId);
    }
  }

  async recover(turn, remedy) {
    turn.trouble("");
    try {
      await this.commands.recover(turn.runId, remedy);
    } catch (error) {
      turn.trouble(`It could not be ${remedy.command === "retry" ? "tried again" : "resumed"}. ${error.message}`);
      return false;
    }
    turn.pending = true;
    turn.expanded = null;
    this.of.showTurn(turn);
    this.of.watchNext();
    this.of.trigger("moved", turn.runId);
    return true;
  }

  /** What was done from this turn on: all that a branch which begins here leaves behind. */
  async effectsFrom(turn) {
    const turns = [...this.of.turns.keys()];
    const later = turns.slice(turns.indexOf(turn.runId));
    return (await Promise.all(later.map((runId) => this.commands.effects(runId)))).flat();
  }

  async edit(turn, text, key) {
    const run = await this.commands.branch(this.of.thread, turn.row, text, key);
    await this.of.pulse.beat();
    this.of.toFoot(true);
    this.of.trigger("moved", run.run_id);
  }

  /** Read another branch; the page stays where the reader's eye is. */
  async choose(runId) {
    const { of } = this;
    const places = [...of.turns.values()].map((turn) => turn.root.getBoundingClientRect().top);
    try {
      await this.commands.choose(of.thread, runId);
    } catch (error) {
      of.complain(`The other branch could not be opened. ${error.message}`);
      return;
    }
    of.follow = false;
    await of.pulse.beat();
    const turn = of.turns.get(runId);
    if (!turn) return;
    of.scroller.scrollTop += turn.root.getBoundingClientRect().top - places[[...of.turns.keys()].indexOf(runId)];
    of.showTurn(turn);
    turn.asked.focus();
    of.trigger("moved", runId);
  }
}

/** Of what lies over the conversation, however high it is. */
function footHeight() {
  const foot = document.querySelector("[data-testid=stBottom]");
  return foot ? foot.offsetHeight : 0;
}
