// Before the first question: what this is, four examples that each show the true shape of their graph, and honest words
// about the demo model.

const FIRST = 4; // a newcomer chooses among a handful; who knows what a debate is asks for the rest

class Home {
  constructor(onAsk) {
    this.onAsk = onAsk;
    this.wide = false;
    this.cards = el("div", { class: "cards" });
    this.more = button("", { kind: "quiet", onClick: () => this.unfold() });
    this.banner = el("p", { class: "banner" }, el("b", { class: "badge" }, "Demo model"), (this.words = el("span", {})));
    this.root = el("section", { class: "home", hidden: true },
      el("h1", {}, "What should the agents work on?"),
      el("p", { class: "lead" },
        "They plan, work side by side, and cite the page for what they say. You watch every step, and can stop them."),
      this.cards, this.more, this.banner);
  }

  unfold() {
    this.wide = !this.wide;
    this.update(this.info);
    if (this.wide) this.cards.children[FIRST].focus({ preventScroll: true });
  }

  update(info) {
    this.info = info;
    const graphs = new Map(info.graphs.map((graph) => [graph.name, graph]));
    const rest = info.examples.length - FIRST;
    show(this.more, rest > 0);
    setText(this.more, this.wide ? "Fewer examples" : `${plural(rest, "example")} of other shapes of team`);
    setAttr(this.more, "aria-expanded", this.wide ? "true" : "false");
    keyed(this.cards, this.wide ? info.examples : info.examples.slice(0, FIRST), (example) => example.question, (example) => this.makeCard(example, graphs.get(example.graph)),
      () => {});
    show(this.banner, info.demo);
    const documents = info.index.documents;
    const what = documents ? `It searches and cites ${plural(documents, "document")} for real.` : "It searches what you upload for real.";
    setText(this.words, `${what} Its words are put together by rules, not written by a language model. `);
    this.words.append("To connect one, set ", el("code", {}, "SEXTANT_MODEL_URL"), " and start again.");
    for (const card of this.cards.children) card.disabled = false;
  }

  makeCard(example, graph) {
    const card = el("button", { type: "button", class: "card", "data-graph": example.graph },
      el("span", { class: "top" }, graph && graph.shape ? outline(graph.shape) : null,
        el("span", { class: "muted" }, graph ? graph.title : example.graph)),
      el("b", {}, example.question), el("span", { class: "muted" }, example.note));
    card.addEventListener("click", () => {
      for (const other of this.cards.children) other.disabled = true;
      this.onAsk({ graph: example.graph, question: example.question });
    });
    return card;
  }
}
