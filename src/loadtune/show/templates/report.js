// The page says everything without this script: it adds tooltips, sorting, copying and a linked selection.
"use strict";
const all = (query, below = document) => Array.from(below.querySelectorAll(query));
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
const { charts, names } = JSON.parse(document.getElementById("links").textContent);

// Tooltips: what a mark says to a screen reader.
const tip = document.body.appendChild(make("div", { id: "tip", hidden: true, ariaHidden: "true" }));
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest && event.target.closest(".chart [role=graphics-symbol][aria-label], .chart [data-at]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.getAttribute("aria-label");
  const box = mark.getBoundingClientRect();
  const left = Math.min(box.right + 8, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(left, 8) + scrollX}px`;
  tip.style.top = `${Math.max(box.top - tip.offsetHeight - 6, 0) + scrollY}px`;
});

// Copying.
for (const code of all("pre.code")) {
  const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy: ${code.getAttribute("aria-label")}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.after(button);
}

// Sorting: by the number in a cell, with its unit; cells without one last, whichever way.
const units = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40, "µs": 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };
const worth = (text) => {
  const found = text.replaceAll(",", "").match(/^(-?[\d.]+)(?: ([A-Za-zµ]+))?(?: ([\d.]+) (s|min)$)?/);
  return found ? Number(found[1]) * (units[found[2]] || 1) + Number(found[3] || 0) * (units[found[4]] || 1) : undefined;
};
const order = (a, b, way) => {
  const [first, second] = [worth(a), worth(b)];
  if (first !== undefined && second !== undefined) return way * (first - second);
  if (first !== undefined || second !== undefined) return first === undefined ? 1 : -1;
  return way * a.localeCompare(b);
};
const table = document.querySelector("#trials table");
const rows = table ? all("tbody tr", table) : [];
for (const [column, head] of (table ? all("thead th", table) : []).entries()) {
  const button = make("button", { type: "button", textContent: head.textContent });
  button.addEventListener("click", () => {
    const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    const text = (row) => row.cells[column].textContent;
    table.tBodies[0].append(...[...rows].sort((a, b) => order(text(a), text(b), way)));
  });
  head.replaceChildren(button);
}

// One selection over heat map, Pareto chart and table.
const status = document.body.appendChild(make("p", { id: "selected", hidden: true, role: "status" }));
let chosen = new Set();
const linked = [];
const link = (element, places) => {
  element.dataset.at = places.join(" ");
  linked.push([element, places]);
  element.addEventListener("click", () => select(places));
};
const select = (places) => {
  const same = places.length === chosen.size && places.every((place) => chosen.has(place));
  chosen = new Set(same ? [] : places);
  for (const [element, own] of linked) {
    const on = own.some((place) => chosen.has(place));
    element.classList.toggle("on", on);
    if (element.hasAttribute("aria-pressed")) element.setAttribute("aria-pressed", String(on));
  }
  for (const chart of all("svg.linked")) chart.classList.toggle("selecting", chosen.size > 0);
  status.hidden = chosen.size === 0;
  status.textContent = `Selected: ${[...chosen].map((place) => names[place]).join(", ")} · Esc clears`;
};
rows.forEach((row, place) => link(row, [place]));
for (const [section, marks] of Object.entries(charts)) {
  const chart = document.querySelector(`#${section} svg`);
  if (!chart) continue;
  chart.classList.add("linked");
  for (const mark of all("[role=graphics-symbol][aria-label]", chart)) {
    const places = marks[mark.getAttribute("aria-label")];
    if (!places) continue;
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-pressed", "false");
    mark.setAttribute("tabindex", section === "grid" ? "0" : "-1");
    mark.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); select(places); }
    });
    link(mark, places);
  }
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") select([]); });
