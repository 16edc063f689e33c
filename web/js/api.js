// The API: a request, its answer or the problem as the daemon words it. A token is sent as a header and kept for this
// tab only.

const TOKEN = "memkeep-token";
export const MEMORY = "/api/memory";

export class Problem extends Error {
  /** status: of HTTP, 0: nobody answered; code: of the contract. */
  constructor(message, status, code) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const token = () => sessionStorage.getItem(TOKEN) ?? "";

export function setToken(value) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
}

export function headers(more = {}) {
  return token() ? { Authorization: `Bearer ${token()}`, ...more } : more;
}

async function problemOf(response) {
  const body = await response.json().catch(() => null);
  const error = body?.error;
  return new Problem(error?.message ?? `HTTP ${response.status}`, response.status, error?.code ?? null);
}

/** fetch, with what cannot be used as a Problem. */
export async function open(path, init = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...init, headers: headers(init.headers) });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Problem("memkeepd does not answer", 0, null);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** The data of an answer. */
export async function ask(method, path, body) {
  const init = { method };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const response = await open(path, init);
  try {
    return (await response.json()).data;
  } catch {
    throw new Problem("the answer was cut off", 0, null);
  }
}

export const get = (path, query = {}) => {
  const set = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return ask("GET", `${MEMORY}/${path}` + (set.length ? `?${new URLSearchParams(set)}` : ""));
};
export const post = (path, body = {}) => ask("POST", `${MEMORY}/${path}`, body);
export const patch = (path, body) => ask("PATCH", `${MEMORY}/${path}`, body);
export const remove = (path) => ask("DELETE", `${MEMORY}/${path}`);
export const name = encodeURIComponent;
