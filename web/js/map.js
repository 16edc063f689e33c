// The memory map of a device: its segments and the blocks in them, to hover, to walk along by keys and to open.
import { get, name, post } from "./api.js";
import { show } from "./allocations.js";
import { busy, byId, colour, list, make, rem, say } from "./dom.js";
import { chooseDevice } from "./devices.js";
import { bytes, many, words } from "./format.js";
import * as layouts from "./map_layout.js";
import { keepFresh } from "./refresh.js";
import { attempt } from "./talk.js";

const PAGES = 4; // of 1000 segments

let again;
let layout = layouts.lay([], 1, 1);
let figures = null;
let whole = true;
let chosen = null; // allocation id of the block that the keys are on
let over = null; // what the pointer is on

const canvas = () => byId("map-canvas");

/** All blocks in order, [{place, block}]. */
const blocksOf = () => layout.places.flatMap((place) => place.segment.blocks.map((block) => ({ place, block })));

function fill(context, rectangles, style) {
  context.fillStyle = style;
  for (const [x, y, width] of rectangles) context.fillRect(x, y, Math.max(width, 0.5), layout.line);
}

function outline(context, { place, block }) {
  context.strokeStyle = colour("--ink");
  context.lineWidth = 2;
  for (const [x, y, width] of layouts.pieces(layout, place, block.offsetBytes, block.sizeBytes))
    context.strokeRect(x, y + 1, Math.max(width, 2), layout.line - 2);
}

export function draw() {
  const context = canvas().getContext("2d");
  const scale = devicePixelRatio || 1;
  const height = layouts.height(layout);
  canvas().width = Math.round(layout.width * scale);
  canvas().height = Math.round(height * scale);
  canvas().style.height = `${height}px`;
  context.scale(scale, scale);
  const styles = new Map();
  for (const place of layout.places) {
    fill(context, layouts.pieces(layout, place), colour("--track"));
    for (const block of place.segment.blocks) {
      if (!styles.has(block.purpose)) styles.set(block.purpose, colour(`--p-${block.purpose}`) || colour("--accent"));
      fill(context, layouts.pieces(layout, place, block.offsetBytes, block.sizeBytes), styles.get(block.purpose));
    }
  }
  const marked = document.activeElement === canvas() && blocksOf().find(({ block }) => block.allocationId === chosen);
  if (marked) outline(context, marked);
  if (over?.block) outline(context, over);
  drawLegend([...styles.keys()]);
}

function drawLegend(purposes) {
  list(byId("map-legend"), [...purposes.sort(), "free"], {
    key: (purpose) => purpose,
    create: (purpose) => make("li", {}, make("i", { class: `purpose ${purpose}` }), words(purpose)),
    update: () => {},
  });
}

function describe(found) {
  if (!found) return "";
  const { segment } = found.place;
  const used = segment.sizeBytes ? Math.round((100 * segment.allocatedBytes) / segment.sizeBytes) : 0;
  const where = `${segment.type} segment ${segment.segmentId}, ${bytes(segment.sizeBytes)}, ${used} % used`;
  if (!found.block) return `free, in ${where}`;
  const { block } = found;
  const state = block.status === "active" ? "" : `, ${block.status}`;
  return `${words(block.purpose)}, ${bytes(block.sizeBytes)}${state} at ${bytes(block.offsetBytes)} of ${where}`;
}

function sayFigures() {
  if (!figures) return;
  const { holes, averageHoleBytes, largestFreeBytes, releasableBytes } = figures;
  say(byId("map-figures"), layout.places.length === 0 ? "This device holds no segment."
    : `${whole ? "" : "the first "}${many(layout.places.length, "segment")} · ` +
      (holes ? `holes: ${holes}, ${bytes(averageHoleBytes)} on average, the largest ${bytes(largestFreeBytes)}` : "no holes") +
      ` · ${bytes(releasableBytes)} could be given back by defragmenting`);
}

async function load() {
  const device = byId("map-device").value;
  if (!device) return;
  const segments = [];
  let cursor = null;
  for (let page = 0; page < PAGES && (page === 0 || cursor); page++) {
    const found = await get(`segments/${name(device)}`, { limit: 1000, cursor });
    segments.push(...found.segments);
    if (page === 0) figures = found.fragmentation;
    cursor = found.nextCursor;
  }
  whole = !cursor;
  place(segments);
}

function place(segments) {
  layout = layouts.lay(segments, Math.max(canvas().clientWidth, 100), 1.5 * rem());
  over = null;
  draw();
  sayFigures();
}

function onPointer(event) {
  const found = layouts.at(layout, event.offsetX, event.offsetY);
  if (found?.place === over?.place && found?.block === over?.block) return; // nothing to draw anew
  over = found;
  say(byId("map-says"), describe(over));
  canvas().style.cursor = over?.block ? "pointer" : "";
  draw();
}

function stepFrom(key, all, now) {
  if (key === "Home") return 0;
  if (key === "End") return all.length - 1;
  if (key === "ArrowRight") return now + 1;
  if (key === "ArrowLeft") return now - 1;
  const step = key === "ArrowDown" ? 1 : -1;
  let next = Math.max(now, 0);
  while (all[next + step] && all[next].place === all[now]?.place) next += step;
  return next;
}

function onKey(event) {
  const all = blocksOf();
  const now = all.findIndex(({ block }) => block.allocationId === chosen);
  if (event.key === "Enter" && now >= 0) return void show(chosen);
  if (!["Home", "End", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"].includes(event.key) || !all.length) return;
  event.preventDefault();
  const next = all[Math.min(Math.max(stepFrom(event.key, all, now), 0), all.length - 1)];
  chosen = next.block.allocationId;
  say(byId("map-says"), describe(next));
  draw();
}

/** What a clear brought: of the devices, and what workers had of their own. */
function cleared({ clearedBytes, workers = [] }) {
  const own = workers.reduce((sum, worker) => sum + worker.clearedBytes, 0);
  return `${bytes(clearedBytes)} given back${own ? `, and ${bytes(own)} of workers' own` : ""}`;
}

async function operate(operation, done) {
  await attempt(() => post(`operations/${operation}/${name(byId("map-device").value)}`), done);
  again();
}

export function start() {
  again = keepFresh(load, { every: 15000, after: ["allocation.", "model."], least: 1000 });
  chooseDevice(byId("map-device"), again);
  byId("map-device").addEventListener("change", again);
  canvas().addEventListener("pointermove", onPointer);
  canvas().addEventListener("pointerleave", () => ((over = null), draw()));
  canvas().addEventListener("click", () => over?.block && show(over.block.allocationId));
  canvas().addEventListener("keydown", onKey);
  canvas().addEventListener("focus", draw);
  canvas().addEventListener("blur", draw);
  new ResizeObserver(() => place(layout.places.map((p) => p.segment))).observe(canvas());
  busy(byId("clear-button"), () => operate("clear", cleared));
  busy(byId("defragment-button"), () => operate("defragment", (r) =>
    `${bytes(r.defragmentedBytes ?? 0)} moved, ${bytes(r.releasedBytes ?? 0)} given back`));
}
