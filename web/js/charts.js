// What happened: use and fragmentation of a device over a window, to zoom by drawing across it (uPlot).
import { get, name } from "./api.js";
import { busy, byId, colour, make, mark, rem, say } from "./dom.js";
import { chooseDevice } from "./devices.js";
import { bytes, duration, percent } from "./format.js";
import { keepFresh } from "./refresh.js";

const WINDOWS = [["5m", "5 min", 300], ["1h", "1 h", 3600], ["24h", "24 h", 86400], ["7d", "7 d", 7 * 86400],
  ["30d", "30 d", 30 * 86400]]; // as the API says it, as a person does, in seconds
const POINTS = 500;
const LEAST_MS = 5000;
const MOST_MS = 600000;

let again;
let chosen = "1h";
let charts = [];

const isZoomed = () => charts.some((chart) => chart.zoomed);

const seconds = (time) => Date.parse(time) / 1000;

const axis = (more) => ({
  stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 },
  font: `${0.8 * rem()}px system-ui`, ...more,
});

/** Powers of two between grid lines, so that they read as GiB. */
const BINARY = Array.from({ length: 60 }, (_, i) => 2 ** i);

/** Seconds between grid lines along the time: whole ones, so that no label comes twice. */
const TIMES = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400];

/** How they are said, by the steps from which on; with the day below where it is another one (uPlot's form). */
const DAY = "\n{YYYY}-{MM}-{DD}";
const LABELS = [[86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
  ...[[3600, "{HH}:{mm}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]]
    .map(([step, time]) => [step, time, DAY, null, "\n{MM}-{DD}", null, null, null, 1])];

const curve = (label, variable, value, filled) => ({
  label, stroke: colour(variable), width: 2, value: (_, v) => value(v),
  fill: filled ? colour(`${variable}-soft`) : undefined, points: { show: false },
});

// The two charts: where, how high in rem, its curves, how a value is said, and the data of an answer.
const CHARTS = [
  {
    id: "history-chart", rems: 16, say: bytes, steps: BINARY,
    curves: () => [curve("used", "--used", bytes, true), curve("allocated", "--p-kv_cache", bytes)],
    data: ({ usage }) => [usage.samples.map((s) => seconds(s.time)), usage.samples.map((s) => s.usedBytes),
      usage.samples.map((s) => s.allocatedBytes)],
  },
  {
    id: "fragmentation-chart", rems: 9, say: percent, range: [0, 100],
    curves: () => [curve("fragmentation", "--moderate", percent)],
    data: ({ analytics }) => [analytics.fragmentation.map((s) => seconds(s.time)),
      analytics.fragmentation.map((s) => s.percent)],
  },
];

function onScale(chart) {
  const [times] = chart.data;
  const { min, max } = chart.scales.x;
  chart.zoomed = times.length > 1 && (min > times[0] || max < times.at(-1));
  byId("history-zoom").hidden = !chart.zoomed && !isZoomed();
}

function build(what, data) {
  const at = byId(what.id);
  const chart = new uPlot({
    width: Math.max(at.clientWidth, 200), height: what.rems * rem(),
    cursor: { sync: { key: "history" }, drag: { x: true, y: false } },
    scales: { y: { range: (_, low, high) => what.range ?? [0, Math.max(high, 1) * 1.08] } },
    series: [{}, ...what.curves()],
    axes: [
      axis({ size: 3.2 * rem(), space: 5.5 * rem(), incrs: TIMES, values: LABELS }),
      axis({ size: 5.2 * rem(), values: (_, values) => values.map(what.say), ...(what.steps ? { incrs: what.steps } : {}) }),
    ],
    hooks: { setScale: [(u, key) => key === "x" && onScale(u)] },
  }, data, at);
  return chart;
}

function drop() {
  charts.forEach((chart) => chart.destroy());
  charts = [];
  byId("history-zoom").hidden = true;
}

function sayFigures({ usage, analytics }) {
  const busiest = analytics.busiestHours.reduce((best, value, hour) =>
    value !== null && (best === null || value > analytics.busiestHours[best]) ? hour : best, null);
  const pressed = analytics.pressure.filter((p) => p.level !== "low" && p.seconds > 0)
    .map((p) => `${p.level} for ${duration(p.seconds)}`);
  say(byId("history-figures"), [`peak ${bytes(usage.peakBytes)}`, `average ${bytes(usage.averageBytes)}`,
    `95 % of the time below ${bytes(usage.p95Bytes)}`, busiest === null ? "" : `busiest at ${busiest} h UTC`,
    pressed.length ? `pressure ${pressed.join(", ")}` : "no pressure"].filter(Boolean).join(" · "));
}

async function load() {
  const device = byId("history-device").value;
  if (!device || isZoomed()) return;
  const window = chosen;
  const [usage, analytics] = await Promise.all([get(`usage/${name(device)}`, { window, points: POINTS }),
    get("analytics", { window })]);
  if (window !== chosen || device !== byId("history-device").value) return;
  const found = { usage: usage.devices?.[0] ?? usage, analytics: analytics.devices.find((d) => d.deviceId === device) };
  CHARTS.forEach((what, i) => {
    if (charts[i]) charts[i].setData(what.data(found));
    else charts[i] = build(what, what.data(found));
  });
  sayFigures(found);
}

/** Until there is another point. */
function rest() {
  const [, , length] = WINDOWS.find(([value]) => value === chosen);
  return Math.min(Math.max(length * 1000 / POINTS, LEAST_MS), MOST_MS);
}

function choose(window) {
  chosen = window;
  for (const button of byId("history-window").children) mark(button, "aria-pressed", String(button.value === window));
  restart();
}

/** Draws anew: another device, window or theme. */
export function restart() {
  drop();
  again();
}

export function start() {
  byId("history-window").append(...WINDOWS.map(([value, text]) =>
    make("button", { type: "button", value, "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text)));
  again = keepFresh(load, { every: rest, least: 200 });
  chooseDevice(byId("history-device"), again);
  byId("history-device").addEventListener("change", restart);
  busy(byId("history-zoom"), () => restart());
  new ResizeObserver(() => charts.forEach((chart, i) =>
    chart.setSize({ width: Math.max(byId(CHARTS[i].id).clientWidth, 200), height: CHARTS[i].rems * rem() })))
    .observe(byId("history-chart"));
}
