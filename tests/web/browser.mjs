// Debian's Chromium for tests, and what every page of them is held to: no error, no message of the console, nothing from
// another host, and a note of which buttons were clicked.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";

const SCREENSHOTS = join(process.env.MEMKEEP_BUILD ?? "build", "screenshots");
const PATIENCE_MS = 60000;

let browser;

/** A page on the daemon, loaded and live; closed with the test. `faults` collects what must not be. With `clock` its time
 * passes as page.clock says, too. */
export async function open(test, daemon, { width = 1280, height = 900, theme = "light", live = true, clock = false } = {}) {
  browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(error.stack));
  page.on("console", (message) => {
    // The browser itself tells of answers that are refusals; the page says them where the user looks.
    if (!message.text().startsWith("Failed to load resource")) page.faults.push(message.text());
  });
  page.on("request", (request) => request.url().startsWith(daemon.url) || page.faults.push(request.url()));
  await page.exposeFunction("noteClick", (button) => clicked.add(button));
  await page.addInitScript(() => addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (button) window.noteClick(button.id || button.textContent);
  }, true));
  test.after(async () => {
    await context.close();
    if (page.faults.length) throw new Error(page.faults.join("\n"));
  });
  if (clock) await page.clock.install();
  await page.goto(daemon.url);
  if (live) await page.locator("#link", { hasText: /^live$/ }).waitFor();
  return page;
}

/** Ids, or else words, of all buttons that were clicked so far. */
export const clicked = new Set();

/** Kept under build/, for who wants to look. */
export async function screenshot(page, name) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}

export const close = () => browser?.close();
