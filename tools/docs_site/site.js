/* The search: the words of all parts are in search.js, which is loaded when somebody begins to search. */
"use strict";
const up = document.documentElement.dataset.up;
const field = document.getElementById("search");
const found = document.getElementById("found");
const SHOWN_MAX = 25;
const AROUND = 90;
let loading;

function load() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = `${up}search.js`;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });
  return loading;
}

/** How many of the words stand there, and how well: a heading counts more than a text, a whole word more than a part. */
function rank([, page, heading, text], words) {
  let count = 0;
  let sum = 0;
  for (const word of words) {
    const [inPage, inHeading, inText] = [page, heading, text].map((one) => one.toLowerCase().includes(word));
    if (inPage || inHeading || inText) count++;
    sum += (inPage ? 6 : 0) + (inHeading ? 10 : 0) + (inText ? 1 : 0);
    if (` ${heading.toLowerCase()} `.includes(` ${word} `)) sum += 5;
  }
  return { count, sum };
}

/** What has more of the words comes first; what has none is not there. */
function fitting(index, words) {
  return index
    .map((entry) => ({ entry, ...rank(entry, words) }))
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count || b.sum - a.sum);
}

function around(text, word) {
  const at = text.toLowerCase().indexOf(word);
  const from = Math.max(0, at - AROUND);
  return `${from > 0 ? "…" : ""}${text.slice(from, from + 2 * AROUND)}…`;
}

function show(words) {
  const ranked = fitting(globalThis.siteIndex, words);
  const whole = ranked.filter(({ count }) => count === words.length).length;
  const list = document.createElement("ol");
  for (const { entry: [address, page, heading, text] } of ranked.slice(0, SHOWN_MAX)) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = up + address;
    link.textContent = page === heading ? page : `${page}: ${heading}`;
    const line = document.createElement("p");
    line.textContent = around(text, words.find((word) => text.toLowerCase().includes(word)) ?? words[0]);
    item.append(link, line);
    list.append(item);
  }
  const note = document.createElement("p");
  if (ranked.length === 0) note.textContent = "Nothing fits.";
  else note.textContent = whole === ranked.length ? `${whole} places` : `${ranked.length} places, ${whole} of them with all words`;
  found.replaceChildren(note, list);
  found.hidden = false;
}

async function search() {
  const words = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    found.hidden = true;
    return;
  }
  await load();
  show(words);
}

field.addEventListener("focus", () => void load().catch(() => undefined));
field.addEventListener("input", () => void search());
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== field) {
    event.preventDefault();
    field.focus();
  } else if (event.key === "Escape") found.hidden = true;
});
document.addEventListener("click", (event) => {
  if (!found.contains(event.target) && event.target !== field) found.hidden = true;
});
