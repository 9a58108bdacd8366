// One run's view, whole at first, then patched. A reconnect gets a whole view again, so nothing is lost or doubled.

const RETRY_S = [0.5, 1, 2, 4, 8, 15];

/** Apply one patch; returns the names of the parts that changed. */
function mergePatch(view, patch) {
  const dirty = new Set();
  for (const [name, value] of Object.entries(patch.set || {})) {
    view[name] = name === "answer" ? { ...view.answer, ...value } : value;
    dirty.add(name);
  }
  if (patch.lanes && patch.lanes.length) {
    patch.lanes.forEach((lane) => placeLane(view.lanes, lane));
    dirty.add("lanes");
  }
  if (patch.findings && patch.findings.length) {
    patch.findings.forEach((finding) => placeById(view.findings, finding, "lane_id"));
    dirty.add("findings");
  }
  if (patch.answer) {
    mergeAnswer(view.answer, patch.answer);
    dirty.add("answer");
  }
  return dirty;
}

function mergeAnswer(answer, { append, blocks_from: from, blocks, ...rest }) {
  if (append) answer.text += append;
  if (blocks) answer.blocks = answer.blocks.slice(0, from ?? 0).concat(blocks);
  Object.assign(answer, rest);
}

function placeById(items, item, name) {
  const at = items.findIndex((known) => known[name] === item[name]);
  if (at < 0) items.push(item);
  else items[at] = item;
}

/** Order never changes; a new lane goes under its parent, after what is already there. */
function placeLane(lanes, lane) {
  const at = lanes.findIndex((known) => known.id === lane.id);
  if (at >= 0) {
    lanes[at] = lane;
    return;
  }
  const parent = lanes.findIndex((known) => known.id === lane.parent_id);
  let place = parent < 0 ? lanes.length : parent + 1;
  while (parent >= 0 && place < lanes.length && lanes[place].depth > lanes[parent].depth) place += 1;
  lanes.splice(place, 0, lane);
}

class Feed {
  /** `onView(view, dirty)`: dirty is null for a whole view. `onTrouble(text)`: "" when all is well again. */
  constructor(api, runId, { onView, onEnd, onTrouble }) {
    Object.assign(this, { url: `${api}/runs/${encodeURIComponent(runId)}/live`, onView, onEnd, onTrouble });
    this.view = null;
    this.failures = 0;
    this.closed = false;
    this.open();
  }

  open() {
    if (this.closed) return;
    const source = (this.source = new EventSource(this.url));
    source.addEventListener("view", (event) => this.whole(JSON.parse(event.data)));
    source.addEventListener("patch", (event) => this.patch(JSON.parse(event.data)));
    source.addEventListener("end", () => this.end());
    source.addEventListener("bye", () => this.reopen(500 + Math.random() * 500));
    source.addEventListener("error", () => this.trouble());
  }

  whole(message) {
    this.failures = 0;
    this.onTrouble("");
    this.view = message.view;
    this.onView(this.view, null);
  }

  patch(message) {
    if (this.view) this.onView(this.view, mergePatch(this.view, message));
  }

  end() {
    this.close();
    this.onEnd(this.view);
  }

  /** The browser reconnects by itself after a cut; after an error status it gives up, so we take over. */
  trouble() {
    if (this.closed) return;
    this.failures += 1;
    if (this.failures > 1) this.onTrouble("The connection is gone. This is what was last heard; trying again.");
    if (this.source.readyState === EventSource.CLOSED) {
      this.reopen(RETRY_S[Math.min(this.failures, RETRY_S.length) - 1] * 1000);
    }
  }

  reopen(delayMs) {
    this.source.close();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), delayMs);
  }

  /** A browser gives one address six connections; a page that nobody sees should not hold one for long. */
  pause() {
    clearTimeout(this.timer);
    this.source.close();
  }

  resume() {
    if (!this.closed && this.source.readyState === EventSource.CLOSED) this.open();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.source.close();
  }
}
