// The list of devices: all rows are kept here, and only those in sight are in the document.

import { listeners, times, whenReleased } from "/static/live.js";

// Pixels of a row, as in the style sheet. Where there is no room for columns, what is wrong stands below the name; such rows come first.
const HEIGHTS = { wide: { bad: 36, well: 36 }, narrow: { bad: 88, well: 44 } };
const narrow = matchMedia("(max-width: 64rem)");
const REASONS = 3; // that a phone has room for
const BEYOND = 10; // rows above and below those in sight
const AGAIN = 3000; // milliseconds until the list is asked for once more
const STOOD_STILL = 200; // milliseconds without scrolling
const [NAME, ONLINE, REASON, VERSION, UPGRADED, DEPLOYMENTS, TROUBLE, SINCE, LABELS] = Array(9).keys();
const WIDE = new Set([REASON, VERSION, UPGRADED, DEPLOYMENTS, SINCE, LABELS]);
const STATES = { yes: "online", no: "offline", unknown: "unknown", revoked: "revoked" };
const scroll = document.getElementById("scroll");
const body = document.getElementById("body");
const table = document.getElementById("rows");
const q = document.getElementById("q");
const shown = document.getElementById("show");
const count = document.getElementById("count");
const none = document.getElementById("none");
const rows = new Map(); // by name: the row, and the text that is searched
let order = [];
let found = [];
let bad = 0; // of those found, the first ones, which are in trouble
let drawn = "";
let early = [];
let unsorted = false;
let stood = 0;
let complete = false; // whether the server knows of every device

function put(row) {
  const own = [row[NAME], STATES[row[ONLINE]], row[REASON], row[VERSION], row[UPGRADED]];
  const labels = row[LABELS].split(",");
  if (!labels.some((one) => /^site=./.test(one))) labels.push("no site");
  const text = [...own, ...row[TROUBLE].split(", "), ...labels];
  rows.set(row[NAME], { row, text: `\n${text.join("\n")}\n`.toLowerCase() });
}

function wanted(one, words, show) {
  const { row, text } = one;
  if (show === "trouble" && !row[TROUBLE]) return false;
  if (show === "online" && row[ONLINE] !== "yes") return false;
  if (show === "offline" && row[ONLINE] !== "no" && row[ONLINE] !== "unknown") return false;
  if (show === "revoked" && row[ONLINE] !== "revoked") return false;
  return words.every((word) => text.includes(word));
}

function sort() {
  unsorted = false;
  // Those in trouble first, then by name.
  order = [...rows.values()].sort((a, b) => {
    const wrong = Boolean(b.row[TROUBLE]) - Boolean(a.row[TROUBLE]);
    return wrong || (a.row[NAME] < b.row[NAME] ? -1 : 1);
  });
}

export function filter() {
  // Words in quotes are whole: "site=lab" is not site=lab-2.
  const words = (q.value.toLowerCase().match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replace(/^"(.+)"$/, "\n$1\n"));
  found = order.filter((one) => wanted(one, words, shown.value));
  bad = found.filter((one) => one.row[TROUBLE]).length;
  const told = `${found.length} of ${order.length} devices`;
  if (count.textContent !== told) count.textContent = told; // a screen reader would say the same again
  none.hidden = found.length > 0;
  none.textContent = nothing();
  table.setAttribute("aria-rowcount", String(found.length + 1));
  drawn = "";
  draw();
}

function nothing() {
  if (order.length) return "No device matches the filter.";
  if (!complete) return "Loading: Kubernetes has not told of every device yet.";
  return "There are no devices yet: fleet device enroll brings the first one in.";
}

function heights() {
  return narrow.matches ? HEIGHTS.narrow : HEIGHTS.wide;
}

function offset(number) {
  // Pixels above a row.
  const height = heights();
  return Math.min(number, bad) * height.bad + Math.max(0, number - bad) * height.well;
}

function rowAt(top) {
  // The row that so many pixels are above of; a part of one counts.
  const height = heights();
  const beyond = top - bad * height.bad;
  return beyond < 0 ? top / height.bad : bad + beyond / height.well;
}

function troubles(row) {
  // Since when is of the first reason. Where it is wide, it has a column of its own, and there is room for all reasons.
  const [first, ...others] = row[TROUBLE].split(", ");
  const since = document.createElement("span");
  since.className = "narrow";
  const time = document.createElement("time");
  time.dateTime = row[SINCE];
  time.dataset.duration = "";
  since.append(" ", time);
  const most = narrow.matches ? REASONS - 1 : others.length;
  const more = others.length > most ? ` and ${others.length - most} more` : "";
  return [first, since, ...others.slice(0, most).map((one) => `, ${one}`), more];
}

function cell(row, column) {
  const td = document.createElement("td");
  if (WIDE.has(column)) td.className = "wide";
  if (column === NAME) {
    const link = document.createElement("a");
    link.href = `/devices/${encodeURIComponent(row[NAME])}`;
    link.textContent = row[NAME];
    link.id = `row-${row[NAME]}`;
    link.title = row[NAME];
    td.append(link);
  } else if (column === ONLINE) {
    const state = document.createElement("span");
    state.className = `state ${row[ONLINE]}`;
    state.textContent = STATES[row[ONLINE]];
    td.append(state);
  } else if (column === SINCE) {
    const time = document.createElement("time");
    time.dateTime = row[SINCE];
    td.append(time);
  } else if (column === TROUBLE && row[TROUBLE]) {
    td.append(...troubles(row));
    td.title = row[column];
  } else {
    td.textContent = row[column];
    td.title = row[column];
  }
  return td;
}

function space(pixels) {
  // One cell: further ones would make columns of their own where the screen is narrow, and most columns are hidden.
  const tr = document.createElement("tr");
  tr.className = "space";
  tr.setAttribute("aria-hidden", "true");
  const td = document.createElement("td");
  td.style.height = `${pixels}px`;
  tr.append(td);
  return tr;
}

function draw() {
  const first = Math.max(0, Math.floor(rowAt(scroll.scrollTop)) - BEYOND);
  const last = Math.min(found.length, Math.ceil(rowAt(scroll.scrollTop + scroll.clientHeight)) + BEYOND);
  const now = `${first}-${last} ${narrow.matches}`;
  if (drawn === now) return;
  drawn = now;
  const focused = body.contains(document.activeElement) ? document.activeElement.id : "";
  const all = [space(offset(first))];
  for (let number = first; number < last; number++) {
    const tr = document.createElement("tr");
    const { row } = found[number];
    tr.setAttribute("aria-rowindex", String(number + 2));
    if (row[TROUBLE]) tr.className = "bad-row";
    for (let column = 0; column < 9; column++) tr.append(cell(row, column));
    all.push(tr);
  }
  all.push(space(offset(found.length) - offset(last)));
  body.replaceChildren(...all);
  times(body);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function change({ rows: changed, gone, complete: all, whole }) {
  complete = all;
  if (whole) rows.clear(); // the server was started anew, and does not know what went before that
  unsorted ||= whole || gone.length > 0;
  for (const name of gone) rows.delete(name);
  for (const row of changed) {
    const before = rows.get(row[NAME]);
    unsorted ||= !before || Boolean(before.row[TROUBLE]) !== Boolean(row[TROUBLE]);
    if (before) {
      put(row);
      Object.assign(before, rows.get(row[NAME]));
      rows.set(row[NAME], before);
    } else put(row);
  }
}

function arrange() {
  if (unsorted) sort();
  filter();
}

function remember() {
  const query = new URLSearchParams();
  if (q.value) query.set("q", q.value);
  if (shown.value) query.set("show", shown.value);
  history.replaceState(null, "", query.size ? `/devices?${query}` : "/devices");
}

const asked = new URLSearchParams(location.search);
q.value = asked.get("q") ?? "";
shown.value = asked.get("show") ?? "";
if (shown.selectedIndex < 0) shown.value = "";
for (const input of [q, shown]) {
  input.addEventListener("input", () => {
    scroll.scrollTop = 0;
    remember();
    filter();
  });
}
document.getElementById("filter").addEventListener("submit", (event) => event.preventDefault());
scroll.addEventListener("scroll", () => {
  requestAnimationFrame(draw);
  clearTimeout(stood);
  // Who comes back from a device finds the list where it was.
  stood = setTimeout(() => history.replaceState({ top: scroll.scrollTop }, ""), STOOD_STILL);
}, { passive: true });
addEventListener("resize", draw);
scroll.addEventListener("keydown", (event) => {
  // Up and down walk over the names, also those that are not in the document yet.
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const at = found.findIndex((one) => `row-${one.row[NAME]}` === document.activeElement.id);
  if (!step || (at < 0 && document.activeElement !== scroll)) return;
  const next = found[at < 0 ? Math.floor(rowAt(scroll.scrollTop)) : at + step];
  if (!next) return;
  event.preventDefault();
  const top = offset(found.indexOf(next));
  if (top < scroll.scrollTop || top > scroll.scrollTop + scroll.clientHeight - 3 * heights().bad) {
    scroll.scrollTop = Math.max(0, top - scroll.clientHeight / 2);
  }
  draw();
  document.getElementById(`row-${next.row[NAME]}`)?.focus({ preventScroll: true });
});

listeners.rows = (news) => {
  if (early) return early.push(news);
  change(news);
  whenReleased(arrange);
};

async function load() {
  early = []; // what came before is in the answer
  try {
    const answer = await fetch("/devices.json");
    if (answer.status === 401) {
      count.textContent = "your session has ended";
      return;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const all = await answer.json();
    for (const row of all.rows) put(row);
    complete = all.complete;
    for (const news of early) change(news);
    early = null;
    unsorted = true;
    arrange();
    scroll.scrollTop = history.state?.top ?? 0;
  } catch {
    count.textContent = "the list could not be loaded; it is asked for again";
    setTimeout(load, AGAIN);
  }
}
load();
