// A question can be asked again in other words: the new run branches off beside the old one, and both are kept.

class QuestionPart {
  /** `deps`: {onOpen(), onEdit(text, key) -> promise, onChoose(runId), effects() -> promise of rows} */
  constructor(question, deps) {
    Object.assign(this, { question, deps, siblings: [] });
    this.bubble = questionBubble(question);
    this.pencil = button("", { icon: "pencil", label: "Edit and branch", kind: "quiet icon small pencil", onClick: () => this.edit() });
    this.back = button("", { icon: "left", label: "Earlier branch", kind: "quiet icon small", onClick: () => this.step(-1) });
    this.next = button("", { icon: "chevron", label: "Later branch", kind: "quiet icon small", onClick: () => this.step(1) });
    this.place = el("span", { class: "place" });
    this.switcher = el("span", { class: "branches", role: "group", "aria-label": "Branches", hidden: true }, this.back, this.place, this.next);
    this.root = el("div", { class: "asked" }, this.pencil, this.bubble, this.switcher);
  }

  update(runId, siblings) {
    this.siblings = siblings || [];
    this.at = this.siblings.indexOf(runId);
    const n = this.siblings.length;
    show(this.switcher, n > 1 && this.at >= 0);
    setText(this.place, `${this.at + 1}/${n}`);
    setAttr(this.place, "aria-label", `Branch ${this.at + 1} of ${n}`);
    this.back.disabled = this.at <= 0;
    this.next.disabled = this.at >= n - 1;
  }

  focus() {
    const target = [this.next, this.back].find((it) => !it.disabled);
    if (target) target.focus({ preventScroll: true });
  }

  step(by) {
    const wanted = this.siblings[this.at + by];
    if (wanted) this.deps.onChoose(wanted);
  }

  edit() {
    if (this.editor) return;
    this.input = el("textarea", { dir: "auto", "aria-label": "Your question", rows: Math.min(10, this.question.split("\n").length + 1) });
    this.input.value = this.question;
    this.problem = el("p", { class: "trouble", role: "alert", hidden: true });
    this.kept = el("p", { class: "muted kept", hidden: true });
    this.send = button("Send as a new branch", { kind: "filled", onClick: () => this.submit() });
    this.editor = el("div", { class: "editor" }, this.input, this.problem, this.kept,
      el("div", { class: "row" }, this.send, button("Cancel", { kind: "quiet", onClick: () => this.close() }),
        el("span", { class: "space" }), el("span", { class: "muted hint" }, "The old branch is kept")));
    this.input.addEventListener("keydown", (event) => this.onKey(event));
    this.bubble.replaceWith(this.editor);
    show(this.pencil, false);
    this.deps.onOpen();
    this.input.focus({ preventScroll: true });
    this.input.setSelectionRange(this.question.length, this.question.length);
    this.tellEffects();
  }

  async tellEffects() {
    const rows = await this.deps.effects().catch(() => []);
    if (!this.editor || !rows.length) return;
    const done = rows.map((row) => `${effectWords(row)} ${momentOf(row.ended_at || row.begun_at)}`);
    const asked = "It stays done. Should the branch come to the same again, you are asked first.";
    setText(this.kept, `Already done: ${list(done)}. ${asked}`);
    show(this.kept, true);
  }

  onKey(event) {
    if (event.key === "Escape") this.close();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  async submit() {
    const text = this.input.value;
    if (!text.trim() || this.send.disabled) return;
    this.send.disabled = true;
    show(this.problem, false);
    if (this.sent !== text) [this.sent, this.key] = [text, onceKey()]; // the same words again are the same request
    try {
      await this.deps.onEdit(text, this.key);
      this.sent = null;
      this.close();
    } catch (error) {
      if (!this.editor) return;
      this.send.disabled = false;
      const refused = error.status && error.status < 500;
      setText(this.problem, `${refused ? "It was not sent." : "Nobody knows if it arrived; sent again, it is still one."} ${error.message}`);
      show(this.problem, true);
    }
  }

  close() {
    if (!this.editor) return;
    this.editor.replaceWith(this.bubble);
    this.editor = null;
    show(this.pencil, true);
    this.pencil.focus();
  }
}
