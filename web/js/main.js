// The page: its parts, the state of the connection, the token and the theme.
import * as advice from "./advice.js";
import * as allocations from "./allocations.js";
import { setToken, token } from "./api.js";
import * as charts from "./charts.js";
import * as devices from "./devices.js";
import { busy, byId, make, mark, say } from "./dom.js";
import * as events from "./events.js";
import * as map from "./map.js";
import * as models from "./models.js";
import * as refresh from "./refresh.js";
import { follow } from "./stream.js";
import { ask, field } from "./talk.js";
import * as work from "./work.js";
import * as workers from "./workers.js";

let asking = false;
let live = false; // the stream is read
let restart;

function sayLink(state, text) {
  say(byId("link"), text);
  byId("link").className = `connection ${state}`;
}

async function askToken(why) {
  if (asking) return;
  asking = true;
  const given = await ask("Token", "Use it", make("p", {}, why),
    field("Token", make("input", { name: "token", type: "password", autocomplete: "off", autofocus: "" }),
      "one of the daemon's configuration; kept in this tab until it is closed, empty: none"));
  asking = false;
  if (!given) return;
  setToken(given.token.trim());
  restart();
  refresh.all();
}

function onProblem(problem) {
  if (problem.status === 401) {
    sayLink("bad", "a token is needed");
    if (!document.querySelector("dialog[open]") && !token()) askToken(problem.message);
  } else if (problem.status) {
    sayLink("bad", problem.message);
  } else {
    sayLink("bad", "not reachable, trying again");
  }
}

function onEvent(event) {
  events.add(event);
  refresh.concern(event);
}

function onLive() {
  live = true;
  sayLink("good", "live");
  refresh.all();
}

function onLost(problem) {
  live = false;
  onProblem(problem);
}

/** A request that went wrong is said until one goes well again. */
function onTold(problem) {
  if (problem) onProblem(problem);
  else if (live) sayLink("good", "live");
}

function toggleTheme() {
  const dark = document.documentElement.dataset.theme !== "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  localStorage.setItem("memkeep-theme", dark ? "dark" : "light");
  mark(byId("theme-button"), "aria-pressed", String(dark));
  map.draw();
  charts.restart();
}

mark(byId("theme-button"), "aria-pressed", String(document.documentElement.dataset.theme === "dark"));
byId("theme-button").addEventListener("click", toggleTheme);
busy(byId("token-button"), () => askToken("The daemon asks for a token where its configuration has some."));
for (const part of [devices, advice, models, map, charts, allocations, work, workers, events]) part.start();
restart = follow(onEvent, onLive, onLost);
refresh.begin(onTold);
