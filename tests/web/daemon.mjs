// A daemon of one's own for a test, with FAKE cards, and its API in short.
//
//     const daemon = await start(test, { config: "…" });
//     await daemon.api("POST", "/api/memory/allocations/allocate/host:0", { sizeBytes: 4096 });
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, closeSync, ftruncateSync, writeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const BIN = process.env.MEMKEEP_BIN ?? join(dirname(fileURLToPath(import.meta.url)), "../../build/bin");
const PATIENCE_MS = 60000;
export const MIB = 2 ** 20;

/** Asks until what it answers is true, and returns it. */
export async function until(condition, what) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

class Daemon {
  constructor(flags, config) {
    this.folder = mkdtempSync(join(tmpdir(), "memkeep-web-"));
    this.models = join(this.folder, "models");
    for (const name of ["run", "state", "models"]) mkdirSync(join(this.folder, name), { mode: 0o700 });
    this.runtime = join(this.folder, "run");
    this.port = 0;
    this.token = null;
    this.flags = [...flags];
    if (config) {
      writeFileSync(join(this.folder, "memkeepd.conf"), config, { mode: 0o600 });
      this.flags.push("--config", join(this.folder, "memkeepd.conf"));
    }
  }

  get url() {
    return `http://127.0.0.1:${this.port}/`;
  }

  async start() {
    rmSync(join(this.runtime, "memkeepd.json"), { force: true });
    const log = openSync(join(this.folder, "stderr"), "a");
    this.process = spawn(join(BIN, "memkeepd"), ["--runtime-dir", this.runtime, "--state-dir", join(this.folder, "state"),
      "--no-gpu", "--listen", `127.0.0.1:${this.port}`, "--model-dir", this.models, "--device", "host:0=2GiB",
      "--device", "fake:0=1GiB", ...this.flags], { stdio: ["ignore", log, log] });
    closeSync(log);
    this.ended = new Promise((resolve) => this.process.once("exit", resolve));
    const facts = await until(() => {
      if (this.process.exitCode !== null) throw new Error(`memkeepd ended\n${this.log()}`);
      try {
        return JSON.parse(readFileSync(join(this.runtime, "memkeepd.json")));
      } catch {
        return null;
      }
    }, "memkeepd.json");
    this.port = facts.port;
    return this;
  }

  async stop() {
    this.process.kill("SIGTERM");
    const code = await this.ended;
    if (code !== 0 || /Sanitizer|runtime error:/.test(this.log())) throw new Error(`memkeepd ended with ${code}\n${this.log()}`);
  }

  async remove() {
    try {
      await this.stop();
    } finally {
      spawnSync(join(BIN, "memkeep-vault"), ["--runtime-dir", this.runtime, "--release-all"]);
      rmSync(this.folder, { recursive: true, force: true });
    }
  }

  log() {
    return readFileSync(join(this.folder, "stderr"), "utf8");
  }

  /** The data of an answer; a refusal throws. */
  async api(method, path, body) {
    const headers = { "Content-Type": "application/json", ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}) };
    const answer = await fetch(this.url + path.slice(1), { method, headers, body: body && JSON.stringify(body) });
    const said = await answer.json();
    if (!said.success) throw new Error(`${method} ${path}: ${answer.status} ${said.error.message}`);
    return said.data;
  }

  get = (path) => this.api("GET", `/api/memory/${path}`);
  post = (path, body = {}) => this.api("POST", `/api/memory/${path}`, body);

  allocate = async (sizeBytes, more = {}, device = "host:0") =>
    (await this.post(`allocations/allocate/${device}`, { sizeBytes, ...more })).allocation;

  /** The worker that moves bytes, once it is ready. */
  mover = () => until(async () => (await this.get("workers")).workers.find((w) => w.state === "ready"), "a worker");

  /** A safetensors file with one tensor of zeros, most of it a hole. */
  writeModel(name, size) {
    const header = Buffer.from(JSON.stringify({ [name]: { dtype: "U8", shape: [size], data_offsets: [0, size] } }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    const path = join(this.models, name);
    const file = openSync(path, "w");
    writeSync(file, Buffer.concat([length, header]));
    ftruncateSync(file, 8 + header.length + size);
    closeSync(file);
    return path;
  }
}

/** A running daemon that ends with the test, cleanly. */
export async function start(test, { flags = [], config } = {}) {
  const daemon = new Daemon(flags, config);
  test.after(() => daemon.remove());
  return daemon.start();
}
