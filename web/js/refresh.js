// What is shown is loaded again after events that concern it, after a while in any case, and not while nobody looks.
// One request of a kind at a time, however many events there are.

const parts = [];
let tell = () => {};

/** load: async; every: ms, or what says them; after: beginnings of event types; least: ms from one start to the next. Returns again(). */
export function keepFresh(load, { every, after = [], least = 500 }) {
  const part = { load, every: typeof every === "function" ? every : () => every, after, least, began: -Infinity, running: false, wanted: true, timer: 0 };
  parts.push(part);
  return () => want(part);
}

/** onTold(problem), or onTold(null) for what was loaded. */
export function begin(onTold) {
  tell = onTold;
  document.addEventListener("visibilitychange", () => document.hidden || all());
  all();
}

export const all = () => parts.forEach(want);

export function concern(event) {
  for (const part of parts) if (part.after.some((start) => event.type.startsWith(start))) want(part);
}

function want(part) {
  part.wanted = true;
  plan(part);
}

function plan(part) {
  if (part.running) return;
  clearTimeout(part.timer);
  const since = performance.now() - part.began;
  part.timer = setTimeout(() => run(part), Math.max(0, (part.wanted ? part.least : part.every()) - since));
}

async function run(part) {
  if (document.hidden) return; // all() comes when it is looked at again
  part.running = true;
  part.wanted = false;
  part.began = performance.now();
  try {
    await part.load();
    tell(null);
  } catch (problem) {
    tell(problem);
  }
  part.running = false;
  plan(part);
}
