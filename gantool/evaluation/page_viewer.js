// The pictures: films of small ones to choose from, and a large one whose left and right halves come from two sources.

const REFERENCE = data.contestants.length; // its number among the sources
const view = { which: 0, left: 0, right: 0 };
const sourceName = (source) => (source === REFERENCE ? "reference" : data.contestants[source]);
const uri = (exhibit, source) => (source === REFERENCE ? exhibit.reference : exhibit.results[source]);
const sources = (exhibit) => [...data.contestants.keys(), REFERENCE].filter((source) => uri(exhibit, source));

function select(which) {
  view.which = which;
  for (const button of document.querySelectorAll(".film button")) button.setAttribute("aria-pressed", +button.dataset.which === which);
  compare();
}

/** Puts the chosen sources on the two sides; where a picture lacks one, the nearest that it has. */
function compare() {
  const exhibit = data.exhibits[view.which], there = sources(exhibit);
  const left = there.includes(view.left) ? view.left : there[0];
  const others = there.filter((source) => source !== left);
  const right = there.includes(view.right) ? view.right : others.at(-1) ?? left;
  for (const [side, chosen] of [["left", left], ["right", right]]) {
    id(`${side}-label`).hidden = there.length < 2;
    id(side).replaceChildren(...there.map((source) => make("option", { value: source }, sourceName(source))));
    id(side).value = chosen;
  }
  const alone = there.length < 2;
  id("canvas").hidden = !there.length;
  id("canvas").classList.toggle("alone", alone);
  id("divider").hidden = id("slide-row").hidden = id("under").hidden = alone;
  if (there.length) {
    id("over").src = uri(exhibit, left);
    id("under").src = uri(exhibit, right);
    const name = data.pictures[exhibit.picture];
    id("over").alt = `${name}, ${sourceName(left)}`;
    id("under").alt = `${name}, ${sourceName(right)}`;
  }
  slide();
  resize();
  caption(exhibit);
}

function slide() {
  const at = id("divider").hidden ? 100 : +id("slide").value;
  id("over").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
  id("divider").style.left = `${at}%`;
}

/** Sets the size so that a picture's pixel is so many of the screen's; "fit" takes whole multiples where there is room. */
function resize() {
  const { part } = data.exhibits[view.which];
  if (!part) return;
  const own = 1 / (window.devicePixelRatio || 1), stage = id("stage");
  const room = Math.min(stage.clientWidth / (part.width * own), Math.max(200, window.innerHeight * 0.85) / (part.height * own));
  const fitting = room >= 1 ? Math.min(8, Math.floor(room)) : room;
  const zoom = id("zoom").value === "fit" ? fitting : +id("zoom").value;
  const shown = fitting >= 1 ? `${fitting}:1` : `${Math.round(100 * fitting)} %`;
  id("zoom").options[0].textContent = `fit (${shown})`;
  const width = part.width * own * zoom;
  id("canvas").style.width = `${width}px`;
  id("canvas").style.height = `${part.height * own * zoom}px`;
  id("canvas").classList.toggle("magnified", zoom > 1);
  stage.classList.toggle("panned", width > stage.clientWidth + 1);
  id("slide-row").style.width = `${Math.max(200, width)}px`;
}

function caption(exhibit) {
  const { part } = exhibit, lines = [];
  const name = make("span", { class: "name" }, data.pictures[exhibit.picture]);
  let size = "";
  if (part) {
    const [width, height] = part.whole;
    const partial = part.width < width || part.height < height;
    const why = exhibit.reference ? "where results differ most from the reference" : "the middle";
    size = `, ${width}×${height} pixels`;
    if (partial) size += `; shown at full resolution: ${part.width}×${part.height} from (${part.left}, ${part.top}) on, ${why}`;
  }
  lines.push(make("p", {}, name, make("span", { class: "quiet" }, size)));
  if (exhibit.error) lines.push(make("p", { class: "fault" }, exhibit.error));
  const rows = data.contestants.map((_, c) => make("tr", {}, rowHead(contestant(c)),
    ...data.metrics.map((_, m) => { const value = valueOf(exhibit.picture, c, m); return cell(written(value, places[m]), { full: value }); })));
  const heads = [head(several ? "Contestant" : "Results"), ...data.metrics.map((metric) => head(`${metric.name} ${arrow(metric)}`, true))];
  id("caption").replaceChildren(...lines, table("This picture", heads, rows), ...remarks(exhibit.picture));
}

function film(group) {
  const buttons = group.pictures.map((picture) => {
    const which = data.exhibits.findIndex((exhibit) => exhibit.picture === picture), exhibit = data.exhibits[which];
    const button = make("button", { type: "button", "data-which": which, "aria-pressed": "false", title: data.pictures[picture] });
    const [source] = sources(exhibit);
    if (!missing(source)) button.append(make("img", { src: uri(exhibit, source), alt: "" }));
    button.append(make("span", { class: "name" }, data.pictures[picture]));
    const values = data.contestants.map((_, c) => valueOf(picture, c, 0)).map((value) => written(value, places[0]));
    button.append(make("span", { class: "value" }, values.join(" · ")));
    button.addEventListener("click", () => select(which));
    return button;
  });
  return [make("h3", {}, group.title, make("span", { class: "quiet" }, ` ${group.words}`)), make("div", { class: "film" }, ...buttons)];
}

function gallery() {
  if (!data.exhibits.length) return;
  id("gallery").hidden = false;
  id("groups").append(...data.groups.flatMap(film));
  const partly = data.exhibits.some(({ part }) => part && (part.width < part.whole[0] || part.height < part.whole[1]));
  const bytes = data.exhibits.reduce((sum, one) => sum + [...one.results, one.reference].reduce((own, text) => own + (text?.length ?? 0), 0), 0);
  id("shown").textContent = "Every pixel is as it was measured, compressed without loss. "
    + (partly ? "Large pictures are shown in part, never resized. " : "") + `The pictures take ${(bytes / 2 ** 20).toFixed(1)} MiB of this page.`;
  view.right = data.exhibits.some((exhibit) => exhibit.reference) ? REFERENCE : 1;
  for (const side of ["left", "right"]) {
    id(side).addEventListener("change", (event) => { view[side] = +event.target.value; compare(); });
  }
  id("zoom").addEventListener("change", resize);
  id("slide").addEventListener("input", slide);
  const drag = (event) => {
    const box = id("canvas").getBoundingClientRect();
    id("slide").value = 100 * (event.clientX - box.left) / box.width;
    slide();
  };
  id("canvas").addEventListener("pointerdown", (event) => {
    if (event.button || id("divider").hidden) return;
    id("canvas").setPointerCapture(event.pointerId);
    drag(event);
  });
  id("canvas").addEventListener("pointermove", (event) => { if (id("canvas").hasPointerCapture(event.pointerId)) drag(event); });
  window.addEventListener("resize", resize);
  select(0);
}

// --- the page ------------------------------------------------------------------------------------------------------------

function start() {
  const names = data.contestants;
  const title = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0] ?? "Evaluation";
  id("title").textContent = title;
  document.title = `${title}: gantool evaluate`;
  id("kind").textContent = "gantool evaluate" + (data.protocol ? `, protocol ${data.protocol}` : "");
  if (data.recipe.length) fill("recipe", ...data.recipe.map((sentence) => make("li", {}, sentence)));
  means();
  sets();
  comparisons();
  explained();
  plots();
  gallery();
  prepareRows();
  let width = document.body.clientWidth;
  window.addEventListener("resize", () => {
    if (document.body.clientWidth === width) return; // on a phone scrolling changes the height
    width = document.body.clientWidth;
    plots();
  });
  id("foot").textContent = `gantool ${data.version}. This page needs no network and sends nothing.`;
}

start();
