// Transfers of the last hour and jobs that run, with progress and an end by request.
import { get, name, post, remove } from "./api.js";
import { action, busy, byId, list, make, say } from "./dom.js";
import { devicesNow } from "./devices.js";
import { ago, bytes, duration, rate, words } from "./format.js";
import { keepFresh } from "./refresh.js";
import { ask, attempt, field } from "./talk.js";

const SHOWN = 20;
const RUNNING = ["pending", "in_progress", "running"];

let again;

const runs = (item) => RUNNING.includes(item.status);

const asJob = (job) => ({ id: job.jobId, title: words(job.kind), address: `jobs/${name(job.jobId)}`, ...job });

const asTransfer = (t) => ({
  id: t.transferId, address: `transfer/${name(t.transferId)}`, ...t,
  title: `${t.sourceDeviceId} → ${t.targetDeviceId}, ${bytes(t.sizeBytes)}`,
});

function facts(item) {
  if (runs(item)) {
    const left = item.estimatedCompletion && (Date.parse(item.estimatedCompletion) - Date.now()) / 1000;
    return [`${Math.round(item.progressPercent)} %`, item.bytesPerSecond && rate(item.bytesPerSecond),
      left > 0 && `${duration(left)} left`].filter(Boolean).join(" · ");
  }
  return [item.status, item.bytesPerSecond && rate(item.bytesPerSecond), item.path,
    item.verified && "verified", item.errorMessage, ago(item.completedAt)].filter(Boolean).join(" · ");
}

async function cancel(item) {
  await attempt(() => remove(item.address), "Cancelled");
  again();
}

function create() {
  const row = make("li", { class: "item" },
    make("div", { class: "words" }, make("strong"), make("progress", { max: 100 }), make("p", { class: "facts" })),
    action("Cancel", () => cancel(row.current)));
  return row;
}

function update(row, item) {
  row.current = item;
  const [{ children: [title, bar, said] }, button] = row.children;
  say(title, item.title);
  bar.hidden = button.hidden = !runs(item);
  bar.value = item.progressPercent ?? 0;
  say(said, facts(item));
  row.classList.toggle("bad", item.status === "failed");
}

async function refresh() {
  const newest = { limit: SHOWN, order: "desc" };
  const [{ transfers }, { jobs }] = await Promise.all([get("transfers", newest), get("jobs", newest)]);
  const all = [...transfers.map(asTransfer), ...jobs.filter((job) => job.kind !== "transfer").map(asJob)]
    .sort((a, b) => runs(b) - runs(a) || b.createdAt.localeCompare(a.createdAt)).slice(0, SHOWN);
  list(byId("work-list"), all, { key: (item) => item.id, create, update });
  byId("work-empty").hidden = all.length > 0;
  if (all.some(runs)) setTimeout(again, 500);
}

async function measure() {
  const devices = await devicesNow();
  if (!devices) return;
  const choice = (which, chosen) => make("select", { name: which }, ...devices.map((d, i) =>
    make("option", { value: d.deviceId, selected: i === chosen ? "" : null }, d.deviceId)));
  const given = await ask("Measure a transfer", "Measure",
    make("p", {}, "Moves bytes that belong to nobody, and says how fast it went."),
    field("From", choice("sourceDeviceId", 0)), field("To", choice("targetDeviceId", 1)),
    field("MiB", make("input", { name: "mib", type: "number", min: "1", value: "256", required: "" })));
  if (!given) return;
  const { sourceDeviceId, targetDeviceId, mib } = given;
  await attempt(() => post("transfer", { sourceDeviceId, targetDeviceId, sizeBytes: mib * 2 ** 20 }), "Started");
  again();
}

export function start() {
  again = keepFresh(refresh, { every: 10000, after: ["transfer.", "job.progress"], least: 300 });
  busy(byId("transfer-button"), measure);
}
