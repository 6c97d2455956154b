// The page is whole without this script. It fetches the page again and exchanges what has changed, in place: what is
// open stays open, and what is selected stays selected.
"use strict";

const PERIOD = 2000; // ms between an answer and the next question
const PATIENCE = 10000; // ms for an answer

const live = document.getElementById("live");
const pause = document.getElementById("pause");
const connection = document.getElementById("connection");
let token = ""; // of this tab, and nowhere else
let timer = 0;
let asked = 0; // only the answer to the last question counts

async function refresh() {
  clearTimeout(timer);
  const question = ++asked;
  try {
    const reply = await fetch("./" + location.search, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE),
    });
    const text = await reply.text();
    if (question !== asked) return;
    const type = reply.headers.get("Content-Type") || "";
    if (!type.startsWith("text/html")) throw new Error(`answered ${reply.status}`);
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    morph(document.body, page.body);
    if (readNow && readNow.isConnected) read(readNow, readNow.share);
    if (reply.ok) told("", false);
    live.hidden = !reply.ok;
    if (!reply.ok) return; // the form asks for another token
  } catch (error) {
    if (question !== asked) return;
    told(`No answer since ${new Date(lastAnswer).toLocaleTimeString()}: what you see is old`, true);
  }
  later();
}

let lastAnswer = Date.now();
function told(text, old) {
  if (!old) lastAnswer = Date.now();
  if (connection.textContent !== text) connection.textContent = text;
  document.body.classList.toggle("old", old);
}

function paused() {
  return pause.getAttribute("aria-pressed") === "true";
}

function later() {
  clearTimeout(timer);
  if (!paused() && !document.hidden) timer = setTimeout(refresh, PERIOD);
}

// Make one element like another.
function morph(mine, other) {
  for (const { name } of [...mine.attributes]) {
    if (!other.hasAttribute(name) && !kept(mine, name)) mine.removeAttribute(name);
  }
  for (const { name, value } of other.attributes) {
    if (mine.getAttribute(name) !== value && !kept(mine, name)) mine.setAttribute(name, value);
  }
  const known = new Map();
  for (const node of mine.childNodes) {
    const key = keyOf(node);
    if (key) known.set(key, node);
  }
  let next = mine.firstChild;
  for (const wanted of [...other.childNodes]) {
    const key = keyOf(wanted);
    let found = null;
    if (key) found = known.get(key) || null;
    else if (next && !keyOf(next) && next.nodeName === wanted.nodeName) found = next;
    if (!found) {
      mine.insertBefore(document.importNode(wanted, true), next);
      continue;
    }
    if (key) known.delete(key);
    if (found === next) next = next.nextSibling;
    else mine.insertBefore(found, next);
    if (found.nodeType !== Node.ELEMENT_NODE) {
      if (found.nodeValue !== wanted.nodeValue) found.nodeValue = wanted.nodeValue;
    } else if (!found.hasAttribute("data-own")) {
      morph(found, wanted);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

// What the one who looks has set, and not the server.
function kept(element, name) {
  return (element.nodeName === "DETAILS" && name === "open") || (element === document.body && name === "class");
}

function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  const key = node.id || node.getAttribute("data-key");
  return key ? `${node.nodeName} ${key}` : "";
}

// Plots: what was at the pointer's place, or where the arrow keys have led.

function read(svg, share) {
  const { x, said } = JSON.parse(svg.dataset.plot);
  const cursor = svg.querySelector(".cursor");
  const output = svg.parentElement.querySelector(".plot-read");
  svg.share = share;
  if ((share ?? null) === null || !x.length) {
    cursor.classList.remove("seen");
    output.textContent = "";
    return;
  }
  let nearest = 0;
  for (let i = 1; i < x.length; i++) {
    if (Math.abs(x[i] - share) < Math.abs(x[nearest] - share)) nearest = i;
  }
  const at = x[nearest] * svg.viewBox.baseVal.width;
  cursor.setAttribute("x1", at);
  cursor.setAttribute("x2", at);
  cursor.classList.add("seen");
  output.textContent = said[nearest];
  svg.at = nearest;
}

function plotOf(event) {
  return event.target instanceof Element ? event.target.closest("svg.plot") : null;
}

let readNow = null;
function follow(event) {
  const svg = plotOf(event);
  if (readNow && readNow !== svg) read(readNow, null);
  readNow = svg;
  if (svg) {
    const box = svg.getBoundingClientRect();
    read(svg, (event.clientX - box.left) / box.width);
  }
}
document.addEventListener("pointermove", follow);
document.addEventListener("pointerdown", follow);
document.addEventListener("keydown", (event) => {
  const svg = plotOf(event);
  if (!svg || !["ArrowLeft", "ArrowRight", "Escape"].includes(event.key)) return;
  const { x } = JSON.parse(svg.dataset.plot);
  event.preventDefault();
  if (event.key === "Escape") return read(svg, null);
  const at = Math.min(svg.at ?? x.length, x.length);
  const next = Math.max(0, Math.min(x.length - 1, at + (event.key === "ArrowLeft" ? -1 : 1)));
  readNow = svg;
  read(svg, x.length ? x[next] : null);
});
document.addEventListener("focusout", (event) => {
  const svg = plotOf(event);
  if (svg) read(svg, null);
});

pause.addEventListener("click", () => {
  pause.setAttribute("aria-pressed", String(!paused()));
  pause.textContent = paused() ? "Go on" : "Pause";
  if (paused()) clearTimeout(timer);
  else refresh();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !live.hidden && !paused()) refresh();
});
document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.id === "token-form") {
    token = form.querySelector("input").value.trim();
  } else {
    const wanted = form.querySelector("input").value.trim();
    history.replaceState(null, "", wanted ? `?object=${encodeURIComponent(wanted)}` : location.pathname);
  }
  refresh();
});

if (!document.getElementById("token-form")) {
  live.hidden = false;
  later();
}
