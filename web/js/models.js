// Models: where their weights are, and what can be done with them.
import { get, name, patch, post } from "./api.js";
import { action, busy, byId, list, make, mark, say } from "./dom.js";
import { devicesNow } from "./devices.js";
import { ago, bytes } from "./format.js";
import { keepFresh } from "./refresh.js";
import { ask, attempt, attemptForced, field } from "./talk.js";

let again;

const PRIORITIES = ["low", "normal", "high", "critical"];

function where(model) {
  if (model.state === "loading" || model.state === "unloading") return `${model.state} ${Math.round(model.progressPercent)} %`;
  if (model.state === "failed") return "failed";
  return { device: `on ${model.deviceId}`, ram: "in RAM", disk: "on disk" }[model.residency] ?? model.residency;
}

async function load(model) {
  const { path, deviceId } = model;
  await attempt(() => post("models/load", { path, deviceId: deviceId ?? undefined, name: model.name }),
    `${model.name} is loaded`);
  again();
}

async function unload(model, to) {
  const done = ({ freedBytes, heldBy }) => `${bytes(freedBytes)} given back` +
    (heldBy?.length ? `; still held by ${heldBy.map((one) => one.name ?? one.pid).join(", ")}` : "");
  await attemptForced(`${to === "ram" ? "Park" : "Unload"} ${model.name}?`,
    (force) => post(`models/${name(model.modelId)}/unload`, { to, force }), done);
  again();
}

async function change(model, fields) {
  await attempt(() => patch(`models/${name(model.modelId)}`, fields));
  again();
}

// What can be done with a model: the word, when, and how.
const ACTIONS = [
  ["Load", (m) => m.residency !== "device" && (m.state === "parked" || m.state === "unloaded" || m.state === "failed"), load],
  ["Park", (m) => m.state === "ready" && m.residency === "device", (m) => unload(m, "ram")],
  ["Unload", (m) => m.residency !== "disk" && m.state !== "loading", (m) => unload(m, "disk")],
  ["Pin", (m) => !m.pinned && m.state === "ready", (m) => change(m, { pinned: true })],
  ["Unpin", (m) => m.pinned, (m) => change(m, { pinned: false })],
];

function create() {
  const row = make("tr", {},
    make("th", { scope: "row" }, make("span"), make("small")),
    make("td", {}, make("span", { class: "state" }), make("progress", { max: 100, hidden: true })),
    make("td", { class: "number" }), make("td"),
    make("td", {}, make("select", { "aria-label": "Priority", onchange: (e) => change(row.current, { priority: e.target.value }) },
      ...PRIORITIES.map((word) => make("option", { value: word }, word)))),
    make("td", { class: "actions" }, ...ACTIONS.map(([word, , run]) => action(word, () => run(row.current)))));
  return row;
}

function update(row, model) {
  row.current = model;
  const [title, place, size, used, priority, actions] = row.children;
  say(title.firstElementChild, model.name);
  say(title.lastElementChild, model.error?.message ?? model.path ?? "");
  mark(title, "title", model.path);
  say(place.firstElementChild, where(model));
  place.firstElementChild.className = `state ${model.state}`;
  const moving = model.state === "loading" || model.state === "unloading";
  place.lastElementChild.hidden = !moving;
  place.lastElementChild.value = model.progressPercent;
  say(size, bytes(model.sizeBytes));
  say(used, model.busy ? "attached now" : ago(model.lastUsedAt));
  const select = priority.firstElementChild;
  if (document.activeElement !== select) select.value = model.priority;
  ACTIONS.forEach(([, fits], i) => (actions.children[i].hidden = !fits(model)));
}

async function refresh() {
  const { models } = await get("models", { limit: 1000 });
  list(byId("model-rows"), models, { key: (m) => m.modelId, create, update });
  byId("model-empty").hidden = models.length > 0;
}

async function askAndLoad() {
  const devices = await devicesNow();
  if (!devices) return;
  const file = make("input", { name: "path", required: "", autofocus: "", spellcheck: "false", autocomplete: "off" });
  const device = make("select", { name: "deviceId" }, make("option", { value: "" }, "the best"),
    ...devices.map((d) => make("option", { value: d.deviceId }, d.deviceId)));
  const given = await ask("Load a model", "Load",
    field("Path", file, "a safetensors or GGUF file, or a folder of shards, on the host of memkeepd"),
    field("Name", make("input", { name: "name", autocomplete: "off" }), "else as its file"),
    field("Device", device),
    field("Pinned", make("input", { type: "checkbox", name: "pinned" }), "it stays, whatever the pressure"));
  if (!given) return;
  const { path, deviceId, pinned } = given;
  const body = { path, name: given.name || undefined, deviceId: deviceId || undefined, pinned: pinned === "on" };
  // Not awaited: the button is free for the next one while this one loads.
  attempt(() => post("models/load", body), ({ model }) => (model ? `${model.name} is loaded` : "It is still loading"))
    .then(again);
}

export function start() {
  again = keepFresh(refresh, { every: 5000, after: ["model.", "job.progress"] });
  busy(byId("load-button"), askAndLoad);
}
