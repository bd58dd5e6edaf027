// Keys of the review. An answer waits some seconds in this tab, so that it can be undone, and is written then, or before
// the next one; without this script each button writes at once.
"use strict";

const WAIT = 5000; // milliseconds
const HELD = "gristmill-review-pending";
const box = document.querySelector(".review");
const form = document.getElementById("answers");
const told = document.getElementById("pending");
const undo = document.getElementById("undo");
let timer = null;

const pending = () => JSON.parse(sessionStorage.getItem(HELD) || "null");

// Writes what waits; resolves to whether nothing waits any more.
async function write() {
  clearTimeout(timer);
  const answer = pending();
  if (!answer) return true;
  try {
    const response = await fetch("/review/answer", {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
      body: answer.body,
      keepalive: true,
    });
    const said = await response.text();
    if (response.status === 400 || response.status === 413) {
      sessionStorage.removeItem(HELD);
      tell(`not written, the answer is refused: ${reason(said)}`);
      return false;
    }
    if (!response.ok) throw new Error(response.status === 409 ? "another process is writing" : `status ${response.status}`);
    if (pending() && pending().body === answer.body) sessionStorage.removeItem(HELD);
    const count = document.getElementById("count");
    if (count && box.dataset.queue === answer.queue) {
      count.textContent = JSON.parse(said).answered.toLocaleString("en");
      document.querySelector(".progress-line progress").value = JSON.parse(said).answered;
    }
    tell(`${answer.label}: written`);
    undo.hidden = true;
    return true;
  } catch (error) {
    tell(`${answer.label}: not written yet (${error.message}); it is kept in this tab and tried again`);
    timer = setTimeout(write, WAIT);
    return false;
  }
}

function reason(page) {
  return new DOMParser().parseFromString(page, "text/html").querySelector("main")?.textContent.trim() ?? "";
}

function tell(text) {
  if (told) told.textContent = text;
}

const next = (after, waits) => `/review/item?queue=${box.dataset.queue}&after=${after}${waits ? `&pending=${waits}` : ""}`;

// Takes an answer: the one before it is written first, this one waits while the next text is shown.
async function take(fields, label) {
  if (!(await write())) return;
  const body = new URLSearchParams([["key", box.dataset.key], ["queue", box.dataset.queue], ...fields]).toString();
  sessionStorage.setItem(HELD, JSON.stringify({ body, label, queue: box.dataset.queue, key: box.dataset.key }));
  location.assign(next(box.dataset.key, box.dataset.key));
}

function takeBack() {
  const answer = pending();
  if (!answer) return;
  clearTimeout(timer);
  sessionStorage.removeItem(HELD);
  location.assign(`/review/item?queue=${answer.queue}&key=${answer.key}`);
}

const named = document.querySelector(".shown h2")?.textContent ?? "";
const chosen = () => [...form.querySelectorAll("input[type=checkbox]:checked")].map((input) => input.value);

function submit(button) {
  const kind = box.dataset.kind;
  if (kind === "one") take([["answer", button.value]], `${button.value} for ${named}`);
  else if (kind === "several") take(chosen().map((label) => ["answer", label]), `${chosen().join(", ") || "(none)"} for ${named}`);
  else if (form.reportValidity()) take([["answer", document.getElementById("json").value]], `the answer for ${named}`);
}

if (document.getElementById("gathering")) {
  const look = async () => {
    if ((await (await fetch("/review/ready")).json()).ready) location.reload();
    else setTimeout(look, 700);
  };
  look();
}
if (pending()) {
  timer = setTimeout(write, WAIT);
  if (undo) {
    tell(`${pending().label}: written in ${WAIT / 1000} seconds`);
    undo.hidden = false;
    undo.addEventListener("click", takeBack);
  } else write();
}
if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.submitter);
  });
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    location.assign(next(box.dataset.key, pending()?.key));
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("textarea, select, input:not([type=checkbox])");
    if (typing) {
      if (event.ctrlKey && event.key === "Enter") submit(null);
      return;
    }
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const answer = form.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (answer) {
      event.preventDefault();
      if (box.dataset.kind === "one") submit(answer);
      else answer.checked = !answer.checked;
    } else if (event.key === "ArrowRight") {
      document.getElementById("skip").click();
    } else if (event.key === "Backspace") {
      event.preventDefault();
      takeBack();
    } else if (event.key === "Enter" && box.dataset.kind === "several" && !event.target.matches("a, button, summary")) {
      event.preventDefault();
      submit(null);
    }
  });
}
