// What a plan would take, worked out as it is edited: the same list schedule as the engine's (graphs/plans.py), the
// most urgent of the ready sub-tasks first. Pure: knows no page.

const USUAL_S = 8;

/** The tasks that would run: nothing waits for what is switched off. */
function runnableTasks(tasks) {
  const on = new Set(tasks.filter((task) => task.enabled !== false).map((task) => task.id));
  return tasks.filter((task) => on.has(task.id)).map((task) => ({ ...task, depends_on: [...new Set(task.depends_on)].filter((id) => on.has(id)) }));
}

/** Ids of the tasks whose result `id` waits for, directly or through others. */
function waitsOn(tasks, id) {
  const needs = new Map(tasks.map((task) => [task.id, task.depends_on]));
  const found = new Set();
  const left = [id];
  while (left.length) {
    for (const need of needs.get(left.pop()) || []) {
      if (found.has(need)) continue;
      found.add(need);
      left.push(need);
    }
  }
  return found;
}

/** True when `id` must not wait for `need`: that one waits for `id` already. */
const closesCircle = (tasks, id, need) => id === need || waitsOn(tasks, need).has(id);

/** Longest chain of work from the beginning of each task to the end of the plan. */
function urgencyOf(tasks, secondsOf) {
  const urgency = new Map();
  const reach = (task) => {
    if (!urgency.has(task.id)) {
      const later = tasks.filter((other) => other.depends_on.includes(task.id)).map(reach);
      urgency.set(task.id, secondsOf(task.id) + Math.max(0, ...later));
    }
    return urgency.get(task.id);
  };
  tasks.forEach(reach);
  return urgency;
}

/** {spans: id -> [start, end], makespan, serial, path}: when each would run with `width` at work at once. */
function scheduled(tasks, secondsOf, width) {
  const urgency = urgencyOf(tasks, secondsOf);
  const order = new Map(tasks.map((task, at) => [task.id, at]));
  const blocked = new Map(tasks.map((task) => [task.id, task.depends_on.length]));
  const spans = new Map();
  let ready = tasks.filter((task) => !task.depends_on.length).map((task) => task.id);
  let atWork = [];
  let now = 0;
  while (ready.length || atWork.length) {
    ready.sort((a, b) => urgency.get(b) - urgency.get(a) || order.get(a) - order.get(b));
    for (const id of ready.splice(0, Math.max(0, width - atWork.length))) {
      spans.set(id, [now, now + secondsOf(id)]);
      atWork.push(id);
    }
    if (!atWork.length) break; // a width of nothing
    now = Math.min(...atWork.map((id) => spans.get(id)[1]));
    const ended = new Set(atWork.filter((id) => spans.get(id)[1] <= now));
    atWork = atWork.filter((id) => !ended.has(id));
    for (const task of tasks) {
      if (!blocked.get(task.id)) continue;
      const left = blocked.get(task.id) - task.depends_on.filter((id) => ended.has(id)).length;
      blocked.set(task.id, left);
      if (!left) ready.push(task.id);
    }
  }
  return { spans, makespan: now, serial: tasks.reduce((sum, task) => sum + secondsOf(task.id), 0), path: pathOf(tasks, spans) };
}

/** The chain that sets the time: from the last to end, back through whatever it began right after. */
function pathOf(tasks, spans) {
  const path = [];
  let [id] = [...spans].sort(([, a], [, b]) => b[1] - a[1]).map(([last]) => last);
  while (id !== undefined) {
    path.unshift(id);
    const [start] = spans.get(id);
    const needs = new Set(tasks.find((task) => task.id === id).depends_on);
    const before = [...spans].filter(([other, [, end]]) => Math.abs(end - start) < 1e-9 && other !== id && !path.includes(other)).map(([other]) => other);
    id = start === 0 ? undefined : before.find((other) => needs.has(other)) ?? before[0];
  }
  return path;
}
