// Sources: the card that a citation opens, and the list in the panel. A quote is shown inside its passage.

const CONTEXT_CHARS = 220;
const LONG_QUOTE = 240;

/** [before, marked, after]: the quote inside its passage, which is null until it has been fetched. */
function quoteParts(source, passage, statement) {
  const quote = (source.quote || "").trim();
  const text = passage && passage.text.includes(quote) ? passage.text : quote;
  const used = quote.length > LONG_QUOTE ? closestSentence(quote, statement) : quote;
  if (!used) return [text, "", ""];
  const at = text.indexOf(used);
  return [sentenceStart(text.slice(0, at)), used, sentenceEnd(text.slice(at + used.length))];
}

/** Of a long quote, the sentence that shares most words with the statement that cites it; "" when none is near. */
function closestSentence(quote, statement) {
  const wanted = wordsOf(statement || "");
  let best = ["", 0.4];
  for (const sentence of quote.split(/(?<=[.!?])\s+|\n+/)) {
    const shared = [...wordsOf(sentence)].filter((word) => wanted.has(word)).length;
    if (shared / Math.max(1, wanted.size) > best[1]) best = [sentence, shared / wanted.size];
  }
  return best[0];
}

const wordsOf = (text) => new Set(text.toLowerCase().match(/[\p{L}\p{N}]{3,}/gu) || []);

/** The sentence that stands before a citation, without the other citations in it. */
function statementOf(chip) {
  const block = chip.closest("p, li, td, th, h3, h4, blockquote");
  if (!block) return "";
  const range = document.createRange();
  range.setStart(block, 0);
  range.setEndBefore(chip.parentNode);
  const before = range.toString().replace(/\u2060\d+/g, "").trim();
  return before.split(/(?<=[.!?])\s+/).pop();
}

function sentenceStart(before) {
  if (before.length <= CONTEXT_CHARS) return before;
  const cut = before.slice(-CONTEXT_CHARS);
  const stop = cut.search(/[.!?]\s/);
  return stop < 0 ? `…${cut.slice(cut.indexOf(" "))}` : cut.slice(stop + 2);
}

function sentenceEnd(after) {
  if (after.length <= CONTEXT_CHARS) return after;
  const cut = after.slice(0, CONTEXT_CHARS);
  const stop = cut.lastIndexOf(". ");
  return stop < 0 ? `${cut.slice(0, cut.lastIndexOf(" "))}…` : cut.slice(0, stop + 1);
}

/** Quote in its passage, who found it, and what can be done with it. */
function sourceBody(api, source, statements, statement) {
  const [before, used, after] = [el("span"), el("mark"), el("span")];
  const quote = el("blockquote", { class: "quote", dir: "auto" }, before, used, after);
  const open = el("a", { class: "btn filled", target: "_blank", rel: "noopener noreferrer", hidden: true },
    source.page ? `Open at page ${source.page}` : "Open the document");
  const facts = el("p", { class: "facts" }, sourceFacts(source, statements));
  const body = el("div", { class: "source-body" }, quote, facts,
    el("div", { class: "row" }, open, copyButton("Copy quote", () => used.textContent || source.quote || quote.textContent, "")));
  const fill = (passage) => {
    const parts = quoteParts(source, passage, statement);
    [before, used, after].forEach((node, at) => setText(node, parts[at]));
    if (parts[1]) quote.scrollTop = used.offsetTop - 44; // a line of what stands before it stays in sight
  };
  fill(null);
  if (source.url) {
    if (/^https?:\/\//.test(source.url)) setAttr(open, "href", source.url);
    setText(open, "Open the page");
    show(open, open.hasAttribute("href"));
    return body;
  }
  fetchJson(`${api}/passages/${encodeURIComponent(source.chunk_id)}`).then((passage) => {
    fill(passage);
    if (!passage.openable) return;
    const page = source.page ? `#page=${Number(source.page)}` : "";
    setAttr(open, "href", `${api}/documents/${encodeURIComponent(source.document_id)}/file${page}`);
    show(open, true);
  }).catch(() => facts.append(" The passage itself cannot be read now; the document may have been deleted."));
  return body;
}

function sourceFacts(source, statements) {
  const words = [];
  if (source.found_by && source.found_by.length) words.push(`Found by ${list(source.found_by)}.`);
  const match = source.score ? `Match ${source.score.toFixed(2)}` : "";
  const supports = statements ? `supports ${plural(statements, "statement")}` : "";
  const rest = [match, supports].filter(Boolean).join(", ");
  if (rest) words.push(`${rest[0].toUpperCase()}${rest.slice(1)}.`);
  return words.join(" ");
}

class Sources {
  constructor(api) {
    this.api = api;
    this.filter = "all";
    this.filters = el("div", { class: "filters", role: "group", "aria-label": "Which sources" });
    this.list = el("ol", { class: "source-list" });
    this.empty = el("p", { class: "muted pad" }, "No source has been found yet. They appear here as the agents find them.");
    this.root = el("div", { class: "sources", role: "tabpanel", hidden: true }, this.filters, this.list, this.empty);
  }

  update(view) {
    this.view = view;
    const cited = view.sources.filter((source) => source.cited);
    const kinds = [["all", "All", view.sources.length], ["cited", "Cited", cited.length],
      ["read", "Found, not cited", view.sources.length - cited.length]];
    show(this.filters, cited.length > 0 && cited.length < view.sources.length);
    keyed(this.filters, kinds, ([kind]) => kind, ([kind, words]) => this.makeFilter(kind, words), (node, [kind, , n]) => {
      setText(node.lastChild, String(n));
      setAttr(node, "aria-pressed", kind === this.filter ? "true" : "false");
    });
    const shown = view.sources.filter((source) => this.filter === "all" || source.cited === (this.filter === "cited"));
    keyed(this.list, shown, (source) => source.chunk_id, (source) => this.makeRow(source), (row, source) =>
      this.updateRow(row, source));
    show(this.empty, view.sources.length === 0);
  }

  makeFilter(kind, words) {
    return el("button", { type: "button", class: "pill", on: { click: () => {
      this.filter = kind;
      this.update(this.view);
    } } }, `${words} `, el("span"));
  }

  makeRow() {
    const parts = { n: el("span", { class: "chip" }), name: el("b"), where: el("span", { class: "muted" }),
      quote: el("span", { class: "line" }), by: el("span"), score: el("span") };
    const head = el("button", { type: "button", class: "source-head", "aria-expanded": "false" }, parts.n,
      el("span", { class: "about" }, parts.name, parts.where, parts.quote),
      el("span", { class: "figures" }, parts.by, parts.score));
    const row = el("li", { class: "source" }, head);
    Object.assign(row, { parts, head });
    head.addEventListener("click", () => this.light(row.source.n === this.lit ? null : row.source.n, true));
    return row;
  }

  updateRow(row, source) {
    const { parts } = row;
    row.source = source;
    setText(parts.n, String(source.n));
    setText(parts.name, source.title || source.document);
    setText(parts.where, [source.title && source.title !== source.document ? source.document : "", pageOf(source)]
      .filter(Boolean).join(", "));
    setText(parts.quote, source.quote || "");
    setText(parts.by, (source.found_by || [])[0] || "");
    setText(parts.score, source.score ? source.score.toFixed(2) : "");
    row.classList.toggle("uncited", !source.cited);
  }

  /** Light source `n` as the one that is open in the text; with `expand`, open it here. */
  light(n, expand = false) {
    this.lit = n;
    for (const row of this.list.children) {
      const chosen = row.source.n === n;
      row.classList.toggle("selected", chosen);
      const unfold = chosen && expand;
      setAttr(row.head, "aria-expanded", unfold ? "true" : "false");
      if (row.body && !unfold) row.body = row.body.remove();
      if (!row.body && unfold) row.append((row.body = sourceBody(this.api, row.source, uses(this.view.answer.blocks, n))));
      if (chosen && !expand) row.scrollIntoView({ block: "nearest" });
    }
  }
}
