// What makes pages quicker to use; every page works without it.
"use strict";

// Texts are read again after the page is there: a part with `data-load` is replaced by the same part of that page.
async function load(part) {
  try {
    const answer = await fetch(part.dataset.load, { credentials: "same-origin" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const loaded = page.getElementById(part.id);
    if (loaded) part.replaceChildren(...loaded.childNodes);
    else part.querySelector(".working").textContent = page.querySelector(".told")?.textContent ?? "It cannot be read.";
  } catch {
    part.querySelector(".working").textContent = "The server does not answer.";
  }
}
document.querySelectorAll("[data-load]").forEach(load);

// Keys: / leads to the search, j and k to the next and the last hit.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    const field = document.querySelector("input[type=search]");
    if (field) { field.focus(); field.select(); } else location.assign("/search");
    event.preventDefault();
  } else if (event.key === "j" || event.key === "k") {
    const links = [...document.querySelectorAll("main [data-step], main article h3 a")];
    const at = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    links[Math.min(Math.max(at, 0), links.length - 1)]?.focus();
  }
});
