// The event stream, read with fetch so that a token goes as a header. It comes back by itself; what happened meanwhile
// is not asked for, because everything is loaded anew then.
import { MEMORY, open } from "./api.js";

const RETRY_MS = 1000;
const SILENCE_MS = 40000; // a comment comes every 15 s

/** One event of the stream's text; null: a comment. */
function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  return fields.data ? { id: Number(fields.id), ...JSON.parse(fields.data) } : null;
}

async function read(response, alive, onEvent) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream ended");
    alive();
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    blocks.map(parse).filter(Boolean).forEach(onEvent);
  }
}

/** Reads until it ends, with a throw. */
async function once(abort, onEvent, onLive) {
  let timer;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => abort.abort(), SILENCE_MS);
  };
  try {
    alive();
    const response = await open(`${MEMORY}/events`, { signal: abort.signal });
    onLive();
    await read(response, alive, onEvent);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * For ever: calls onEvent for each event from now on, onLive() when it is read (again), onLost(problem) when it is not.
 * Returns restart(), for another token.
 */
export function follow(onEvent, onLive, onLost) {
  let abort, wake;
  (async () => {
    for (;;) {
      abort = new AbortController();
      await once(abort, onEvent, onLive).catch(onLost);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, RETRY_MS);
      });
    }
  })();
  return () => {
    abort?.abort();
    wake?.();
  };
}
