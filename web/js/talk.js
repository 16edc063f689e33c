// What the page says by itself and asks before it does something: toasts and the one dialog.
import { action, byId, make } from "./dom.js";

const TOAST_MS = 6000;
const TOASTS_MOST = 5;

export function toast(text, kind = "good") {
  const toasts = byId("toasts");
  const note = make("p", { class: `toast ${kind}` }, text, action("Close", () => note.remove(), { class: "plain" }));
  toasts.append(note);
  while (toasts.children.length > TOASTS_MOST) toasts.firstElementChild.remove();
  setTimeout(() => note.remove(), kind === "bad" ? 2 * TOAST_MS : TOAST_MS);
}

/** Runs what a button does; what goes wrong is said in the daemon's words. True: it went well. */
export async function attempt(run, done) {
  try {
    const result = await run();
    if (done) toast(typeof done === "function" ? done(result) : done);
    return true;
  } catch (problem) {
    toast(problem.message, "bad");
    return false;
  }
}

/**
 * Opens the dialog with a form: fields are elements with a name; resolves with their values, or null when it is
 * dismissed. `verb` is what the button says.
 */
export function ask(title, verb, ...content) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    let answer = null;
    const form = make("form", { method: "dialog", onsubmit: () => (answer = Object.fromEntries(new FormData(form))) },
      make("h2", { id: "dialog-title" }, title), ...content,
      make("footer", {}, make("button", { type: "button", class: "plain", onclick: () => dialog.close() }, "Cancel"),
        make("button", { type: "submit", class: "main" }, verb)));
    dialog.replaceChildren(form);
    dialog.onclose = () => resolve(answer);
    dialog.showModal();
  });
}

export const field = (text, input, hint) =>
  make("label", { class: "field" }, make("span", {}, text), input, hint ? make("small", {}, hint) : null);

/**
 * Does what may be refused because somebody holds the thing (409): then asks whether to force it. The daemon's refusal
 * is the question.
 */
export async function attemptForced(title, run, done) {
  try {
    toast(done(await run(false)));
    return;
  } catch (problem) {
    if (problem.status !== 409) return void toast(problem.message, "bad");
    if (!(await ask(title, "Do it all the same", make("p", {}, problem.message)))) return;
  }
  await attempt(() => run(true), done);
}
