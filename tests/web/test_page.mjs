// The page as a whole: what it is served as, with tokens, through a restart, by keyboard alone, in both themes, small and large.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { close, open, screenshot } from "./browser.mjs";
import { MIB, start } from "./daemon.mjs";

after(close);

const state = (page, text) => page.locator("#link", { hasText: text }).waitFor();
const SECRET = "a-secret-of-the-test";
const TOKENS = `tokens = ( { name = "admin"; role = "admin"; secret = "${SECRET}"; } );`;

test("its files need no token, obey a strict policy, and are not sent twice", async (t) => {
  const daemon = await start(t, { config: TOKENS });
  for (const [path, type] of [["", "text/html"], ["js/main.js", "text/javascript"], ["css/base.css", "text/css"],
    ["vendor/uplot.js", "text/javascript"], ["favicon.svg", "image/svg+xml"]]) {
    const answer = await fetch(daemon.url + path);
    assert.equal(answer.status, 200, path);
    assert.ok(answer.headers.get("content-type").startsWith(type), path);
    assert.equal(answer.headers.get("content-security-policy"), "default-src 'self'; frame-ancestors 'none'");
    assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
    assert.ok((await answer.text()).length > 100);
    const again = await fetch(daemon.url + path, { headers: { "If-None-Match": answer.headers.get("etag") } });
    assert.deepEqual([again.status, await again.text()], [304, ""], path);
  }
  assert.match(await (await fetch(`${daemon.url}vendor/uplot.js`)).text(), /Permission is hereby granted/);
  for (const [method, path, status] of [["GET", "js/nothing.js", 404], ["GET", "js", 404], ["POST", "", 405]])
    assert.equal((await fetch(daemon.url + path, { method })).status, status, `${method} ${path}`);
});

test("with tokens it asks for one, and sends it as a header only", async (t) => {
  const daemon = await start(t, { config: TOKENS });
  daemon.token = SECRET;
  await daemon.allocate(64 * MIB);
  const page = await open(t, daemon, { live: false });
  const field = page.locator("dialog[open] [name=token]");
  await field.fill("wrong");
  await page.getByRole("button", { name: "Use it" }).click();
  await state(page, "a token is needed");
  await page.locator("#token-button").click();
  await screenshot(page, "token");
  await field.fill(SECRET);
  await field.press("Enter");
  await state(page, /^live$/);
  await page.locator(".device", { hasText: "64.0 MiB of" }).waitFor();
  assert.ok(!page.url().includes(SECRET));
  assert.deepEqual(await page.context().cookies(), []);
  assert.equal(await page.evaluate(() => JSON.stringify(localStorage)).then((text) => text.includes("secret")), false);
  await page.reload();
  await state(page, /^live$/); // this tab keeps it
});

test("it comes back by itself when the daemon was away", async (t) => {
  const daemon = await start(t);
  await daemon.allocate(64 * MIB, { persistent: true });
  const page = await open(t, daemon);
  await daemon.stop();
  await state(page, "not reachable");
  await daemon.start();
  await state(page, /^live$/);
  await page.locator(".device", { hasText: "64.0 MiB of" }).waitFor();
});

test("the keyboard is enough", async (t) => {
  const page = await open(t, await start(t));
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className);
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "skip");
  const met = new Set();
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press("Tab");
    met.add(await focused());
  }
  const all = await page.locator("main button[id]:visible, main select[id]:visible, main input[id]:visible, canvas[id]")
    .evaluateAll((elements) => elements.map((element) => element.id));
  assert.deepEqual(all.filter((id) => !met.has(id)), []);

  await page.locator("#load-button").focus();
  await page.keyboard.press("Enter");
  await page.locator("dialog[open]").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.name), "path");
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  assert.equal(await focused(), "load-button");
});

test("both themes, and the one that was chosen stays", async (t) => {
  const daemon = await start(t);
  const page = await open(t, daemon, { theme: "dark" });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "dark");
  await page.locator("#theme-button").click();
  assert.equal(await theme(), "light");
  await page.reload();
  await state(page, /^live$/);
  assert.equal(await theme(), "light");
});

for (const [name, width, height] of [["phone", 360, 740], ["tablet", 768, 1024], ["laptop", 1280, 800], ["uhd", 3840, 2160]])
  test(`nothing is cut off at ${width} pixels`, async (t) => {
    const daemon = await start(t);
    await daemon.allocate(700 * MIB, { purpose: "model_weights", label: "a label that is long ".repeat(10) });
    for (let i = 0; i < 40; i++) await daemon.allocate((i + 1) * 10000, { purpose: "kv_cache" }, "fake:0");
    for (let i = 0; i < 20; i++) {
      const path = daemon.writeModel(`${i}-a-name-that-is-long-${"q4_k_m".repeat(8)}.safetensors`, MIB);
      await daemon.post("models/load", { path, deviceId: "fake:0" });
    }
    for (const theme of ["light", "dark"]) {
      const page = await open(t, daemon, { width, height, theme });
      await page.locator("#allocation-rows tr").nth(19).waitFor();
      await page.locator("#history-chart canvas").waitFor();
      await page.locator("#model-rows tr").nth(19).waitFor();
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      // Twenty models scroll in their own place, and what can be done with them is seen.
      assert.ok((await page.locator("#models").boundingBox()).height < 900);
      for (const button of await page.locator("#model-rows tr:first-child button:visible, #allocation-rows tr:first-child .actions button").all()) {
        await button.scrollIntoViewIfNeeded();
        const hit = await button.evaluate((one) => {
          const { left, right, top, bottom } = one.getBoundingClientRect();
          return [left + 2, right - 2].map((x) => document.elementFromPoint(x, (top + bottom) / 2) === one);
        });
        assert.deepEqual(hit, [true, true], await button.textContent());
      }
      await screenshot(page, `${name}-${theme}`);
    }
  });
