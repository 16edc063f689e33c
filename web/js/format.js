// Numbers as people read them. What is not known is a dash.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
export const UNKNOWN = "–";

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export const percent = (value) => (value === null || value === undefined ? UNKNOWN : `${value.toFixed(1)} %`);

export const rate = (value) => (value === null || value === undefined ? UNKNOWN : `${bytes(value)}/s`);

/** Seconds as the two largest units that matter: "3 h 20 min". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return seconds > 0 ? "< 1 s" : "0 s";
  const [name, size] = units[first];
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)} ${name}` + (rest ? ` ${rest} ${next[0]}` : "");
}

export function ago(time) {
  if (!time) return UNKNOWN;
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  return seconds < 2 ? "now" : `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour12: false });

export const words = (name) => name.replaceAll("_", " ");

export const many = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
