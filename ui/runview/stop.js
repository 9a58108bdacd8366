// Stop, and behind its arrow the other way to end a run: answer with what has returned. Always in the same place.

class StopMenu {
  constructor({ onStop, onAnswerNow, kind = "" }) {
    this.onAnswerNow = onAnswerNow;
    this.stop = button("Stop", { icon: "stop", kind: `stop ${kind}`, onClick: onStop });
    setAttr(this.stop, "title", "Alt+S");
    this.more = button("", { icon: "more", label: "Other ways to end it", kind: `more ${kind}`, onClick: () => this.toggle() });
    setAttrs(this.more, { "aria-haspopup": "menu", "aria-expanded": "false" });
    this.menu = el("div", { class: "menu", role: "menu", hidden: true },
      this.item("Answer with what we have", "Looks no further, writes the answer now and names what is missing.", "bolt", onAnswerNow),
      this.item("Stop", "Keeps what was found. You can resume it.", "stop", onStop));
    this.root = el("span", { class: "split", hidden: true }, this.stop, this.more, this.menu);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.outside = (event) => event.composedPath().includes(this.root) || this.close(false);
  }

  item(words, about, icon, act) {
    return el("button", { type: "button", role: "menuitem", tabindex: "-1", on: { click: () => {
      this.close(true);
      act();
    } } }, glyph(icon), el("span", {}, el("b", {}, words), el("span", { class: "muted" }, about)));
  }

  update(view, { stopping, hurried }) {
    show(this.root, isLive(view));
    this.stop.disabled = !!stopping;
    const unbegun = view.status === "queued" && view.started_at === null;
    setText(this.stop.lastChild, stopping ? "Stopping…" : unbegun ? "Take it back" : "Stop");
    const canHurry = ["queued", "running"].includes(view.status) && !stopping && !hurried && view.started_at !== null;
    show(this.more, canHurry);
    if (!canHurry) this.close(false);
  }

  toggle() {
    if (!this.menu.hidden) return this.close(true);
    show(this.menu, true);
    setAttr(this.more, "aria-expanded", "true");
    document.addEventListener("pointerdown", this.outside, true);
    return this.menu.firstChild.focus();
  }

  close(returnFocus) {
    if (this.menu.hidden) return;
    show(this.menu, false);
    setAttr(this.more, "aria-expanded", "false");
    document.removeEventListener("pointerdown", this.outside, true);
    if (returnFocus) this.more.focus();
  }

  onKey(event) {
    if (this.menu.hidden) return;
    const items = [...this.menu.children];
    const at = items.indexOf(event.composedPath()[0]);
    const goTo = { ArrowDown: (at + 1) % items.length, ArrowUp: (at + items.length - 1) % items.length, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === "Escape") this.close(true);
    else if (goTo !== undefined) items[goTo].focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
