// Typed fields for the arguments of a tool, from its JSON schema. What has no field of its own is edited as JSON text
// and checked before it is sent; a value that a browser cannot hold exactly is not offered for editing at all.

const LONG_TEXT = 72;
const SHOWN_OLD = 48;

const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

/** What the form asks for: what is required, in its order, then the rest. The database keeps no order of names. */
function fieldsOf(schema, args) {
  const known = own(schema, "properties") || {};
  const required = (own(schema, "required") || []).filter((name) => Object.hasOwn(known, name));
  return [...new Set([...required, ...Object.keys(known), ...Object.keys(args)])].map((name) => {
    const found = resolved(own(known, name) || {}, schema);
    const told = found.items ? { ...found, items: resolved(found.items, schema) } : found;
    const value = own(args, name);
    return { name, value, told, kind: kindOf(told, value), label: labelOf(name, told), nullable: !!told.nullable };
  });
}

/** A schema without its indirections: one local reference followed, `anyOf` with null unwrapped. */
function resolved(told, schema, depth = 4) {
  if (depth && typeof told.$ref === "string") {
    const [, group, name] = /^#\/(\$defs|definitions)\/(.+)$/.exec(told.$ref) || [];
    return resolved({ ...(own(own(schema, group), name) || {}), ...without(told, "$ref") }, schema, depth - 1);
  }
  for (const many of ["anyOf", "oneOf", "allOf"]) {
    const parts = depth && Array.isArray(told[many]) ? told[many].filter((part) => part.type !== "null") : [];
    if (parts.length !== 1) continue;
    const nullable = told[many].length > 1;
    return { ...resolved(parts[0], schema, depth - 1), ...without(told, many), nullable };
  }
  return told;
}

const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

function kindOf(told, value) {
  if (Array.isArray(told.enum) && told.enum.length && (value === undefined || told.enum.includes(value))) return "choice";
  if (isWords(told, value)) return "list";
  const given = value === undefined || value === null ? told.type : typeof value;
  if (told.type === "boolean" && given === "boolean") return "switch";
  if ((told.type === "integer" || told.type === "number") && (given === "number" || given === told.type)) return told.type;
  if ((told.type === "string" || told.type === undefined) && given === "string") return isLong(told, value) ? "long" : "text";
  return "json";
}

/** A list of strings, which is edited as chips. */
function isWords({ type, items }, value) {
  const given = value === undefined || value === null || (Array.isArray(value) && value.every((word) => typeof word === "string"));
  return given && type === "array" && !!items && items.type === "string";
}

const isLong = (told, value) => (value || "").length > LONG_TEXT || /\n/.test(value || "") || (told.maxLength || 0) > 400;

const labelOf = (name, told) => sentenceCase(String(told.title || name).replace(/_/g, " "));

/** True when no number in `value` was rounded on its way here. */
function isExact(value) {
  if (typeof value === "number") return !Number.isInteger(value) || Number.isSafeInteger(value);
  return value === null || typeof value !== "object" || Object.values(value).every(isExact);
}

function asText(value, kind) {
  if (value === undefined || (value === null && kind !== "json")) return "";
  return kind === "json" ? JSON.stringify(value, null, 2) : String(value);
}

/** {value} or {problem}: what was typed, as the type that the schema wants. */
function parsed(raw, { kind, nullable, told }) {
  const empty = raw.trim() === "";
  if (empty && nullable && kind !== "text" && kind !== "long") return { value: null };
  if (kind === "integer") {
    return /^\s*[+-]?\d+\s*$/.test(raw) && Number.isSafeInteger(Number(raw)) ? { value: Number(raw) } : { problem: "A whole number is needed." };
  }
  if (kind === "number") {
    return !empty && Number.isFinite(Number(raw)) ? { value: Number(raw) } : { problem: "A number is needed." };
  }
  if (kind === "choice") return { value: told.enum[Number(raw)] };
  if (kind !== "json") return { value: raw };
  try {
    return { value: JSON.parse(raw) };
  } catch (error) {
    return { problem: `This is not JSON: ${error.message}` };
  }
}

class Field {
  constructor(spec, onChange) {
    Object.assign(this, { spec, name: spec.name, onChange });
    this.id = `field-${(Field.made = (Field.made || 0) + 1)}`;
    this.was = el("b", { class: "was" });
    this.problem = el("p", { class: "trouble", role: "alert", id: `${this.id}-problem`, hidden: true });
    this.input = this.makeInput();
    if (!this.chips) this.input.addEventListener("input", () => this.changed());
    this.first = this.raw();
    const label = el("label", { for: this.id }, spec.label);
    this.root = el("div", { class: `field k-${spec.kind}` }, el("div", { class: "field-head" }, label, this.was), this.input, this.problem);
  }

  makeInput() {
    const { kind, value, told } = this.spec;
    const attrs = { id: this.id, name: this.name, autocomplete: "off", "aria-describedby": `${this.id}-problem` };
    if (kind === "choice") {
      const chosen = told.enum.indexOf(value);
      const none = chosen < 0 ? [el("option", { value: "", selected: true, disabled: true }, "not given")] : [];
      return el("select", attrs, ...none, ...told.enum.map((option, at) =>
        el("option", { value: at, selected: at === chosen }, typeof option === "string" ? option : JSON.stringify(option))));
    }
    if (kind === "list") {
      const deps = { unique: told.uniqueItems, choices: told.items.enum, onChange: () => this.changed() };
      this.chips = new Chips(value || [], attrs, deps);
      return this.chips.root;
    }
    if (kind === "switch") return el("input", { ...attrs, type: "checkbox", checked: value === true });
    const shown = asText(value, kind);
    if (kind === "long" || kind === "json") {
      const rows = Math.min(10, Math.max(3, shown.split("\n").length, Math.ceil(shown.length / 70)));
      const code = kind === "json" ? { class: "code", spellcheck: "false" } : {};
      const area = el("textarea", { ...attrs, rows, dir: "auto", ...code });
      area.value = shown;
      return area;
    }
    const limits = kind === "text"
      ? { type: "text", dir: "auto", maxlength: told.maxLength }
      : { type: "number", min: told.minimum, max: told.maximum, step: kind === "integer" ? told.multipleOf || 1 : "any" };
    const input = el("input", { ...attrs, placeholder: value === undefined ? "not given" : null, ...limits });
    input.value = shown;
    return input;
  }

  raw() {
    if (this.chips) return JSON.stringify(this.chips.all);
    return this.spec.kind === "switch" ? String(this.input.checked) : this.input.value;
  }

  get edited() {
    return this.raw() !== this.first;
  }

  /** What the field holds now; undefined, with the problem told, when it is nothing that can be sent. */
  read() {
    if (this.chips) return this.readWords();
    if (this.input.validity && this.input.validity.badInput) return this.complain("A number is needed.");
    const { value, problem } = this.spec.kind === "switch" ? { value: this.input.checked } : parsed(this.raw(), this.spec);
    return problem ? this.complain(problem) : value;
  }

  readWords() {
    const { told, nullable, value } = this.spec;
    const words = this.chips.all;
    if (words.length < (told.minItems || 0)) return this.complain(`At least ${told.minItems} are needed.`);
    if (words.length > (told.maxItems ?? Infinity)) return this.complain(`${words.length} are more than ${told.maxItems}.`);
    return !words.length && nullable && value === null ? null : words;
  }

  complain(words) {
    setText(this.problem, words || "");
    show(this.problem, !!words);
    setAttr(this.chips ? this.chips.input : this.input, "aria-invalid", words ? "true" : null);
  }

  changed() {
    this.complain("");
    const { edited } = this;
    this.root.classList.toggle("edited", edited);
    setText(this.was, edited ? `edited, was ${this.old(SHOWN_OLD)}` : "");
    setAttr(this.was, "title", edited ? this.old(2000) : null);
    this.onChange();
  }

  old(limit) {
    const { value, kind } = this.spec;
    if (value === undefined || value === null || value.length === 0) return "empty";
    const words = kind === "switch" ? (value ? "on" : "off") : kind === "list" ? value.join(", ") : typeof value === "object" ? JSON.stringify(value) : String(value);
    const short = words.length > limit ? `${words.slice(0, limit)}…` : words;
    return kind === "text" || kind === "long" ? `“${short}”` : short;
  }

  reset() {
    if (this.chips) return this.chips.set(this.spec.value || []);
    if (this.spec.kind === "switch") this.input.checked = this.first === "true";
    else this.input.value = this.first;
    return this.changed();
  }

  disable(off) {
    for (const control of this.chips ? this.root.querySelectorAll("input, button") : [this.input]) control.disabled = off;
  }
}
