// Workers: the processes that touch bytes, and how they are.
import { get, name, post } from "./api.js";
import { action, byId, list, make, mark, say } from "./dom.js";
import { bytes } from "./format.js";
import { keepFresh } from "./refresh.js";
import { ask, attempt } from "./talk.js";

let again;

async function restart(worker) {
  const sure = await ask(`Restart ${worker.workerId}?`, "Restart",
    make("p", {}, "What it moves at this moment fails; memory and models stay."));
  if (!sure) return;
  await attempt(() => post(`workers/${name(worker.workerId)}/restart`), `${worker.workerId} is being restarted`);
  again();
}

function create() {
  const row = make("tr", {}, make("th", { scope: "row" }), make("td", {}, make("span", { class: "state" })),
    make("td", { class: "number" }), make("td", { class: "number" }), make("td", { class: "number" }),
    make("td", { class: "actions" }, action("Restart…", () => restart(row.current))));
  return row;
}

function update(row, worker) {
  row.current = worker;
  const [id, state, process, memory, restarts] = row.children;
  say(id, worker.workerId);
  mark(id, "title", worker.command);
  say(state.firstElementChild, worker.state);
  state.firstElementChild.className = `state ${worker.state}`;
  say(process, String(worker.pid ?? ""));
  say(memory, bytes(worker.memoryBytes));
  say(restarts, String(worker.restarts));
}

async function load() {
  const { workers } = await get("workers");
  list(byId("worker-rows"), workers, { key: (w) => w.workerId, create, update });
}

export function start() {
  again = keepFresh(load, { every: 10000, after: ["worker."] });
}
