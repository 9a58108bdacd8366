// Elements, never HTML: everything that a model, a document or a person wrote reaches the page as text.

const SVG_NS = "http://www.w3.org/2000/svg";

/** el("div", {class: "x", on: {click: f}}, child, "text") */
function el(tag, attrs, ...children) {
  return dressed(document.createElement(tag), attrs, children);
}

function svg(tag, attrs, ...children) {
  return dressed(document.createElementNS(SVG_NS, tag), attrs, children);
}

function dressed(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else {
      setAttr(node, name, value);
    }
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}

/** Write only what differs, so that a patch leaves selection, focus and animations of the rest alone. */
function setText(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function setAttr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const written = value === true ? "" : String(value);
    if (node.getAttribute(name) !== written) node.setAttribute(name, written);
  }
}

function setAttrs(node, attrs) {
  for (const [name, value] of Object.entries(attrs)) setAttr(node, name, value);
}

function setVar(node, name, value) {
  const written = String(value);
  if (node.style.getPropertyValue(name) !== written) node.style.setProperty(name, written);
}

function show(node, visible) {
  setAttr(node, "hidden", !visible); // the attribute, since SVG elements have no such property
}

/** Children of `parent` follow `items`: nodes are kept by key, made once, updated in place, removed when gone. */
function keyed(parent, items, keyOf, make, update) {
  const known = parent.keyedNodes || (parent.keyedNodes = new Map());
  const wanted = new Set();
  let place = 0;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let node = known.get(key);
    if (!node) known.set(key, (node = make(item)));
    update(node, item);
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] || null);
    place += 1;
  }
  for (const [key, node] of known) {
    if (wanted.has(key)) continue;
    node.remove();
    known.delete(key);
  }
}

/** A button with an icon and words; `label` is what assistive technology reads when there are no words. */
function button(words, { icon, label, kind = "", onClick }) {
  return el(
    "button",
    { type: "button", class: `btn ${kind}`, "aria-label": words ? null : label, title: words ? null : label,
      on: { click: onClick } },
    icon ? glyph(icon) : null,
    words ? el("span", {}, words) : null,
  );
}

const isField = (node) => node instanceof Element && node.matches("input, textarea, select");

async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = el("textarea", { style: "position:fixed;opacity:0" }); // plain http has no clipboard interface
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** The button says that it worked, where it was pressed. */
function copyButton(words, text, kind = "quiet small") {
  const made = button(words, { icon: "copy", kind, onClick: async () => {
    await copyText(text());
    setText(made.lastChild, "Copied");
    setTimeout(() => setText(made.lastChild, words), 1600);
  } });
  return made;
}
