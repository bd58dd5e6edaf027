// Sliders over limits: the newest position is asked about; without this script the form does the same.
"use strict";

const form = document.getElementById("limits");
const answer = document.getElementById("answer");
const said = document.getElementById("said");
const held = document.getElementById("held");

// While the recipe is being held: how far it is, then the page anew.
async function watch() {
  const told = await (await fetch("/what-if/progress")).json();
  held.value = told.share;
  document.getElementById("held-share").textContent = `${Math.floor(100 * told.share)}%`;
  if (told.ready || told.error) location.reload();
  else setTimeout(watch, 500);
}

function numberAt(slide) {
  const [low, high] = [Number(slide.dataset.low), Number(slide.dataset.high)];
  const share = slide.value / 1000;
  const logarithmic = slide.dataset.log === "1";
  const exact = logarithmic ? low * (high / low) ** share : low + share * (high - low);
  if (slide.dataset.whole === "1") return String(Math.round(exact));
  const step = logarithmic ? exact / 200 : (high - low) / 1000;
  const digits = Math.max(0, Math.min(12, Math.ceil(-Math.log10(step || 1))));
  return String(Number(exact.toFixed(digits)));
}

function placeOf(slide, number) {
  const [low, high] = [Number(slide.dataset.low), Number(slide.dataset.high)];
  const axis = slide.dataset.log === "1" ? (v) => Math.log(Math.max(v, 1e-300)) : (v) => v;
  const share = (axis(number) - axis(low)) / (axis(high) - axis(low));
  return Math.round(1000 * Math.min(1, Math.max(0, share)));
}

let asking = null; // the request under way
let first = false; // whether it has said something
let waiting = false; // whether a newer position is to be asked about

function parameters() {
  const moved = new URLSearchParams();
  for (const input of form.querySelectorAll("input[type=number]")) {
    if (input.value !== input.dataset.now) moved.set(input.name, input.value);
  }
  return moved;
}

function ask() {
  if (!form.checkValidity()) return;
  if (asking && !first) {
    waiting = true; // it is told in a moment; the newest position comes next
    return;
  }
  if (asking) asking.abort();
  waiting = false;
  first = false;
  asking = new AbortController();
  follow(parameters(), asking).catch((error) => {
    if (error.name !== "AbortError") said.textContent = `no answer: ${error.message}`;
  });
}

async function follow(moved, own) {
  answer.classList.add("waiting");
  history.replaceState(null, "", moved.size ? `/what-if?${moved}` : "/what-if");
  try {
    const response = await fetch(`/what-if/answer?${moved}`, { signal: own.signal });
    if (!response.ok) throw new Error(`the number is refused (${response.status})`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) show(JSON.parse(line));
      first = true;
      if (waiting) break;
    }
  } finally {
    if (asking === own) {
      own.abort();
      asking = null;
      answer.classList.remove("waiting");
      if (waiting) ask();
    }
  }
}

function show(told) {
  if (told.error) {
    said.textContent = told.error;
    return;
  }
  if (told.pending) {
    said.textContent = "the rule looks at all documents, which takes as long as in a run …";
    return;
  }
  // Made by the server from a template that escapes every value.
  const parsed = new DOMParser().parseFromString(told.html, "text/html");
  answer.replaceChildren(...parsed.body.childNodes);
  if (told.complete || told.whole) answer.classList.remove("waiting");
  said.textContent = told.complete ? `${told.kept.toLocaleString("en")} documents would be kept` : "the rules that follow are decided anew …";
  for (const button of answer.querySelectorAll("button.copy")) button.hidden = false;
}

function moved(input) {
  const changed = input.value !== input.dataset.now;
  input.classList.toggle("moved", changed);
  for (const button of form.querySelectorAll(`button.back[data-for="${input.id}"]`)) button.hidden = !changed;
}

if (held) watch();
if (form) {
  form.querySelector(".send").hidden = true;
  for (const slide of form.querySelectorAll("input.slide")) {
    const input = document.getElementById(slide.dataset.for);
    slide.hidden = false;
    slide.setAttribute("aria-valuetext", input.value);
    slide.addEventListener("input", () => {
      input.value = numberAt(slide);
      slide.setAttribute("aria-valuetext", input.value);
      moved(input);
      ask();
    });
    input.addEventListener("input", () => {
      slide.value = placeOf(slide, Number(input.value));
      slide.setAttribute("aria-valuetext", input.value);
      moved(input);
      ask();
    });
    moved(input);
  }
  form.addEventListener("click", (event) => {
    if (!event.target.matches("button.back")) return;
    const input = document.getElementById(event.target.dataset.for);
    input.value = input.dataset.now;
    input.dispatchEvent(new Event("input"));
    input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  answer.addEventListener("click", (event) => {
    if (event.target.matches("button.copy")) {
      navigator.clipboard.writeText(document.getElementById(event.target.dataset.copy).textContent);
      event.target.textContent = "Copied";
    }
  });
  for (const button of answer.querySelectorAll("button.copy")) button.hidden = false;
}
