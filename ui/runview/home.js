// Before the first question: what this is, four examples that each show the true shape of their graph, and honest words
// about the demo model.

class Home {
  constructor(onAsk) {
    this.onAsk = onAsk;
    this.cards = el("div", { class: "cards" });
    this.banner = el("p", { class: "banner" }, el("b", { class: "badge" }, "Demo model"), (this.words = el("span", {})));
    this.root = el("section", { class: "home", hidden: true },
      el("h1", {}, "What should the agents work on?"),
      el("p", { class: "lead" },
        "They plan, work side by side, and cite the page for what they say. You watch every step, and can stop them."),
      this.cards, this.banner);
  }

  update(info) {
    const graphs = new Map(info.graphs.map((graph) => [graph.name, graph]));
    keyed(this.cards, info.examples, (example) => example.question, (example) => this.makeCard(example, graphs.get(example.graph)),
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
