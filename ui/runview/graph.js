// The graph as SVG. Places come from the server and never move; only colours, marks and notes change.

const LINE_PX = 16;
const measured = document.createElement("canvas").getContext("2d");

/** Longest beginning of `words` that fits, with an ellipsis when something is left out. */
function fitted(words, width, weight = 600) {
  measured.font = `${weight} 13px "Source Sans", sans-serif`;
  if (measured.measureText(words).width <= width) return words;
  let end = words.length;
  while (end > 1 && measured.measureText(`${words.slice(0, end)}…`).width > width) end -= 1;
  return `${words.slice(0, end).trimEnd()}…`;
}

/** One line, or two broken between words where the box is high enough; what still does not fit is cut. */
function titleLines(words, width, tall, weight) {
  const whole = fitted(words, width, weight);
  if (!tall || whole === words) return [whole];
  const parts = words.split(/\s+/);
  let first = parts.shift();
  while (parts.length && fitted(`${first} ${parts[0]}`, width, weight) === `${first} ${parts[0]}`) first += ` ${parts.shift()}`;
  return parts.length ? [fitted(first, width, weight), fitted(parts.join(" "), width, weight)] : [fitted(first, width, weight)];
}

class Graph {
  constructor(onSelect) {
    this.onSelect = onSelect;
    this.edges = svg("g", { class: "edges" });
    this.nodes = svg("g", { class: "nodes" });
    this.svg = svg("svg", { role: "img", class: "graph" }, this.edges, this.nodes);
    this.root = el("div", { class: "graph-box" }, this.svg);
  }

  update(view) {
    const { shape } = view;
    show(this.root, shape.nodes.length > 0);
    if (!shape.nodes.length) return;
    const pad = 6;
    setAttr(this.svg, "viewBox", `${-pad} ${-pad} ${shape.width + 2 * pad} ${shape.height + 2 * pad}`);
    setVar(this.svg, "--w", `${shape.width + 2 * pad}px`);
    setAttr(this.svg, "aria-label", this.spoken(view));
    const targets = new Map(shape.nodes.map((node) => [node.id, node]));
    keyed(this.edges, shape.edges, (edge) => edge.id, () => svg("path", {}), (node, edge) =>
      this.updateEdge(node, edge, targets.get(edge.target)));
    keyed(this.nodes, shape.nodes, (node) => node.id, (node) => this.makeNode(node), (g, node) =>
      this.updateNode(g, node));
  }

  updateEdge(path, edge, target) {
    setAttr(path, "d", edge.d);
    const family = edge.state === "taken" && target ? `f-${familyOf(target.state)}` : "";
    setAttr(path, "class", `edge e-${edge.state} ${family} ${edge.critical ? "critical" : ""}`);
  }

  makeNode(node) {
    const parts = {
      ring: svg("rect", { class: "ring-sel", rx: 9 }),
      box: svg("rect", { class: "box", rx: 6 }),
      mark: mark(node.state, 1, 14),
      title: svg("text", { class: "title" }),
      more: svg("text", { class: "title" }),
      note: svg("text", { class: "note", "text-anchor": "end" }),
      full: svg("title", {}),
    };
    const group = svg("g", { on: { click: () => this.onSelect(group.laneId) } },
      parts.full, parts.ring, parts.box, parts.mark, parts.title, parts.more, parts.note);
    group.parts = parts;
    return group;
  }

  updateNode(group, node) {
    const { parts } = group;
    group.laneId = node.lane_id;
    const note = node.note || "";
    const room = node.w - 29 - 8;
    const beside = room - (note ? note.length * 6.4 + 6 : 0);
    const tall = node.h > LINE_PX * 2 + 8;
    const [first, second] = titleLines(node.title, room, tall);
    const both = fitted(second ?? first, beside) === (second ?? first); // the lane has the seconds too, so the name wins
    updateMark(parts.mark, node.state, Number((/^try (\d+)/.exec(note) || [])[1] || 1));
    setText(parts.title, first);
    setText(parts.more, second || "");
    setText(parts.note, both ? note : "");
    placeNode(parts, node, second ? LINE_PX / 2 : 0);
    setText(parts.full, `${node.title}: ${STATE_WORDS[node.state] || node.state}${note ? `, ${note}` : ""}`);
    const selected = this.selected && node.lane_id === this.selected ? "selected" : "";
    setAttr(group, "class", `node f-${familyOf(node.state)} n-${node.state} ${node.critical ? "critical" : ""} ${selected}`);
  }

  select(laneId) {
    this.selected = laneId;
    for (const group of this.nodes.children) group.classList.toggle("selected", !!laneId && group.laneId === laneId);
  }

  /** Text alternative, made from the same view. */
  spoken(view) {
    const says = view.shape.nodes.map((node) => `${node.title} ${(STATE_WORDS[node.state] || node.state).toLowerCase()}`);
    return `Graph of ${view.graph}: ${says.join(", ")}.`;
  }
}

/** Moves only once: when the plan arrives and the team's one box becomes its sub-tasks. */
function placeNode(parts, { x, y, w, h }, half) {
  const middle = y + h / 2;
  setAttrs(parts.ring, { x: x - 4, y: y - 4, width: w + 8, height: h + 8 });
  setAttrs(parts.box, { x, y, width: w, height: h });
  setAttrs(parts.mark, { x: x + 9, y: middle - 7 });
  setAttrs(parts.title, { x: x + 29, y: middle + 4.5 - half });
  setAttrs(parts.more, { x: x + 29, y: middle + 4.5 + half });
  setAttrs(parts.note, { x: x + w - 9, y: middle + 4.5 + half });
}

/** The true outline of a graph for a card: its columns and rows, evenly set; first node filled. */
function outline(shape) {
  const columns = [...new Set(shape.nodes.map((node) => Math.round(node.x)))].sort((a, b) => a - b);
  const tops = shape.nodes.map((node) => node.y);
  const [top, foot] = [Math.min(...tops), Math.max(...tops)];
  const shrink = Math.min(0.4, 50 / Math.max(1, foot - top));
  const pitch = Math.min(46, 218 / Math.max(1, columns.length - 1));
  const at = new Map(shape.nodes.map((node) => [node.id, {
    x: columns.indexOf(Math.round(node.x)) * pitch + 2,
    y: 33 + (node.y - (top + foot) / 2) * shrink,
  }]));
  const edges = shape.edges.map((edge) => outlineEdge(at.get(edge.source), at.get(edge.target), edge.loop));
  const nodes = shape.nodes.map((node, index) => svg("rect", { x: at.get(node.id).x, y: at.get(node.id).y - 5,
    width: 18, height: 10, rx: 3, class: index ? "" : "first" }));
  return svg("svg", { class: "outline", viewBox: "0 0 240 68", width: 240, height: 68, "aria-hidden": "true" },
    ...edges, ...nodes);
}

function outlineEdge(from, to, loop) {
  if (!from || !to) return null;
  if (loop || to.x <= from.x) {
    const foot = Math.min(70, Math.max(from.y, to.y) + 22); // inside the card
    return svg("path", { class: "loop", d: `M${from.x + 9} ${from.y + 6}C${from.x + 9} ${foot} ${to.x + 9} ${foot} ${to.x + 9} ${to.y + 6}` });
  }
  const bend = (to.x - from.x - 18) / 2;
  return svg("path", { d: `M${from.x + 18} ${from.y}C${from.x + 18 + bend} ${from.y} ${to.x - bend} ${to.y} ${to.x} ${to.y}` });
}
