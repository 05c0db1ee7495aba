// The tail: lines as they come, at most so many in the document; reading further up holds it.

import { listeners } from "/static/live.js";

const MOST = 1000; // lines in the document
const scroll = document.getElementById("scroll");
const list = document.getElementById("lines");
const q = document.getElementById("q");
const pause = document.getElementById("pause");
const count = document.getElementById("count");
let kept = []; // the newest lines, whatever the filter shows
let held = false; // by the button
let behind = 0; // lines that came while it was held
let dropped = 0;
let waiting = []; // lines that came and are not drawn yet
let timer = 0;
let took = 0; // milliseconds that the last drawing took
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }); // one for all: each costs more than a line

const atEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;

function item(line) {
  const li = document.createElement("li");
  if (line.dropped) {
    li.className = "dropped";
    li.textContent = `dropped ${line.dropped}: more changed than this page was shown`;
  } else {
    const [, at, source, device, text] = line;
    li.textContent = `${clock.format(at * 1000)}  ${source}  ${device}  ${text}`;
  }
  return li;
}

const matches = (line) => !q.value || line.dropped || line.join(" ").toLowerCase().includes(q.value.toLowerCase());

function tell() {
  const parts = [kept.length === 1 ? "1 change" : `${kept.length} changes`];
  if (dropped) parts.push(`${dropped} dropped`);
  if (behind) parts.push(`paused, ${behind} new`);
  count.textContent = parts.join(", ");
}

function draw() {
  waiting = [];
  list.replaceChildren(...kept.filter(matches).map(item));
  scroll.scrollTop = scroll.scrollHeight;
  behind = 0;
  tell();
}

listeners.lines = ({ lines, dropped: lost }) => {
  const news = lost ? [{ dropped: lost }, ...lines] : lines;
  dropped += lost;
  kept = kept.concat(news).slice(-MOST);
  if (held || !atEnd()) {
    behind += lines.length;
    tell();
    return;
  }
  waiting = waiting.concat(news).slice(-MOST);
  // Drawing takes a fifth of the time at most, so that buttons answer however much comes and however slow the machine.
  timer ||= setTimeout(add, Math.min(took * 4, 2000));
};

function add() {
  timer = 0;
  if (!waiting.length) return;
  const began = performance.now();
  list.append(...waiting.filter(matches).map(item));
  waiting = [];
  while (list.childElementCount > MOST) list.firstElementChild.remove();
  scroll.scrollTop = scroll.scrollHeight;
  tell();
  took = performance.now() - began;
}

scroll.addEventListener("scroll", () => {
  if (behind && !held && atEnd()) draw();
});
pause.addEventListener("click", () => {
  held = !held;
  pause.setAttribute("aria-pressed", String(held));
  pause.textContent = held ? "Go on" : "Pause";
  if (!held) draw();
});
q.value = new URLSearchParams(location.search).get("q") ?? "";
q.addEventListener("input", () => {
  // A lone surrogate has no encoding of its own: URLSearchParams puts a mark in its place, where others throw.
  history.replaceState(null, "", q.value ? `/tail?${new URLSearchParams({ q: q.value })}` : "/tail");
  draw();
});
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
