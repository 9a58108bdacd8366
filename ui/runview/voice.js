// For those who listen: at most one sentence in five seconds, and then the newest.

const ANNOUNCE_EVERY_MS = 5000;

class Voice {
  constructor() {
    this.root = el("p", { class: "sr-only", "aria-live": "polite" });
    this.saidAt = -ANNOUNCE_EVERY_MS;
  }

  say({ lead, rest }) {
    this.words = `${lead} ${rest}`.trim();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.saidAt = performance.now();
      setText(this.root, this.words);
    }, Math.max(0, this.saidAt + ANNOUNCE_EVERY_MS - performance.now()));
  }

  hush() {
    clearTimeout(this.timer);
  }
}
