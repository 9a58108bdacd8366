// The popover of a citation: hangs below its chip, closes by Esc, by a click outside, or by its own button.

class Popover {
  /** Touching `beside`, the panel that lists the same sources, does not close it. */
  constructor(host, api, beside, onClose) {
    Object.assign(this, { host, api, onClose });
    this.n = el("span", { class: "chip solid" });
    this.name = el("b");
    this.where = el("span", { class: "muted" });
    this.body = el("div");
    const close = button("", { icon: "close", label: "Close", kind: "quiet icon", onClick: () => this.close(true) });
    this.root = el("div", { class: "popover", role: "dialog", "aria-label": "Source", hidden: true, tabindex: "-1" },
      el("header", {}, this.n, this.name, this.where, close), this.body);
    this.outside = (event) => {
      if (!event.composedPath().some((node) => [this.root, this.chip, beside].includes(node))) this.close(false);
    };
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close(true);
    });
    host.append(this.root);
  }

  open(chip, source, statements, statement) {
    const again = this.chip === chip;
    this.close(false);
    if (again) return;
    this.chip = chip;
    chip.classList.add("solid");
    setAttr(chip, "aria-expanded", "true");
    setText(this.n, String(source.n));
    setText(this.name, source.title || source.document);
    setText(this.where, pageOf(source));
    this.body.replaceChildren(sourceBody(this.api, source, statements, statement));
    show(this.root, true);
    this.hang();
    this.resized = new ResizeObserver(() => this.hang()); // the passage arrives after the quote
    this.resized.observe(this.body);
    this.root.focus({ preventScroll: true });
    document.addEventListener("pointerdown", this.outside, true);
  }

  /** Below the chip, or above it when the foot of the page is nearer than its height. */
  hang() {
    const [host, chip] = [this.host.getBoundingClientRect(), this.chip.getBoundingClientRect()];
    const width = this.root.offsetWidth;
    const center = chip.left + chip.width / 2 - host.left;
    const left = Math.max(0, Math.min(center - width / 2, host.width - width));
    const above = chip.bottom + this.root.offsetHeight + 150 > window.innerHeight && chip.top > this.root.offsetHeight + 70;
    this.root.classList.toggle("above", above);
    const top = above ? chip.top - host.top - this.root.offsetHeight - 10 : chip.bottom - host.top + 10;
    setVar(this.root, "left", `${left}px`);
    setVar(this.root, "top", `${top}px`);
    setVar(this.root, "--tip", `${Math.max(14, Math.min(center - left, width - 14))}px`);
  }

  close(returnFocus) {
    if (!this.chip) return;
    const chip = this.chip;
    this.chip = null;
    this.resized.disconnect();
    document.removeEventListener("pointerdown", this.outside, true);
    chip.classList.remove("solid");
    setAttr(chip, "aria-expanded", null);
    show(this.root, false);
    if (returnFocus) chip.focus({ preventScroll: true });
    this.onClose();
  }
}
