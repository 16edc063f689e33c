// Advice: what could be given back, why that is believed, and a button that does it. The request is the daemon's own.
import { ask, get, post } from "./api.js";
import { action, busy, byId, list, make, say } from "./dom.js";
import { bytes } from "./format.js";
import { keepFresh } from "./refresh.js";
import { attempt } from "./talk.js";

let again;

async function follow(recommendation) {
  const { method, path, body } = recommendation.action;
  await attempt(() => ask(method, path, body ?? undefined), "Done");
  again();
}

function evidence(recommendation) {
  return Object.entries(recommendation.evidence ?? {})
    .map(([name, value]) => `${name} ${name.endsWith("Bytes") ? bytes(value) : value}`).join(" · ");
}

function create(recommendation) {
  const item = make("li", { class: "item" },
    make("span", { class: "level" }),
    make("div", { class: "words" }, make("strong"), make("p"), make("p", { class: "facts" })),
    recommendation.action ? action("Do it", () => follow(item.current)) : null);
  return item;
}

function update(item, recommendation) {
  item.current = recommendation;
  const { severity, title, why, expectedBytes } = recommendation;
  const [level, { children: [heading, reason, facts] }] = item.children;
  say(level, severity);
  level.className = `level ${{ info: "low", warning: "moderate" }[severity] ?? "critical"}`;
  say(heading, expectedBytes ? `${title}: ${bytes(expectedBytes)}` : title);
  say(reason, why);
  say(facts, evidence(recommendation));
}

async function load() {
  const { recommendations } = await get("optimization");
  list(byId("advice-list"), recommendations, { key: (one) => one.id, create, update });
  byId("advice-empty").hidden = recommendations.length > 0;
  byId("optimize").hidden = recommendations.length === 0;
}

async function optimize() {
  await attempt(() => post("operations/optimize"), ({ applied, freedBytes }) =>
    applied.length ? `${applied.length} done, ${bytes(freedBytes)} given back`
      : "Nothing of it can be done without taking what somebody holds");
  again();
}

export function start() {
  again = keepFresh(load, { every: 10000, after: ["allocation.", "model.", "pressure.", "worker."], least: 2000 });
  busy(byId("optimize"), optimize);
}
