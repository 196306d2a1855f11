"use strict";
// Everything is built of text nodes and attributes; nothing that came from a file's name is ever parsed as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const id = (name) => document.getElementById(name);
const several = data.contestants.length > 1;
const BATCH = 500; // rows of the long table that are drawn before somebody asks for all
const COLORS = 8;

// --- small parts ---------------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text
  return node;
}

function draw(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const number = (value) => (typeof value === "string" ? { inf: Infinity, "-inf": -Infinity }[value] ?? NaN : value);
const missing = (value) => value === null || value === undefined;

function digits(values) {
  const largest = values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  if (largest >= 1000) return 1;
  if (largest >= 10) return 2;
  if (largest > 1) return 3;
  return largest >= 0.01 || largest === 0 ? 4 : Math.min(20, 3 - Math.floor(Math.log10(largest)));
}

function written(value, places) {
  if (missing(value)) return "–";
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "infinite" : "minus infinite";
  return value.toFixed(places);
}

const signed = (value, places) => (value > 0 && Number.isFinite(value) ? "+" : "") + written(value, places);
const arrow = (metric) => ({ higher: "↑", lower: "↓" })[metric.better] ?? "";
const color = (contestant) => `c${contestant % COLORS}`;

function contestant(which) {
  const name = make("span", { class: "name" }, data.contestants[which]);
  return several ? make("span", { class: "contestant" }, make("span", { class: `swatch ${color(which)}`, "aria-hidden": "true" }), name) : name;
}

/** A cell: `text` and perhaps `small` below it. What JSON has of the number, in full, shows when it is pointed at. */
function cell(text, { small, numeric = true, best = false, full } = {}) {
  const classes = [numeric && "number", best && "best"].filter(Boolean).join(" ");
  const node = make("td", classes ? { class: classes } : {}, text);
  if (small) node.append(" ", make("small", {}, small)); // the space is for copies
  if (!missing(full)) node.title = String(full);
  return node;
}

const rowHead = (...content) => make("th", { scope: "row" }, ...content);
const head = (text, numeric) => make("th", numeric ? { scope: "col", class: "number" } : { scope: "col" }, text);

function table(label, heads, rows) {
  const made = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, made);
}

function fill(section, ...content) {
  id(section).hidden = false;
  id(section).querySelector(".content").replaceChildren(...content);
}

// --- tables --------------------------------------------------------------------------------------------------------------

const column = data.metrics.map((_, m) => data.rows.map((row) => number(row.values[m])).filter((value) => !missing(value)));
const places = column.map(digits);
const between = (low, high, shown) => (missing(low) ? "" : `${written(number(low), shown)} to ${written(number(high), shown)}`);

function leader(metric) {
  const means = data.means.map((mean) => (mean[metric] ? number(mean[metric][0]) : NaN));
  const known = means.filter((value) => !Number.isNaN(value));
  if (known.length < 2 || !data.metrics[metric].better) return null;
  return data.metrics[metric].better === "higher" ? Math.max(...known) : Math.min(...known);
}

function means() {
  if (!data.metrics.length) return;
  const timed = data.rows.some((row) => !missing(row.model_seconds));
  const rows = data.contestants.map((_, c) => {
    const own = data.rows.filter((row) => row.contestant === c);
    const failed = own.filter((row) => row.error).length;
    const count = failed ? `${own.length - failed} of ${own.length}` : String(own.length);
    const times = own.map((row) => row.model_seconds).filter((seconds) => !missing(seconds));
    const time = times.length ? times.reduce((sum, seconds) => sum + seconds, 0) / times.length : null;
    const cells = data.means[c].map((mean, m) => {
      if (!mean) return cell("withheld");
      const value = number(mean[0]);
      return cell(written(value, places[m]), {
        small: between(mean[1], mean[2], places[m]), best: value === leader(m), full: mean[0],
      });
    });
    return make("tr", {}, rowHead(contestant(c)), cell(count), ...cells, ...(timed ? [cell(written(time, time < 0.1 ? 4 : 2), { full: time })] : []));
  });
  const heads = [head(several ? "Contestant" : "Results"), head("Pictures", true)];
  heads.push(...data.metrics.map((metric) => head(`${metric.name} ${arrow(metric)}`, true)));
  if (timed) heads.push(head("Seconds per picture", true));
  fill("means", table("Means", heads, rows));
}

function comparisons() {
  if (!data.comparisons.length) return;
  const rows = data.comparisons.map((c) => {
    const metric = data.metrics[c.metric];
    const [mean, low, high] = c.difference.map(number);
    const two = mean ? 1 - Math.floor(Math.log10(Math.abs(mean))) : 0; // decimals that two significant digits take
    const shown = Math.max(places[c.metric], Math.min(two || 0, 6));
    const clear = !missing(low) && (low > 0 || high < 0) && (missing(c.p) || number(c.p) < 0.05);
    const winner = mean > 0 === (metric.better === "higher") ? c.second : c.first;
    const reading = clear ? make("span", {}, contestant(winner), " is better") : "no clear difference";
    const interval = missing(low) ? "" : `${signed(low, shown)} to ${signed(high, shown)}`;
    const p = missing(c.p) ? "–" : number(c.p) < 0.001 ? "< 0.001" : number(c.p).toFixed(3);
    return make("tr", {}, rowHead(`${metric.name} ${arrow(metric)}`),
      cell(make("span", { class: "name" }, `${data.contestants[c.second]} against ${data.contestants[c.first]}`), { numeric: false }),
      cell(signed(mean, shown), { small: interval, full: c.difference[0] }),
      cell(`${(100 * c.wins).toFixed(0)} %`, { full: c.wins }), cell(p, { full: c.p }), cell(reading, { numeric: false }));
  });
  const heads = [head("Metric"), head("Compared"), head("Difference", true), head("Wins", true), head("p", true), head("Reading")];
  fill("comparisons", table("Comparison", heads, rows));
}

function detail(value) {
  if (Array.isArray(value) && value.every(Array.isArray)) {
    return make("table", {}, make("tbody", {}, ...value.map((row) => make("tr", {}, ...row.map((item) => cell(short(item)))))));
  }
  if (value !== null && typeof value === "object") {
    const rows = Object.entries(value).map(([key, item]) => make("tr", {}, rowHead(make("span", { class: "name" }, key)),
      item !== null && typeof item === "object" ? cell(detail(item), { numeric: false }) : cell(short(item), { full: item })));
    return make("table", {}, make("tbody", {}, ...rows));
  }
  return short(value);
}

const short = (value) => (typeof value === "number" && !Number.isInteger(value) ? value.toFixed(digits([value])) : String(value ?? "–"));

function sets() {
  if (!data.sets.length) return;
  const rows = data.sets.map((one) => {
    const value = number(one.value);
    const words = make("td", {}, make("p", { class: "words quiet" }, one.words));
    for (const warning of one.warnings) words.append(make("p", { class: "words fault" }, `Warning: ${warning}`));
    if (Object.keys(one.details).length) words.append(make("details", {}, make("summary", {}, "Details"), detail(one.details)));
    const spread = missing(one.spread) ? "" : `± ${written(number(one.spread), digits([value]))}`;
    const cells = [cell(written(value, digits([value])), { small: spread, full: one.value }), words];
    return make("tr", {}, rowHead(contestant(one.contestant)), cell(one.metric, { numeric: false }), ...cells);
  });
  fill("sets", table("Whole sets", [head(several ? "Contestant" : "Results"), head("Metric"), head("Value", true), head("Recipe")], rows));
}

/** A line for each convention of each metric, below the mean as it was asked for; a column for each contestant. */
function explained() {
  if (!data.explained.length) return;
  const lines = new Map(), shown = {};
  for (const one of data.explained) {
    const key = JSON.stringify([one.metric, one.words]);
    if (!lines.has(key)) lines.set(key, { metric: one.metric, words: one.words, found: [] });
    lines.get(key).found[one.contestant] = one;
    shown[one.metric] = Math.max(shown[one.metric] ?? 0, digits([number(one.value)]));
  }
  const rows = [];
  let metric = null;
  for (const line of lines.values()) {
    const m = data.metrics.findIndex(({ name }) => name === line.metric);
    if (line.metric !== metric && m >= 0) {
      const asked = data.means.map((mean) => cell(mean[m] ? written(number(mean[m][0]), shown[line.metric]) : "–", { small: "\u00a0", full: mean[m]?.[0] }));
      rows.push(make("tr", { class: "asked" }, rowHead(line.metric), cell("as asked for", { numeric: false }), ...asked));
    }
    metric = line.metric;
    const cells = data.contestants.map((_, c) => {
      const one = line.found[c];
      return one ? cell(written(number(one.value), shown[metric]), { small: signed(number(one.difference), shown[metric]), full: one.value }) : cell("–", { small: "\u00a0" });
    });
    rows.push(make("tr", {}, m >= 0 ? make("td", {}) : rowHead(metric), cell(make("p", { class: "words" }, line.words), { numeric: false }), ...cells));
  }
  const names = data.contestants.map((_, c) => head(several ? contestant(c) : "Mean", true));
  fill("explained", table("Under other conventions", [head("Metric"), head("Convention"), ...names], rows));
}

// --- every picture -------------------------------------------------------------------------------------------------------

const byPicture = data.pictures.map(() => []);
for (const row of data.rows) byPicture[row.picture].push(row);
const valueOf = (picture, which, metric) => {
  const row = byPicture[picture].find((candidate) => candidate.contestant === which);
  return row && !missing(row.values[metric]) ? number(row.values[metric]) : null;
};

const list = { columns: [], by: 0, down: false, all: false };

/** What the columns are: all metrics of one contestant, or one metric of all, with the difference where there are two. */
function columns() {
  const numeric = !data.metrics.length ? [] : !several
    ? data.metrics.map((metric, m) => ({ title: `${metric.name} ${arrow(metric)}`, value: (p) => valueOf(p, 0, m), places: places[m] }))
    : data.contestants.map((name, c) => ({ title: name, named: true, value: (p) => valueOf(p, c, +id("view").value), places: places[+id("view").value] }));
  if (data.contestants.length === 2 && numeric.length) {
    const [one, other] = numeric.map((entry) => entry.value);
    const value = (p) => (missing(one(p)) || missing(other(p)) ? null : other(p) === one(p) ? 0 : other(p) - one(p));
    numeric.push({ title: "Difference", value, places: numeric[0].places, signed: true });
  }
  if (data.rows.some((row) => !missing(row.model_seconds))) {
    data.contestants.forEach((name, c) => {
      const value = (p) => byPicture[p].find((row) => row.contestant === c)?.model_seconds ?? null;
      numeric.push({ title: several ? `Seconds, ${name}` : "Seconds", named: several, value, places: 2 });
    });
  }
  return [{ title: "Picture", alphabetic: true, value: (p) => p }, ...numeric];
}

function remarks(picture) {
  const told = [];
  for (const row of byPicture[picture]) {
    const from = several ? `${data.contestants[row.contestant]}: ` : "";
    if (row.error) told.push(make("p", { class: "words fault" }, from + row.error));
    for (const note of row.notes) told.push(make("p", { class: "words quiet" }, from + note));
  }
  return told;
}

function ordered() {
  const { value, alphabetic } = list.columns[list.by];
  const names = new Intl.Collator("en", { numeric: true });
  const compare = alphabetic
    ? (a, b) => names.compare(data.pictures[a], data.pictures[b])
    : (a, b) => (value(a) === value(b) ? 0 : value(a) - value(b));
  const known = (p) => alphabetic || !(missing(value(p)) || Number.isNaN(value(p)));
  const pictures = data.pictures.map((_, p) => p);
  const sorted = pictures.filter(known).sort(list.down ? (a, b) => compare(b, a) : compare);
  return [...sorted, ...pictures.filter((p) => !known(p))]; // what has no number stays at the end
}

function pictureCell(p) {
  const text = make("span", { class: "name" }, data.pictures[p]);
  const which = data.exhibits.findIndex((exhibit) => exhibit.picture === p);
  if (which < 0) return rowHead(text);
  const button = make("button", { type: "button", title: "Look at it" }, text);
  button.addEventListener("click", () => { select(which); id("gallery").scrollIntoView(); });
  return rowHead(button);
}

function rows() {
  if (!data.rows.some((row) => row.error || row.values.length)) return;
  list.columns = columns();
  const noted = data.rows.some((row) => row.error || row.notes.length);
  const heads = list.columns.map((entry, index) => {
    const mark = index === list.by ? (list.down ? " ▾" : " ▴") : "";
    const button = make("button", entry.named ? { type: "button", class: "name" } : { type: "button" }, entry.title + mark);
    button.addEventListener("click", () => {
      list.down = index === list.by && !list.down;
      list.by = index;
      rows();
      id("rows").querySelectorAll("thead button")[index].focus();
    });
    const made = head(button, !entry.alphabetic);
    if (index === list.by) made.setAttribute("aria-sort", list.down ? "descending" : "ascending");
    return made;
  });
  if (noted) heads.push(head("Notes"));
  const pictures = ordered();
  const shown = list.all ? pictures : pictures.slice(0, BATCH);
  const lines = shown.map((p) => make("tr", {}, pictureCell(p), ...list.columns.slice(1).map((entry) => {
    const value = entry.value(p);
    return cell(entry.signed ? signed(value, entry.places) : written(value, entry.places), { full: value });
  }), ...(noted ? [make("td", {}, ...remarks(p))] : [])));
  fill("rows", table("Every picture", heads, lines));
  id("more").hidden = shown.length === pictures.length;
  id("more").textContent = `Show all ${pictures.length}`;
}

function prepareRows() {
  if (several && data.metrics.length) {
    id("view-label").hidden = data.metrics.length < 2;
    id("view").append(...data.metrics.map((metric, m) => make("option", { value: m }, `${metric.name} ${arrow(metric)}`)));
    id("view").addEventListener("change", rows);
  }
  const all = () => { list.all = true; rows(); };
  id("more").addEventListener("click", all);
  window.addEventListener("beforeprint", all);
  rows();
}
