// Asks the server whether the code was approved; the server asks the provider, at the provider's pace.

const waiting = document.getElementById("waiting");
const until = waiting.querySelector("time");
until.textContent = new Date(Number(until.dataset.at) * 1000).toLocaleTimeString();
const asked = waiting.textContent;

function tell(text) {
  if (waiting.textContent !== text) waiting.textContent = text; // a screen reader would say the same again
}

async function check() {
  try {
    // A connection that hangs is given up, or nobody would ever ask again.
    const signal = AbortSignal.timeout(10000);
    const answer = await fetch(document.getElementById("check").action, { method: "POST", headers: { accept: "application/json" }, signal });
    const { state, to, why } = await answer.json();
    if (state === "done") return location.replace(to);
    if (state === "failed") return location.replace("/sign-in");
    tell(why ? `An approval counts once this is over: ${why}.` : asked);
  } catch {
    tell("This page's server does not answer; it is asked again.");
  }
  setTimeout(check, 2000);
}
setTimeout(check, 1000);
