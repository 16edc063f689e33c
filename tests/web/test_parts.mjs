// Every button of the dashboard is clicked, and the effect seen through the API.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { clicked, close, open, screenshot } from "./browser.mjs";
import { MIB, start, until } from "./daemon.mjs";

after(close);

const row = (page, body, text) => page.locator(`#${body} tr`, { hasText: text });
const dialog = (page, verb) => page.locator("dialog[open]").getByRole("button", { name: verb, exact: true });
const toast = (page, text) => page.locator(".toast", { hasText: text }).first().waitFor();
const gone = (daemon, allocation) => until(async () =>
  !(await daemon.get("allocations?limit=1000")).allocations.some((a) => a.allocationId === allocation.allocationId),
"the allocation is gone");

test("devices are as the API says, and follow it", async (t) => {
  const daemon = await start(t);
  await daemon.api("PUT", "/api/memory/limits/host:0", { maxBytes: 1024 * MIB, reservedBytes: 64 * MIB });
  const page = await open(t, daemon);
  const card = page.locator(".device", { hasText: "host:0" });
  await card.getByText("0 B of 2.0 GiB").waitFor();
  const allocation = await daemon.allocate(512 * MIB);
  await card.getByText("512 MiB of 2.0 GiB").waitFor();
  const bar = await card.locator(".bar").getAttribute("aria-label");
  assert.match(bar, /512 MiB used.*64.0 MiB reserved.*limit 1.0 GiB/);
  assert.equal(await card.locator(".part.used").evaluate((part) => part.style.width), "25%");
  await page.locator("#host", { hasText: "1 allocation " }).waitFor();
  await daemon.api("DELETE", `/api/memory/allocations/${allocation.allocationId}`);
  await card.getByText("0 B of 2.0 GiB").waitFor();
});

test("allocations are listed, looked at, filtered, turned over and freed", async (t) => {
  const daemon = await start(t);
  const hostile = "<img src=x onerror=window.hacked=1>";
  const allocation = await daemon.allocate(300 * MIB, { label: hostile, purpose: "kv_cache" });
  const kept = await daemon.allocate(200 * MIB, { label: "kept", persistent: true });
  for (let i = 0; i < 25; i++) await daemon.allocate(MIB, { label: "many" }, "fake:0");
  const page = await open(t, daemon);
  await row(page, "allocation-rows", hostile).waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined, "a label became markup");
  await page.locator("#allocation-total", { hasText: "27 allocations" }).waitFor();

  await page.locator("#allocation-next").click();
  await page.locator("#allocation-rows tr").nth(7).waitFor({ state: "detached" });
  await page.locator("#allocation-first").click();
  await row(page, "allocation-rows", hostile).waitFor();

  await page.locator("#allocation-device").selectOption("fake:0");
  await row(page, "allocation-rows", hostile).waitFor({ state: "detached" });
  await page.locator("#allocation-device").selectOption("");
  await page.locator("#allocation-label").fill("kept");
  await page.locator("#allocation-rows tr").nth(1).waitFor({ state: "detached" });
  await page.locator("#allocation-label").fill("");
  await page.locator("#allocation-order").selectOption("createdAt asc");
  await row(page, "allocation-rows", hostile).waitFor();

  await row(page, "allocation-rows", hostile).getByRole("button", { name: allocation.allocationId }).click();
  await page.locator("dialog[open]", { hasText: "kv cache" }).waitFor();
  await screenshot(page, "allocation");
  await dialog(page, "Free…").click();
  await dialog(page, "Free").click();
  await gone(daemon, allocation);
  await row(page, "allocation-rows", hostile).waitFor({ state: "detached" });

  await row(page, "allocation-rows", "kept").getByRole("button", { name: "Free…" }).click();
  await dialog(page, "Cancel").click();
  await daemon.get(`allocation/${kept.allocationId}`);
  await row(page, "allocation-rows", "kept").getByRole("button", { name: "Free…" }).click();
  await dialog(page, "Free").click();
  await page.locator("dialog[open]", { hasText: "persistent" }).waitFor();
  await dialog(page, "Do it all the same").click();
  await gone(daemon, kept);
});

test("a model is loaded, pinned, put first, parked, brought back and unloaded", async (t) => {
  const daemon = await start(t);
  const path = daemon.writeModel("small.safetensors", 24 * MIB);
  await daemon.mover();
  const page = await open(t, daemon);
  const model = async () => (await daemon.get("models")).models[0];
  const is = (fields) => until(async () => {
    const found = await model();
    return found && Object.entries(fields).every(([name, value]) => found[name] === value);
  }, JSON.stringify(fields));

  await page.locator("#load-button").click();
  await page.locator("dialog[open] [name=path]").fill("/nowhere/at/all");
  await dialog(page, "Load").click();
  await page.locator(".toast.bad").first().waitFor();
  await page.locator(".toast.bad").first().getByRole("button", { name: "Close" }).click();
  await page.locator(".toast.bad").first().waitFor({ state: "detached" });

  await page.locator("#load-button").click();
  await page.locator("dialog[open] [name=path]").fill(path);
  await page.locator("dialog[open] [name=deviceId]").selectOption("fake:0");
  await screenshot(page, "load");
  await dialog(page, "Load").click();
  await is({ state: "ready", residency: "device", deviceId: "fake:0" });

  const its = row(page, "model-rows", "small.safetensors");
  await its.getByText("on fake:0").waitFor();
  await its.getByRole("button", { name: "Pin", exact: true }).click();
  await is({ pinned: true });
  await its.getByRole("button", { name: "Unpin" }).click();
  await is({ pinned: false });
  await its.getByRole("combobox").selectOption("high");
  await is({ priority: "high" });
  await its.getByRole("button", { name: "Park" }).click();
  await is({ residency: "ram", state: "parked" });
  await its.getByText("in RAM").waitFor();
  await its.getByRole("button", { name: "Load", exact: true }).click();
  await is({ residency: "device", state: "ready" });
  await its.getByRole("button", { name: "Unload" }).click();
  await is({ residency: "disk" });
  await its.getByText("on disk").waitFor();
});

test("the map shows blocks to pointer and keys, and gives memory back", async (t) => {
  const daemon = await start(t);
  const large = await daemon.allocate(256 * MIB, { purpose: "activations" });
  const small = [];
  for (let i = 0; i < 300; i++) small.push(await daemon.allocate(MIB / 2, { purpose: "kv_cache" }));
  const page = await open(t, daemon);
  await page.locator("#map-figures", { hasText: "segment" }).waitFor();

  const canvas = page.locator("#map-canvas");
  await canvas.hover({ position: { x: 40, y: 5 } });
  await page.locator("#map-says", { hasText: "activations, 256 MiB" }).waitFor();
  await screenshot(page, "map");
  await canvas.click({ position: { x: 40, y: 5 } });
  await page.locator("dialog[open]", { hasText: large.allocationId }).waitFor();
  await dialog(page, "Cancel").click();

  await canvas.focus();
  for (const key of ["End", "Home", "ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]) await page.keyboard.press(key);
  await page.locator("#map-says", { hasText: "activations, 256 MiB" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]", { hasText: large.allocationId }).waitFor();
  await page.keyboard.press("Escape");

  await daemon.mover();
  for (const [i, block] of small.entries())
    if (i % 2) await daemon.api("DELETE", `/api/memory/allocations/${block.allocationId}`);
  const segments = (await daemon.get("status/host:0")).segments;
  await page.locator("#defragment-button").click();
  await toast(page, "given back");
  await until(async () => (await daemon.get("status/host:0")).segments < segments, "fewer segments");

  for (const [i, block] of small.entries())
    if (i % 2 === 0) await daemon.api("DELETE", `/api/memory/allocations/${block.allocationId}`);
  assert.ok((await daemon.get("status/host:0")).cachedBytes > 0);
  await page.locator("#clear-button").click();
  await until(async () => (await daemon.get("status/host:0")).cachedBytes === 0, "no cached bytes");

  await page.locator("#map-device").selectOption("fake:0");
  await page.locator("#map-figures", { hasText: "no segment" }).waitFor();
});

test("a clear says what workers gave", async (t) => {
  const worker = fileURLToPath(new URL("../../examples/worker.py", import.meta.url));
  const daemon = await start(t, { flags: ["--worker", `example=python3 ${worker}`] });
  await until(async () => (await daemon.get("workers")).workers.some((w) => w.workerId === "example" && w.state === "ready"), "it");
  const page = await open(t, daemon);
  await page.locator("#clear-button").click();
  await toast(page, "4.0 MiB of workers' own");
});

test("advice is followed, one by one and at once", async (t) => {
  const daemon = await start(t);
  const page = await open(t, daemon);
  await page.locator("#advice-empty").waitFor();
  const cache = async () => {
    const blocks = [];
    for (let i = 0; i < 400; i++) blocks.push(await daemon.allocate(MIB / 2));
    for (const block of blocks) await daemon.api("DELETE", `/api/memory/allocations/${block.allocationId}`);
    await until(async () => (await daemon.get("optimization")).recommendations.some((r) => r.id.startsWith("drain")), "advice");
  };
  const drained = () => until(async () => (await daemon.get("status/host:0")).cachedBytes === 0, "no cached bytes");
  const advice = page.locator("#advice-list li", { hasText: "host:0" }).filter({ hasText: /MiB/ });

  // On a machine that stalls for memory the daemon gives caches back by itself: then anew.
  const shown = async () => {
    for (let tries = 0; tries < 4; tries++) {
      await cache();
      if (await advice.first().waitFor({ timeout: 15000 }).then(() => true, () => false)) return;
    }
    throw new Error("no advice is shown");
  };

  await shown();
  await screenshot(page, "advice");
  await advice.first().getByRole("button", { name: "Do it" }).click();
  await toast(page, "Done");
  await drained();
  await shown();
  await page.locator("#optimize").click();
  await drained();
});

test("a transfer is measured, seen and cancelled", async (t) => {
  const daemon = await start(t);
  const worker = await daemon.mover();
  const page = await open(t, daemon);
  const transfers = async () => (await daemon.get("transfers")).transfers;
  const measure = async (mib) => {
    await page.locator("#transfer-button").click();
    await page.locator("dialog[open] [name=mib]").fill(String(mib));
    await dialog(page, "Measure").click();
  };
  await measure(64);
  await until(async () => (await transfers())[0]?.status === "completed", "a transfer");
  await page.locator("#work-list li", { hasText: "completed" }).waitFor();

  process.kill(worker.pid, "SIGSTOP"); // so that the next one is still there to be cancelled; the daemon ends what hangs
  await measure(32);
  const its = page.locator("#work-list li", { hasText: "32.0 MiB" });
  await its.getByRole("button", { name: "Cancel" }).click();
  await toast(page, "Cancelled");
  await until(async () => (await transfers()).some((one) => one.status === "cancelled"), "a cancelled one");
});

test("a transfer is asked for before the page has heard of any device", async (t) => {
  const daemon = await start(t);
  await daemon.mover();
  const page = await open(t, daemon);
  const held = [];
  let hold = true;
  await page.route("**/api/memory/status", (route) => (hold ? held.push(route) : route.continue()));
  await page.reload();
  await page.locator("#transfer-button").click();
  await until(() => held.length > 0, "a page that waits for its devices");
  hold = false;
  held.forEach((route) => route.continue());
  await dialog(page, "Measure").click();
  await until(async () => (await daemon.get("transfers")).transfers[0]?.status === "completed", "a transfer");
});

test("history is drawn, in other windows, and zoomed", async (t) => {
  const daemon = await start(t);
  await daemon.allocate(400 * MIB);
  const page = await open(t, daemon);
  const chart = page.locator("#history-chart .u-over");
  await chart.waitFor();
  await page.locator("#history-figures", { hasText: "peak" }).waitFor();
  for (const window of ["5 min", "24 h", "7 d", "30 d", "1 h"]) {
    await page.locator("#history-window").getByRole("button", { name: window, exact: true }).click();
    await chart.waitFor();
  }
  await until(async () => (await daemon.get("usage/host:0?window=1h")).devices?.[0].samples.length > 3, "some samples");
  await page.locator("#history-device").selectOption("fake:0");
  await page.locator("#history-device").selectOption("host:0");
  await until(() => page.evaluate(() => document.querySelectorAll("#history-chart canvas").length === 1), "one chart");
  const box = await chart.boundingBox();
  await until(async () => {
    await page.mouse.move(box.x + box.width * 0.3, box.y + 40);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 40, { steps: 5 });
    await page.mouse.up();
    return page.locator("#history-zoom").isVisible();
  }, "a zoomed chart");
  await page.locator("#history-zoom").click();
  await page.locator("#history-zoom").waitFor({ state: "hidden" });
});

test("history is asked for again when there is another point to see", async (t) => {
  const daemon = await start(t);
  const page = await open(t, daemon, { clock: true });
  const asked = { "5m": 0, "30d": 0 };
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (decodeURIComponent(url.pathname).endsWith("/usage/host:0")) asked[url.searchParams.get("window")]++;
  });
  const choose = async (words, window) => {
    await page.locator("#history-window").getByRole("button", { name: words, exact: true }).click();
    await until(async () => (await page.clock.runFor(500), asked[window] > 0), `${window} to be asked for`);
  };
  const pass = async () => { // ten seconds: whatever else is on the page is asked for meanwhile
    const trends = page.waitForResponse((answer) => answer.url().includes("window=15m"));
    await page.clock.runFor(10000);
    await trends;
  };
  await choose("30 d", "30d");
  for (let i = 0; i < 3; i++) await pass();
  assert.equal(asked["30d"], 1);
  await choose("5 min", "5m");
  await until(async () => (await pass(), asked["5m"] > 2), "the short window to be asked for again");
});

test("a worker is restarted", async (t) => {
  const daemon = await start(t);
  const before = await daemon.mover();
  const page = await open(t, daemon);
  await row(page, "worker-rows", before.workerId).getByRole("button", { name: "Restart…" }).click();
  await dialog(page, "Restart").click();
  const after = await until(async () => {
    const now = (await daemon.get("workers")).workers[0];
    return now.state === "ready" && now.pid !== before.pid && now;
  }, "another process");
  await row(page, "worker-rows", String(after.pid)).waitFor();
});

test("events appear, are filtered and held still", async (t) => {
  const daemon = await start(t);
  const page = await open(t, daemon);
  const allocation = await daemon.allocate(MIB);
  const events = page.locator("#event-list li");
  await events.filter({ hasText: allocation.allocationId }).waitFor();
  await page.locator("#event-kind").selectOption("model.");
  await events.first().waitFor({ state: "detached" });
  await page.locator("#event-kind").selectOption("");
  await events.first().waitFor();
  await page.locator("#event-pause").click();
  const second = await daemon.allocate(2 * MIB);
  await row(page, "allocation-rows", second.allocationId).waitFor(); // so the page has had the event
  assert.equal(await events.filter({ hasText: second.allocationId }).count(), 0);
  await page.locator("#event-pause").click();
  await events.filter({ hasText: second.allocationId }).waitFor();
});

test("every button was clicked", async (t) => {
  const page = await open(t, await start(t));
  const all = await page.locator("button[id]").evaluateAll((buttons) => buttons.map((button) => button.id));
  const elsewhere = ["token-button", "theme-button"]; // test_page.mjs
  assert.deepEqual(all.filter((id) => !clicked.has(id) && !elsewhere.includes(id)), []);
  const words = ["Load", "Park", "Unload", "Pin", "Unpin", "Free…", "Restart…", "Do it", "Cancel", "Close"];
  assert.deepEqual(words.filter((word) => !clicked.has(word)), []);
});
