// State marks and the few other glyphs. MARKS, FAMILY and RUN_STATES are put in front of this file from ui/marks.py.

const GLYPHS = {
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8Z",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  chevron: "M6 3.5L10.5 8L6 12.5",
  panel: "M2 2.8h12v10.4H2ZM9.8 2.8v10.4M5.2 6l2 2l-2 2",
  stop: "M3.4 3.4h9.2v9.2H3.4Z",
  down: "M8 3v10M3.8 8.8L8 13l4.2-4.2",
  left: "M10 3.5L5.5 8L10 12.5",
  more: "M3.5 6L8 10.5L12.5 6",
  bolt: "M9.3 1.2L3 9.3h4.1L6.4 14.8L13 6.5H8.7Z",
  pencil: "M10.6 2.6l2.8 2.8L5.6 13.2l-3.4.6l.6-3.4ZM8.8 4.4l2.8 2.8",
  open: "M9.5 2.5h4v4M13.2 2.8L7.5 8.5M11.5 9.5v4h-9v-9h4",
};

function glyph(name) {
  const path = svg("path", { d: GLYPHS[name], fill: name === "stop" ? "currentColor" : "none" });
  return svg("svg", { class: "glyph", viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}

const familyOf = (state) => FAMILY[state] || "gray";

/** A mark is one <svg> whose inside changes with the state; the word beside it or its label says the same. */
function mark(state, attempt, size = 16) {
  const node = svg("svg", { class: "mark", viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true" });
  updateMark(node, state, attempt);
  return node;
}

function updateMark(node, state, attempt = 1) {
  const known = MARKS[state] ? state : "pending";
  const drawn = known === "retrying" ? `${known} ${attempt}` : known;
  if (node.drawn === drawn) return;
  node.drawn = drawn;
  node.replaceChildren(...MARKS[known].map(([tag, attrs]) => svg(tag, attrs)));
  if (known === "retrying" && attempt > 1) node.append(count(attempt));
  setAttr(node, "class", `mark f-${familyOf(known)} s-${known}`);
}

function count(attempt) {
  const text = svg("text", { x: 7.6, y: 10.8, "text-anchor": "middle", class: "count" });
  setText(text, attempt > 9 ? "+" : String(attempt));
  return text;
}
