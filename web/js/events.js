// What happens, newest first, while this page is open.
import { byId, make, mark, options } from "./dom.js";
import { bytes, clock } from "./format.js";

const KEPT = 200;
const DRAWN_MS = 200; // from one drawing to the next
const KINDS = [["", "all"], ["allocation.", "allocations"], ["model.", "models"], ["transfer.", "transfers"],
  ["job.", "jobs"], ["pressure.", "pressure"], ["worker.", "workers"], ["device.", "devices"]];
const LEFT_OUT = ["id", "time", "type", "correlationId"];

let kept = [];
let fresh = []; // came since the list was last drawn
let timer = 0;
let paused = false;

const text = (event) => Object.entries(event)
  .filter(([name, value]) => !LEFT_OUT.includes(name) && value !== null && typeof value !== "object")
  .map(([name, value]) => (name.endsWith("Bytes") ? bytes(value) : String(value))).join(" · ");

const row = (event) => make("li", {}, make("time", { datetime: event.time }, clock(event.time)),
  make("strong", {}, event.type), make("span", {}, text(event)));

const wanted = (event) => event.type.startsWith(byId("event-kind").value);

function draw() {
  fresh = [];
  byId("event-list").replaceChildren(...kept.filter(wanted).map(row));
}

function drawFresh() {
  timer = 0;
  const rows = byId("event-list");
  rows.prepend(...fresh.filter(wanted).reverse().slice(0, KEPT).map(row));
  while (rows.children.length > KEPT) rows.lastElementChild.remove();
  fresh = [];
}

/** A burst of events is drawn a few times a second. */
export function add(event) {
  kept.unshift(event);
  if (kept.length > KEPT) kept.length = KEPT;
  if (paused) return;
  fresh.push(event);
  timer ||= setTimeout(drawFresh, DRAWN_MS);
}

export function start() {
  options(byId("event-kind"), KINDS);
  byId("event-kind").addEventListener("change", draw);
  byId("event-pause").addEventListener("click", () => {
    paused = !paused;
    mark(byId("event-pause"), "aria-pressed", String(paused));
    if (!paused) draw();
  });
}
