// Elements. Everything shown goes through textContent, so that no label of anybody's is ever markup.

export const byId = (id) => document.getElementById(id);

/** make("td", {class: "number", title: "…"}, "text", child, …); a property "on…" is a listener. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties))
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "disabled" || name === "hidden" || name === "checked") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Changes the text only where it differs: a selection, and a screen reader, are left alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute only where it differs; null: none. */
export function mark(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Makes parent's children one for each item, in their order: those of before (same key) are kept and updated, so that
 * focus, hover and scroll stay where they are. create(item) makes an element, update(element, item) fills it in.
 */
export function list(parent, items, { key, create, update }) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let element = before.get(name);
    if (element) before.delete(name);
    else {
      element = create(item);
      element.dataset.key = name;
    }
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
    update(element, item);
  }
  for (const gone of before.values()) gone.remove();
}

/** The options of a select, [[value, text], …]; what was chosen stays chosen while it is there. */
export function options(select, pairs) {
  list(select, pairs, {
    key: ([value]) => value,
    create: ([value]) => make("option", { value }),
    update: (option, [, text]) => say(option, text),
  });
}

/** A button that is disabled while what it started runs. */
export function action(text, run, properties = {}) {
  const button = make("button", { type: "button", ...properties }, text);
  busy(button, run);
  return button;
}

export function busy(button, run) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // not `disabled`: that would lose the focus
    try {
      await run(button);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
}

/** A colour or other value of the style sheet, for what is drawn. */
export const colour = (variable) => getComputedStyle(document.documentElement).getPropertyValue(variable).trim();

/** The root's font size in pixels: what is drawn grows with the screen as the text does. */
export const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
