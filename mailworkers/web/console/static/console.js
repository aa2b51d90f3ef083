// Keys, times that go on, and what to say when the console cannot be reached. Everything works
// without this file, only not as comfortably.
"use strict";

// On a narrow screen the pages' names are a strip: the current one should be seen in it.
document.querySelector(".side [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

const typing = (element) => /^(INPUT|SELECT|TEXTAREA)$/.test(element.tagName);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) { return; }
  if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
  if (typing(event.target)) { return; }
  const rows = [...document.querySelectorAll("[data-row]")];
  const at = rows.indexOf(document.activeElement);
  if (event.key === "/") {
    document.querySelector("[data-search]")?.focus();
  } else if (event.key === "j" && rows.length) {
    rows[Math.min(at + 1, rows.length - 1)].focus();
  } else if (event.key === "k" && rows.length) {
    rows[Math.max(at - 1, 0)].focus();
  } else {
    return;
  }
  event.preventDefault();
});

// The same words as words.py: relative().
const steps = [[172800, 86400, "d"], [7200, 3600, "h"], [120, 60, "min"], [0, 1, "s"]];
function relative(at) {
  const seconds = (at - Date.now()) / 1000;
  const away = Math.abs(seconds);
  if (away < 1) { return "now"; }
  const [, unit, name] = steps.find(([least]) => away >= least);
  const words = `${Math.floor(away / unit)} ${name}`;
  return seconds > 0 ? `in ${words}` : `${words} ago`;
}
setInterval(() => {
  for (const time of document.querySelectorAll("time:not([data-fixed])")) {
    const words = relative(Date.parse(time.dateTime));
    if (time.textContent !== words) { time.textContent = words; }
  }
}, 1000);

// What is being read or filled in stays as it is.
document.addEventListener("htmx:beforeSwap", (event) => {
  const target = event.detail.target;
  const isPoll = target.matches("[hx-trigger^=every]");
  const isInUse = target.contains(document.activeElement) || target.querySelector("details[open]");
  if (isPoll && isInUse) { event.detail.shouldSwap = false; }
});

const trouble = document.getElementById("trouble");
function tell(words) {
  trouble.textContent = words;
  trouble.hidden = !words;
}
document.addEventListener("htmx:sendError", () => {
  tell("The console does not answer. What you see is old; it is tried again all the time.");
});
document.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status !== 401) { tell(`The console answered ${status}: what you see may be old.`); }
});
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.successful) { tell(""); }
});

// A second click is not a second order.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) { return; }
  if (event.target.dataset.sent) { event.preventDefault(); return; }
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) { delete form.dataset.sent; }
});

// One box for all boxes of a list.
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-pick-all]")) { return; }
  for (const box of document.querySelectorAll("[data-pick]")) { box.checked = event.target.checked; }
});
