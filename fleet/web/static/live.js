// Keeps a page as it is known: one event stream, which rests while the page is hidden, for a browser has six
// connections to one server. Screens come as markup that the server has escaped.

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const said = document.getElementById("said");
const live = document.getElementById("live");
const eventsUrl = document.body.dataset.events;
const RECONNECT_GRACE = 3000; // milliseconds that a lost connection may take to come back before the page says so
const LONGEST_PRESS = 3000; // milliseconds for which a press may hold back what is drawn
const AFTER_PRESS = 50; // milliseconds after it in which its click comes
const CLOCKS_AGREE = 5000; // milliseconds
const STALL_AFTER = Number(document.body.dataset.keepalive) * 3000; // the server says more often than that that it lives
let source = null;
let openedAt = 0;
let lastId = "";
let lastEventAt = Date.now();
let lostAt = 0;
let endReason = "";
let wayOn = null; // from there: an address and a text
let stalled = false;
let refusal = ""; // why the server keeps this page up to date no more, in its words
let unavailable = [];
let heartbeat = ""; // the shown device's last one, in Unix seconds
let retryDelay = 500;
let pressedAt = -Infinity;
let held = () => {}; // draws what came while something was pressed
let holding = 0;

export const listeners = {}; // by the event's name: what else a screen does with it

function ago(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

// The times of a page are its server's: where this machine's clock is wrong, ages are counted by that one.
const ahead = Number(document.body.dataset.now) * 1000 - Date.now();
const serverTime = () => Date.now() + (Math.abs(ahead) > CLOCKS_AGREE ? ahead : 0);

// A click on what was replaced since it began would be lost.
export function whenReleased(draw) {
  held = draw;
  clearTimeout(holding);
  const left = pressedAt + LONGEST_PRESS - performance.now();
  if (left > 0) holding = setTimeout(drawHeld, left);
  else drawHeld();
}

function drawHeld() {
  const draw = held;
  held = () => {};
  draw();
}

addEventListener("pointerdown", () => {
  pressedAt = performance.now();
}, true);
for (const name of ["pointerup", "pointercancel"]) {
  addEventListener(name, () => {
    pressedAt = Math.min(pressedAt, performance.now() - LONGEST_PRESS + AFTER_PRESS);
    clearTimeout(holding);
    holding = setTimeout(drawHeld, AFTER_PRESS);
  }, true);
}

export function times(root) {
  for (const one of root.querySelectorAll("time")) {
    const at = one.dataset.at ? Number(one.dataset.at) * 1000 : Date.parse(one.dateTime);
    if (Number.isNaN(at)) continue;
    const now = serverTime();
    const past = ago((now - at) / 1000);
    const text = "duration" in one.dataset ? `for ${past}` : at - now > CLOCKS_AGREE ? `in ${ago((at - now) / 1000)}` : `${past} ago`;
    if (one.textContent !== text) one.textContent = text;
    if (!one.title) one.title = new Date(at).toLocaleString();
  }
}

function show(text) {
  const again = finder(document.activeElement);
  const scrolled = [...main.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
  main.innerHTML = text;
  [...main.querySelectorAll(".scroll")].forEach((one, number) => {
    if (scrolled[number]) [one.scrollLeft, one.scrollTop] = scrolled[number];
  });
  times(main);
  showHeartbeat();
  again()?.focus({ preventScroll: true });
}

function showHeartbeat() {
  // Of a device that is online; its screen is not made anew for it.
  const one = document.getElementById("heartbeat");
  if (!one) return;
  one.title = "";
  if (heartbeat) one.dataset.at = heartbeat;
  else delete one.dataset.at;
  one.textContent = one.dataset.otherwise;
  times(one.parentElement);
}

function finder(one) {
  // Finds it again in the screen's next markup: by what it is for, because its place is another one when something
  // comes before it. Of several the one with the same id counts, and so it does where nothing is for that any more.
  if (!one || one === main || !main.contains(one)) return () => null;
  const place = one.id && `#${CSS.escape(one.id)}`;
  const name = ["data-copy", "href", "aria-label"].find((each) => one.hasAttribute(each));
  const meant = name && `${one.tagName}[${name}="${CSS.escape(one.getAttribute(name))}"]`;
  const ways = [meant && place && meant + place, meant, place].filter(Boolean);
  return () => ways.map((way) => main.querySelector(way)).find(Boolean);
}

function isStalled() {
  return Boolean(source) && !lostAt && Date.now() - Math.max(lastEventAt, openedAt) > STALL_AFTER;
}

function messages(age, parts = unavailable) {
  // What does not work; `age` puts seconds into words.
  const all = parts.map((one) => `${one.name} ${one.standing}${age(" for", serverTime() / 1000 - one.since)}: ${one.why}`);
  const silent = (Date.now() - lastEventAt) / 1000;
  if (endReason) all.unshift(endReason);
  else if (refusal) all.unshift(`This page does not follow changes${age(" for", silent)}: ${refusal}`);
  else if (lostAt && Date.now() - lostAt > RECONNECT_GRACE) {
    all.unshift(`This page's server does not answer${age(": last news", silent, " ago")}`);
  } else if (stalled) {
    all.unshift(`No news has come${age(" for", silent)}: the connection is dead, or a proxy on the way holds it back. What is shown is as old as that`);
  }
  return all.join(". ");
}

function renderStatus() {
  const text = messages((before, seconds, after = "") => `${before} ${ago(seconds)}${after}`);
  // A screen reader says what is new, and not each second how old it is.
  const news = messages(() => "");
  if (said.textContent !== news) said.textContent = news;
  // What is old is not said in the present.
  document.body.classList.toggle("stale", Boolean(messages(() => "", unavailable.filter((one) => one.outdated))));
  if (banner.textContent !== text && !banner.querySelector("a")) banner.textContent = text;
  if (endReason && !banner.querySelector("a")) {
    const link = document.createElement("a");
    [link.href, link.textContent] = wayOn;
    banner.append(" ", link);
  }
  if (live) live.textContent = endReason ? "ended" : lostAt || stalled ? "reconnecting" : source ? `live, last news ${ago((Date.now() - lastEventAt) / 1000)} ago` : "resting";
}

function sessionEnded() {
  end("Your session has ended.", [`/sign-in?to=${encodeURIComponent(location.pathname + location.search)}`, "Sign in again"]);
}

function end(why, on) {
  endReason = why;
  wayOn = on;
  close();
  renderStatus();
}

function close() {
  source?.close();
  source = null;
}

async function refused() {
  // An EventSource does not tell what the server answered.
  const stop = new AbortController();
  try {
    const answer = await fetch(eventsUrl, { signal: stop.signal, headers: { accept: "text/event-stream" } });
    if (answer.status === 401) return sessionEnded();
    // The list that it stands in: "/devices/pi-1" does in "/devices".
    if (answer.status === 404) return end("This is no longer there.", [location.pathname.match(/^\/[^/]*/)[0], "Look at what is there"]);
    refusal = answer.status === 429 ? (await answer.text()).trim() : "";
  } catch {
    refusal = ""; // It is away: tried again below.
  } finally {
    stop.abort();
  }
  retryDelay = Math.min(retryDelay * 2, 10000);
  setTimeout(open, retryDelay);
}

function open() {
  if (source || endReason || document.hidden || !eventsUrl) return;
  const mark = eventsUrl.includes("?") ? "&" : "?";
  openedAt = Date.now();
  source = new EventSource(lastId ? `${eventsUrl}${mark}after=${encodeURIComponent(lastId)}` : eventsUrl);
  source.onopen = () => {
    lostAt = 0;
    refusal = "";
    retryDelay = 500;
    renderStatus();
  };
  source.onerror = () => {
    lostAt = lostAt || Date.now();
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      refused();
    }
    renderStatus();
  };
  const on = (name, act) =>
    source.addEventListener(name, (event) => {
      lastId = event.lastEventId;
      lastEventAt = Date.now();
      stalled = false;
      act(event.data);
      renderStatus();
    });
  on("screen", (text) => whenReleased(() => show(text)));
  on("keepalive", () => {});
  on("heartbeat", (at) => {
    heartbeat = at;
    showHeartbeat();
  });
  on("sources", (data) => {
    unavailable = JSON.parse(data);
  });
  on("end", sessionEnded);
  for (const [name, act] of Object.entries(listeners)) on(name, (data) => act(JSON.parse(data)));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) close();
  else open();
});
addEventListener("pagehide", close);
addEventListener("pageshow", (event) => {
  // Out of the browser's memory: somebody may have signed out since.
  if (event.persisted) location.reload();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected";
  }
  setTimeout(() => {
    button.textContent = "Copy";
  }, 10000);
});

times(document);
setInterval(() => {
  times(document);
  if (isStalled()) {
    // A connection can die without a word: another one may live.
    stalled = true;
    close();
    open();
  }
  renderStatus();
}, 1000);
// Once every module has run: that of the screen adds its listeners.
document.addEventListener("DOMContentLoaded", open);
