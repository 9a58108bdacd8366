// A list of words as chips: type and press Enter to add, Backspace or the cross to take away, arrows to walk among them.
// Text that was typed and not yet added counts, so that nothing a person wrote is lost when they send.

class Chips {
  /** `attrs` for the text input; `onChange` is called after every change. */
  constructor(values, attrs, { unique, choices, onChange }) {
    Object.assign(this, { values: [...values], unique, onChange });
    this.list = el("ul", { class: "tokens", role: "list" });
    this.said = el("span", { class: "sr-only", "aria-live": "polite" });
    const options = choices && el("datalist", { id: `${attrs.id}-choices` }, ...choices.map((value) => el("option", { value })));
    this.input = el("input", { ...attrs, type: "text", dir: "auto", placeholder: "Add, then Enter", list: options ? options.id : null });
    this.root = el("div", { class: "token-box" }, this.list, this.input, options, this.said);
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    this.root.addEventListener("click", (event) => event.target === this.root && this.input.focus());
    this.input.addEventListener("input", () => onChange());
    this.input.addEventListener("paste", (event) => this.onPaste(event));
    this.input.addEventListener("blur", () => this.commit());
    this.draw();
  }

  /** All of them, with what stands in the input. */
  get all() {
    return this.with([this.input.value]);
  }

  with(words) {
    const added = words.map((word) => word.trim()).filter(Boolean);
    const all = [...this.values, ...added];
    return this.unique ? [...new Set(all)] : all;
  }

  set(values) {
    this.values = [...values];
    this.input.value = "";
    this.draw();
    this.onChange();
  }

  commit() {
    if (!this.input.value.trim()) return;
    const word = this.input.value.trim();
    const known = this.values.length;
    this.set(this.all);
    setText(this.said, this.values.length > known ? `${word} added` : `${word} is in the list already`);
  }

  take(at) {
    const [word] = this.values.splice(at, 1);
    this.draw();
    this.onChange();
    setText(this.said, `${word} removed`);
    const next = this.crosses[Math.min(at, this.values.length - 1)];
    (next || this.input).focus();
  }

  get crosses() {
    return [...this.list.querySelectorAll("button")];
  }

  draw() {
    this.list.replaceChildren(...this.values.map((word, at) => el("li", { class: "token" }, el("span", { dir: "auto" }, word),
      el("button", { type: "button", tabindex: "-1", "aria-label": `Remove ${word}`, on: { click: () => this.take(at) } }, "×"))));
    show(this.list, this.values.length > 0);
  }

  onPaste(event) {
    const lines = event.clipboardData.getData("text").split(/\r?\n/);
    if (lines.length < 2) return;
    event.preventDefault();
    this.set(this.with([this.input.value, ...lines]));
  }

  onKey(event) {
    const { crosses } = this;
    const target = event.composedPath()[0];
    const at = crosses.indexOf(target);
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.isComposing;
    if (!plain) return;
    if (target === this.input) {
      const atStart = this.input.selectionEnd === 0;
      if (event.key === "Enter") this.commit();
      else if (["Backspace", "ArrowLeft"].includes(event.key) && atStart && crosses.length) crosses[crosses.length - 1].focus();
      else return;
    } else if (at >= 0) {
      if (["Delete", "Backspace"].includes(event.key)) this.take(at);
      else if (event.key === "ArrowLeft") crosses[Math.max(0, at - 1)].focus();
      else if (event.key === "ArrowRight") (crosses[at + 1] || this.input).focus();
      else return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
