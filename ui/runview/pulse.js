// Every few seconds a page that is seen asks how the chat stands, and says so when nobody answers: in our words, in place
// of Streamlit's about itself.

const BEAT_MS = 4000;

class Pulse {
  constructor(ask) {
    this.ask = ask;
    this.root = el("p", { class: "away", role: "alert", hidden: true }, mark("lost"),
      "The server does not answer. Trying again; nothing that was accepted is lost.");
    this.timer = setInterval(() => document.hidden || this.beat(), BEAT_MS);
  }

  async beat() {
    try {
      await this.ask();
      this.set(false);
    } catch (error) {
      this.set(!!error.away);
    }
  }

  set(away) {
    show(this.root, away);
    setAttr(document.documentElement, "data-sx-away", away);
  }

  stop() {
    clearInterval(this.timer);
    this.set(false);
  }
}
