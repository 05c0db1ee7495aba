// The tail: lines as they come, at most so many in the document; reading further up holds it.

import { listeners } from "/static/live.js";

const MAX_LINES = 1000; // lines in the document
const scroll = document.getElementById("scroll");
const list = document.getElementById("lines");
const q = document.getElementById("q");
const pause = document.getElementById("pause");
const count = document.getElementById("count");
let recent = []; // the newest lines, whatever the filter shows
let paused = false; // by the button
let unseen = 0; // lines that came while it was paused
let dropped = 0;
let waiting = []; // lines that came and are not drawn yet
let timer = 0;
let drawTime = 0; // milliseconds that the last drawing took
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }); // one for all: each costs more than a line

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

const matches = (line) => !q.value || line.dropped || line.join(" ").toLowerCase().includes(q.value.toLowerCase());

function tell() {
  const parts = [recent.length === 1 ? "1 change" : `${recent.length} changes`];
  if (dropped) parts.push(`${dropped} dropped`);
  if (unseen) parts.push(`paused, ${unseen} new`);
  count.textContent = parts.join(", ");
}

function draw() {
  waiting = [];
  list.replaceChildren(...recent.filter(matches).map(item));
  scroll.scrollTop = scroll.scrollHeight;
  unseen = 0;
  tell();
}

listeners.lines = ({ lines, dropped: omitted }) => {
  const news = omitted ? [{ dropped: omitted }, ...lines] : lines;
  dropped += omitted;
  recent = recent.concat(news).slice(-MAX_LINES);
  if (paused || !atEnd()) {
    unseen += lines.length;
    tell();
    return;
  }
  waiting = waiting.concat(news).slice(-MAX_LINES);
  // Drawing takes a fifth of the time at most, so that buttons answer however much comes and however slow the machine.
  timer ||= setTimeout(add, Math.min(drawTime * 4, 2000));
};

function add() {
  timer = 0;
  if (!waiting.length) return;
  const began = performance.now();
  list.append(...waiting.filter(matches).map(item));
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
});
q.value = new URLSearchParams(location.search).get("q") ?? "";
q.addEventListener("input", () => {
  // A lone surrogate has no encoding of its own: URLSearchParams puts a mark in its place, where others throw.
  history.replaceState(null, "", q.value ? `/tail?${new URLSearchParams({ q: q.value })}` : "/tail");
  draw();
});
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
