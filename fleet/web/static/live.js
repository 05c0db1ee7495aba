// Keeps a page as it is known: one event stream, which rests while the page is hidden, for a browser has six
// connections to one server. Screens come as markup that the server has escaped.

const main = document.getElementById("main");
const banner = document.getElementById("banner");
const live = document.getElementById("live");
const eventsUrl = document.body.dataset.events;
const RECONNECT_GRACE = 3000; // milliseconds that a lost connection may take to come back before the page says so
const STALL_AFTER = Number(document.body.dataset.keepalive) * 3000; // the server says more often than that that it lives
let source = null;
let openedAt = 0;
let lastId = "";
let lastEventAt = Date.now();
let lostAt = 0;
let endReason = "";
let stalled = false;
let unavailable = [];
let retryDelay = 500;

export const listeners = {}; // by the event's name: what else a screen does with it

function ago(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

export function times(root) {
  for (const one of root.querySelectorAll("time")) {
    const at = one.dataset.at ? Number(one.dataset.at) * 1000 : Date.parse(one.dateTime);
    if (Number.isNaN(at)) continue;
    const past = ago((Date.now() - at) / 1000);
    const text = "duration" in one.dataset ? `for ${past}` : at > Date.now() ? `in ${ago((at - Date.now()) / 1000)}` : `${past} ago`;
    if (one.textContent !== text) one.textContent = text;
    if (!one.title) one.title = new Date(at).toLocaleString();
  }
}

function show(text) {
  const focused = document.activeElement && main.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = [...main.querySelectorAll(".scroll")].map((one) => [one.scrollLeft, one.scrollTop]);
  main.innerHTML = text;
  [...main.querySelectorAll(".scroll")].forEach((one, number) => {
    if (scrolled[number]) [one.scrollLeft, one.scrollTop] = scrolled[number];
  });
  times(main);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function isStalled() {
  return Boolean(source) && !lostAt && Date.now() - Math.max(lastEventAt, openedAt) > STALL_AFTER;
}

function renderStatus() {
  const messages = unavailable.map((one) => `${one.name} does not answer for ${ago(Date.now() / 1000 - one.since)}: ${one.why}`);
  if (endReason) messages.unshift(endReason);
  else if (lostAt && Date.now() - lostAt > RECONNECT_GRACE) {
    messages.unshift(`This page's server does not answer: last news ${ago((Date.now() - lastEventAt) / 1000)} ago`);
  } else if (stalled) {
    messages.unshift(`No news has come for ${ago((Date.now() - lastEventAt) / 1000)}: the connection is dead, or a proxy on the way holds it back. What is shown is as old as that`);
  }
  const text = messages.join(". ");
  if (banner.textContent !== text && !banner.querySelector("a")) banner.textContent = text;
  if (endReason && !banner.querySelector("a")) {
    const link = document.createElement("a");
    link.href = `/sign-in?to=${encodeURIComponent(location.pathname + location.search)}`;
    link.textContent = "Sign in again";
    banner.append(" ", link);
  }
  if (live) live.textContent = endReason ? "ended" : lostAt || stalled ? "reconnecting" : source ? `live, last news ${ago((Date.now() - lastEventAt) / 1000)} ago` : "resting";
}

function end(why) {
  endReason = why;
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
    if (answer.status === 401) return end("Your session has ended.");
    if (answer.status === 404) return end("This is no longer there.");
    if (answer.status === 429) {
      unavailable = [{ name: "Live news", why: (await answer.text()).trim(), since: lostAt / 1000 }];
    }
  } catch {
    // It is away: tried again below.
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
  on("screen", show);
  on("keepalive", () => {});
  on("sources", (data) => {
    unavailable = JSON.parse(data);
  });
  on("end", () => end("Your session has ended."));
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
