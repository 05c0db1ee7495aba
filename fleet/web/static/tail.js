// The tail: lines as they come, at most so many in the document; reading further up holds it.

import { listeners } from "/static/live.js";

const MAX_LINES = 1000; // lines in the document
const SOURCE = 2; // where in a line the texts begin, after its number and time
const scroll = document.getElementById("scroll");
const list = document.getElementById("lines");
const q = document.getElementById("q");
const pause = document.getElementById("pause");
const count = document.getElementById("count");
let recent = []; // the newest lines, whatever the filter shows
let paused = false; // by the button
let came = 0; // lines since the page was opened
let unseen = 0; // lines that the filter shows, and that came while it was paused
let dropped = 0;
let waiting = []; // lines that came and are not drawn yet
let timer = 0;
let drawTime = 0; // milliseconds that the last drawing took
const none = document.getElementById("none");
// With the day: a line may be days old. One for all: each costs more than a line.
const clock = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;

function item(line) {
  const li = document.createElement("li");
  if (line.dropped) {
    li.className = "dropped";
    li.textContent = `dropped ${line.dropped}: more changed than this page was shown`;
  } else {
    const [, at, source, device, text] = line;
    li.textContent = [clock.format(at * 1000), source, device, text].filter(Boolean).join("  ");
  }
  return li;
}

function matches(line) {
  const text = line.slice(SOURCE).join(" ").toLowerCase();
  return q.value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

const shows = (line) => line.dropped || matches(line);

function tell() {
  const kept = recent.filter((line) => !line.dropped);
  const all = `${kept.length} ${kept.length === 1 ? "change" : "changes"}`;
  const older = came > kept.length ? ` (${came - kept.length} older ones are not kept)` : "";
  const found = q.value.trim() ? kept.filter(matches).length : kept.length;
  const parts = [`${q.value.trim() ? `${found} of ` : ""}${all}${older}`];
  if (dropped) parts.push(`${dropped} dropped`);
  if (paused || unseen) parts.push("paused");
  if (unseen) parts.push(`${unseen} new`);
  count.textContent = parts.join(", ");
  none.hidden = found > 0 || !kept.length;
}

function draw() {
  waiting = [];
  list.replaceChildren(...recent.filter(shows).map(item));
  scroll.scrollTop = scroll.scrollHeight;
  unseen = 0;
  tell();
}

listeners.lines = ({ lines, dropped: omitted }) => {
  const news = omitted ? [{ dropped: omitted }, ...lines] : lines;
  dropped += omitted;
  came += lines.length;
  recent = recent.concat(news).slice(-MAX_LINES);
  if (paused || !atEnd()) return hold(lines);
  waiting = waiting.concat(news).slice(-MAX_LINES);
  // Drawing takes a fifth of the time at most, so that buttons answer however much comes and however slow the machine.
  timer ||= setTimeout(add, Math.min(drawTime * 4, 2000));
};

function hold(lines) {
  unseen += lines.filter((line) => !line.dropped && matches(line)).length;
  tell();
}

function add() {
  timer = 0;
  if (!waiting.length) return;
  if (paused || !atEnd()) {
    // Since they came, somebody has stopped the list, or reads further up.
    hold(waiting);
    waiting = [];
    return;
  }
  const began = performance.now();
  list.append(...waiting.filter(shows).map(item));
  waiting = [];
  while (list.childElementCount > MAX_LINES) list.firstElementChild.remove();
  scroll.scrollTop = scroll.scrollHeight;
  tell();
  drawTime = performance.now() - began;
}

scroll.addEventListener("scroll", () => {
  if (unseen && !paused && atEnd()) draw();
});
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  if (!paused) draw();
  else tell();
});
q.value = new URLSearchParams(location.search).get("q") ?? "";
q.addEventListener("input", () => {
  // A lone surrogate has no encoding of its own: URLSearchParams puts a mark in its place, where others throw.
  history.replaceState(null, "", q.value ? `/tail?${new URLSearchParams({ q: q.value })}` : "/tail");
  draw();
});
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
