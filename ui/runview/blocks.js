// Blocks -> elements, block by block: what was read keeps its nodes, text that grows is appended to, so a selection
// survives the stream. Only the tags below become elements; anything else is text.

const TAGS = new Set(["p", "h3", "h4", "ul", "ol", "li", "strong", "em", "code", "blockquote",
  "thead", "tbody", "tr", "th", "td", "hr", "br"]);
const WORD_JOINER = "\u2060"; // keeps a citation on the line of the word before it

/** Make the children of `parent` show `blocks`; `onCite(button, attrs)` opens a source. */
function renderBlocks(parent, blocks, onCite) {
  const before = parent.drawnBlocks || [];
  blocks.forEach((block, at) => renderNode(parent, at, before[at], block, blocks[at + 1], onCite));
  while (parent.childNodes.length > blocks.length) parent.lastChild.remove();
  parent.drawnBlocks = blocks;
}

function renderNode(parent, at, before, block, next, onCite) {
  const existing = parent.childNodes[at];
  if (typeof block === "string") {
    const shown = Array.isArray(next) && next[0] === "cite" ? block.trimEnd() : block;
    if (existing && existing.nodeType === Node.TEXT_NODE) growText(existing, shown);
    else place(parent, at, document.createTextNode(shown));
    return;
  }
  if (existing && before === block) return; // untouched by the patch
  const same = existing && Array.isArray(before) && before[0] === block[0] && sameAttrs(before[1], block[1]);
  const node = same ? existing : place(parent, at, makeNode(block, onCite));
  if (block[0] !== "cite") renderBlocks(node.body || node, block[2] || [], onCite);
}

function growText(node, text) {
  if (node.data === text) return;
  if (text.startsWith(node.data)) node.appendData(text.slice(node.data.length));
  else node.data = text;
}

function place(parent, at, node) {
  const existing = parent.childNodes[at];
  if (existing) existing.replaceWith(node);
  else parent.append(node);
  return node;
}

const sameAttrs = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function makeNode([tag, attrs], onCite) {
  if (tag === "cite") return citation(attrs, onCite);
  if (tag === "a") return link(attrs);
  if (tag === "pre") return codeBlock(attrs);
  if (tag === "table") {
    const body = el("table");
    return withBody(el("div", { class: "table" }, body), body);
  }
  if (tag === "bare") return el("span", { class: "bare", title: "No source is cited for this statement." });
  if (!TAGS.has(tag)) return el("span");
  const node = el(tag, { class: attrs.align ? `align-${attrs.align}` : null });
  if (tag === "ol" && Number.isInteger(attrs.start)) setAttr(node, "start", attrs.start);
  return node;
}

function withBody(node, body) {
  node.body = body;
  return node;
}

/** Text, then the host that it really leads to; never anything but http and https. */
function link(attrs) {
  const safe = /^https?:\/\//i.test(attrs.href || "");
  if (!safe) return el("span");
  const body = el("a", { href: attrs.href, target: "_blank", rel: "noopener noreferrer nofollow" });
  let host = "";
  try {
    host = new URL(attrs.href).hostname;
  } catch {
    return el("span");
  }
  return withBody(el("span", { class: "link" }, body, el("span", { class: "host" }, ` ${host}`)), body);
}

function codeBlock(attrs) {
  const body = el("code");
  const copy = copyButton("Copy", () => body.textContent);
  const head = el("div", { class: "code-head" }, el("span", {}, attrs.lang || ""), copy);
  return withBody(el("div", { class: "code" }, head, el("pre", { tabindex: "0" }, body)), body);
}

function citation(attrs, onCite) {
  const chip = el("span", { role: "button", tabindex: "0", class: "chip", "data-n": attrs.n, "data-key": attrs.key,
    "aria-label": `Source ${attrs.n}`, "aria-haspopup": "dialog" }, String(attrs.n));
  chip.addEventListener("click", () => onCite(chip, attrs));
  chip.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    onCite(chip, attrs);
  });
  return el("span", { class: "cite" }, WORD_JOINER, chip);
}

/** Plain text of an answer as a person would paste it: citations as [n]. */
function plainText(blocks) {
  return blocks.map(plainNode).join("").replace(/\n{3,}/g, "\n\n").trim();
}

function plainNode(block) {
  if (typeof block === "string") return block;
  const [tag, attrs, children] = block;
  const inner = (children || []).map(plainNode).join("");
  if (tag === "cite") return `[${attrs.n}]`;
  if (tag === "br") return "\n";
  if (tag === "li") return `- ${inner.trim()}\n`;
  if (tag === "td" || tag === "th") return `${inner}\t`;
  if (tag === "tr") return `${inner.trimEnd()}\n`;
  if (tag === "a") return attrs.href && attrs.href !== inner ? `${inner} (${attrs.href})` : inner;
  if (["p", "h3", "h4", "pre", "blockquote", "ul", "ol", "table"].includes(tag)) return `${inner}\n\n`;
  return inner;
}

/** How many statements of an answer lean on source `n`. */
function uses(blocks, n) {
  let found = 0;
  for (const block of blocks) {
    if (!Array.isArray(block)) continue;
    found += block[0] === "cite" && block[1].n === n ? 1 : uses(block[2] || [], n);
  }
  return found;
}
