// Live allocations, a page at a time, and the freeing of one.
import { get, name, remove } from "./api.js";
import { action, busy, byId, list, make, mark, options, say } from "./dom.js";
import { onDevices } from "./devices.js";
import { ago, bytes, clock, duration, many, words } from "./format.js";
import { keepFresh } from "./refresh.js";
import { ask, attempt, attemptForced } from "./talk.js";

const PAGE = 20;
const ORDERS = [["sizeBytes desc", "largest first"], ["createdAt desc", "newest first"], ["createdAt asc", "oldest first"],
  ["lastAccessedAt asc", "longest unused first"]];

let again;
let page = { cursor: null, next: null };

const ownerOf = (owner) => owner.name ?? (owner.pid ? `pid ${owner.pid}` : owner.id);

export async function free(allocation) {
  const sure = await ask("Free this allocation?", "Free",
    make("p", {}, `${bytes(allocation.sizeBytes)} on ${allocation.deviceId}, ${words(allocation.purpose)}` +
      (allocation.label ? `, “${allocation.label}”` : "")),
    make("p", {}, `Its owner is ${ownerOf(allocation.owner)}. What it holds is lost.`));
  if (!sure) return;
  await attemptForced("Free it all the same?",
    (force) => remove(`allocations/${name(allocation.allocationId)}${force ? "?force=true" : ""}`),
    () => `${bytes(allocation.sizeBytes)} given back`);
  again();
}

const FACTS = [
  ["Size", (a) => bytes(a.sizeBytes)], ["Device", (a) => a.deviceId], ["Purpose", (a) => words(a.purpose)],
  ["Label", (a) => a.label ?? "none"], ["Owner", (a) => `${ownerOf(a.owner)} (${a.owner.kind}, ${a.owner.id})`],
  ["Domain", (a) => a.domain], ["Place", (a) => `${a.type}, at ${bytes(a.offsetBytes)} of ${a.segmentId}`],
  ["State", (a) => [a.status, a.pinned && "pinned", a.persistent && "persistent"].filter(Boolean).join(", ")],
  ["Attached", (a) => `${a.attachments} times`], ["Priority", (a) => a.priority], ["Model", (a) => a.modelId ?? "none"],
  ["Made", (a) => new Date(a.createdAt).toLocaleString()], ["Used", (a) => ago(a.lastAccessedAt)],
  ["Ends", (a) => (a.expiresAt ? `in ${duration((Date.parse(a.expiresAt) - Date.now()) / 1000)}` : "when it is freed")],
];

/** Shows all of one allocation; from there it can be freed. */
export async function show(id) {
  let allocation;
  if (!(await attempt(async () => ({ allocation } = await get(`allocation/${name(id)}`))))) return;
  const facts = make("dl", { class: "pairs" },
    ...FACTS.flatMap(([word, of]) => [make("dt", {}, word), make("dd", {}, of(allocation))]));
  const past = make("ol", { class: "past" },
    ...(allocation.history ?? []).slice(-10).map((e) => make("li", {}, `${clock(e.time)} ${e.event} ${e.detail ?? ""}`)));
  if (await ask(`Allocation ${allocation.allocationId}`, "Free…", facts, past)) await free(allocation);
}

function create() {
  const row = make("tr", {},
    make("th", { scope: "row" }, action("", () => show(row.current.allocationId), { class: "link" })),
    make("td"), make("td", { class: "number" }), make("td"), make("td"), make("td", { class: "clip" }), make("td"),
    make("td", { class: "actions" }, action("Free…", () => free(row.current))));
  return row;
}

function update(row, allocation) {
  row.current = allocation;
  const [id, device, size, purpose, owner, label, used] = row.children;
  say(id.firstElementChild, allocation.allocationId);
  say(device, allocation.deviceId);
  say(size, bytes(allocation.sizeBytes));
  say(purpose, words(allocation.purpose));
  say(owner, ownerOf(allocation.owner));
  say(label, allocation.label ?? "");
  mark(label, "title", allocation.label);
  say(used, allocation.attachments ? "attached now" : ago(allocation.lastAccessedAt));
}

async function refresh() {
  const device = byId("allocation-device").value;
  const [sort, order] = (byId("allocation-order").value || ORDERS[0][0]).split(" ");
  const label = byId("allocation-label").value;
  const path = device ? `allocations/device/${name(device)}` : "allocations";
  const found = await get(path, { limit: PAGE, sort, order, label, cursor: page.cursor });
  list(byId("allocation-rows"), found.allocations, { key: (a) => a.allocationId, create, update });
  page.next = found.nextCursor;
  byId("allocation-empty").hidden = found.allocations.length > 0;
  byId("allocation-next").hidden = !page.next;
  byId("allocation-first").hidden = !page.cursor;
  say(byId("allocation-total"), found.totalAllocations === null ? ""
    : `${many(found.totalAllocations, "allocation")}, ${bytes(found.totalBytes)}`);
}

function turn(cursor) {
  page = { cursor, next: null };
  again();
}

export function start() {
  options(byId("allocation-order"), ORDERS);
  onDevices((devices) => options(byId("allocation-device"), [["", "all"], ...devices.map((d) => [d.deviceId, d.deviceId])]));
  again = keepFresh(refresh, { every: 10000, after: ["allocation.", "model."], least: 1000 });
  for (const id of ["allocation-device", "allocation-order"]) byId(id).addEventListener("change", () => turn(null));
  byId("allocation-label").addEventListener("input", () => turn(null));
  busy(byId("allocation-next"), () => turn(page.next));
  busy(byId("allocation-first"), () => turn(null));
}
