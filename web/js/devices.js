// Devices: a bar of what the memory is used for, the limit, the pressure and when it will be full.
import { get } from "./api.js";
import { byId, list, make, mark, options, say } from "./dom.js";
import { bytes, duration, many, percent } from "./format.js";
import { keepFresh } from "./refresh.js";
import { attempt } from "./talk.js";

// What a device's bytes are split into, in the order of the bar; the rest is free.
const SPLIT = [
  ["used", (d) => d.committedBytes - d.cachedBytes],
  ["cached", (d) => d.cachedBytes],
  ["external", (d) => d.externalBytes ?? 0],
  ["reserved", (d) => d.limits.reservedBytes],
];

const listeners = [];
let trends = new Map();

/** Calls listener(devices) with each new state of the devices. */
export const onDevices = (listener) => listeners.push(listener);

/** The devices as they are now, for a dialog that lets one choose; null when they can't be had, which was said then. */
export async function devicesNow() {
  let devices = null;
  await attempt(async () => ({ devices } = await get("status")));
  return devices;
}

/** A select that always has the devices there are; calls first() once it has some. */
export function chooseDevice(select, first) {
  onDevices((devices) => {
    const none = !select.value;
    options(select, devices.map((d) => [d.deviceId, d.deviceId]));
    if (none) first();
  });
}

function forecast(device) {
  const trend = trends.get(device.deviceId);
  if (!trend?.direction) return "";
  const { timeToFullSeconds: full, timeToFullEarliestSeconds: earliest, timeToFullLatestSeconds: latest } = trend;
  if (full !== null) {
    const band = earliest === null ? "" : ` (${duration(earliest)} ${latest === null ? "or more" : `to ${duration(latest)}`})`;
    return `full in ${duration(full)}${band}`;
  }
  return trend.direction === "rising" ? "rising" : trend.direction === "falling" ? "falling" : "steady";
}

function create() {
  const bar = make("div", { class: "bar", role: "img" }, ...SPLIT.map(([kind]) => make("i", { class: `part ${kind}` })),
    make("i", { class: "limit" }));
  return make("article", { class: "card device" },
    make("header", {}, make("h3"), make("span", { class: "level" })),
    make("p", { class: "big" }), bar, make("dl", { class: "split" }), make("p", { class: "facts" }));
}

function fillBar(bar, device) {
  const parts = SPLIT.map(([, of]) => Math.max(0, of(device)));
  parts.forEach((part, i) => (bar.children[i].style.width = `${(100 * part) / device.totalBytes}%`));
  const { maxBytes } = device.limits;
  const limited = maxBytes !== null && maxBytes < device.totalBytes;
  bar.lastElementChild.hidden = !limited;
  if (limited) bar.lastElementChild.style.left = `${(100 * maxBytes) / device.totalBytes}%`;
  const said = SPLIT.map(([kind], i) => `${bytes(parts[i])} ${kind}`);
  if (limited) said.push(`limit ${bytes(maxBytes)}`);
  mark(bar, "aria-label", said.join(", "));
  mark(bar, "title", said.join("\n"));
}

function update(card, device) {
  const [header, big, bar, split, facts] = card.children;
  say(header.children[0], device.deviceId);
  mark(header.children[0], "title", [device.uuid, device.pciAddress, device.driver].filter(Boolean).join("\n"));
  const lost = device.health === "error";
  say(header.children[1], lost ? "does not answer" : device.pressure.level);
  header.children[1].className = `level ${lost ? "critical" : device.pressure.level}`;
  say(big, `${bytes(device.usedBytes)} of ${bytes(device.totalBytes)}`);
  fillBar(bar, device);
  list(split, SPLIT.map(([kind, of]) => [kind, bytes(of(device))]).concat([["free", bytes(device.availableBytes)]]), {
    key: ([kind]) => kind,
    create: ([kind]) => make("div", {}, make("dt", {}, kind), make("dd")),
    update: (pair, [, text]) => say(pair.lastElementChild, text),
  });
  const said = [device.name, percent(device.utilizationPercent), forecast(device),
    device.lingeringBytes ? `${bytes(device.lingeringBytes)} held by dead processes` : ""];
  say(facts, said.filter(Boolean).join(" · "));
}

function fillHost(host) {
  const { pressure, workers } = host;
  say(byId("host"), `${bytes(host.usedBytes)} of ${bytes(host.totalBytes)} · ${many(host.activeAllocations, "allocation")} · ` +
    `${workers.healthy} of ${workers.total} workers · pressure ${pressure.level}`);
}

async function load() {
  const host = await get("status");
  fillHost(host);
  list(byId("device-cards"), host.devices, { key: (d) => d.deviceId, create, update });
  listeners.forEach((listener) => listener(host.devices));
}

async function loadTrends() {
  const usage = await get("usage", { window: "15m", points: 1 });
  trends = new Map(usage.devices.map((device) => [device.deviceId, device.trend]));
}

export function start() {
  byId("split-legend").append(...SPLIT.map(([kind]) => make("li", {}, make("i", { class: `part ${kind}` }), kind)));
  keepFresh(load, { every: 2000, after: ["allocation.", "model.", "device.", "pressure.", "worker.", "transfer."] });
  keepFresh(loadTrends, { every: 10000 });
}
