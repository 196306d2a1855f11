// Plots: a strip of dots for each metric, and bars of the differences for each comparison. Drawn anew when the width changes.

const LANE = 64, DOT = 6, MARGIN = 20; // pixels

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const made = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) made.push(k * step);
  return { made, places: Math.max(0, Math.min(20, -Math.floor(Math.log10(step) + 1e-9))) };
}

const path = (points, stroke) => points.map(([x, y]) => `M${x.toFixed(1)} ${y.toFixed(1)}${stroke}`).join("");

/** A figure whose caption says what is nearest to the pointer. `points` are {x, y, words} in the picture's own pixels. */
function figure(label, width, height, points, resting, ...shapes) {
  const marker = draw("circle", { class: "marker", r: DOT / 2 + 2, visibility: "hidden" });
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...shapes, marker);
  const caption = make("figcaption", {}, resting);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
    let nearest = null, least = Infinity;
    for (const point of points) {
      const distance = (point.x - x) ** 2 + (point.y - y) ** 2;
      if (distance < least) [nearest, least] = [point, distance];
    }
    if (!nearest) return;
    marker.setAttribute("cx", nearest.x);
    marker.setAttribute("cy", nearest.y);
    marker.setAttribute("visibility", "visible");
    caption.textContent = nearest.words;
  });
  svg.addEventListener("pointerleave", () => {
    marker.setAttribute("visibility", "hidden");
    caption.textContent = resting;
  });
  return make("figure", { class: "plot" }, svg, caption);
}

/** Where the dots of a lane stand: those that would cover one another are stacked, closer where they are many. */
function stacked(found, at, middle) {
  const bins = new Map();
  for (const one of found) {
    const bin = Math.round(at(one.value) / DOT);
    if (!bins.has(bin)) bins.set(bin, []);
    bins.get(bin).push(one);
  }
  const fullest = Math.max(1, ...[...bins.values()].map((bin) => bin.length));
  const pitch = Math.min(DOT, (LANE - 3 * DOT) / fullest);
  const points = [];
  for (const bin of bins.values()) {
    bin.forEach((one, k) => points.push({ x: at(one.value), y: middle + (k - (bin.length - 1) / 2) * pitch, ...one }));
  }
  return points;
}

function laneOf(c, m) {
  const own = data.rows.filter((row) => row.contestant === c && !missing(row.values[m]));
  return own.map((row) => ({ picture: row.picture, value: number(row.values[m]) }));
}

function strip(m, width) {
  const metric = data.metrics[m];
  const all = data.contestants.map((_, c) => laneOf(c, m));
  const lanes = all.map((lane) => lane.filter((one) => Number.isFinite(one.value)));
  const values = lanes.flat().map((one) => one.value);
  if (values.length < 2) return null;
  let low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 100, high + Math.abs(high || 1) / 100];
  const at = (value) => MARGIN + (value - low) / (high - low) * (width - 2 * MARGIN);
  const lane = LANE + (several ? 18 : 0), bottom = lanes.length * lane;
  const shapes = [], points = [];
  lanes.forEach((found, c) => {
    const top = c * lane + (several ? 18 : 0), middle = top + LANE / 2;
    if (several) shapes.push(draw("text", { x: 0, y: top - 4, class: "name" }, data.contestants[c]));
    const mean = data.means[c][m];
    if (mean && !missing(mean[1]) && Number.isFinite(number(mean[1])) && Number.isFinite(number(mean[2]))) {
      shapes.push(draw("rect", { class: "interval", x: at(mean[1]), y: top, width: at(mean[2]) - at(mean[1]), height: LANE }));
    }
    const own = stacked(found, at, middle);
    for (const point of own) {
      const from = several ? `, ${data.contestants[c]}` : "";
      points.push({ ...point, words: `${data.pictures[point.picture]}${from}: ${written(point.value, places[m])}` });
    }
    shapes.push(draw("path", { class: `dots ${color(c)}`, "stroke-width": DOT, d: path(own.map(({ x, y }) => [x, y]), "h0") }));
    if (mean && Number.isFinite(number(mean[0]))) {
      shapes.push(draw("path", { class: "mean", d: `M${at(mean[0])} ${top}v${LANE}` }));
    }
  });
  const axis = ticks(low, high, Math.max(2, Math.floor(width / 110)));
  shapes.push(draw("path", { class: "axis", d: `M0 ${bottom + 4.5}H${width}${axis.made.map((v) => `M${at(v)} ${bottom + 4.5}v5`).join("")}` }));
  for (const value of axis.made) {
    shapes.push(draw("text", { x: at(value), y: bottom + 22, "text-anchor": "middle" }, value.toFixed(axis.places)));
  }
  const absent = all.flat().length - values.length;
  const resting = absent ? `${absent} of ${all.flat().length} values are infinite or not a number, and not drawn.` : "";
  return figure(`${metric.name} of each picture`, width, bottom + 28, points, resting, ...shapes);
}

function differences(comparison, width) {
  const { metric: m, first, second } = comparison;
  const values = data.pictures.map((_, picture) => {
    const one = valueOf(picture, first, m), other = valueOf(picture, second, m);
    return { picture, value: missing(one) || missing(other) ? NaN : other - one };
  });
  const found = values.filter((one) => Number.isFinite(one.value)).sort((a, b) => a.value - b.value);
  const reach = found.reduce((most, one) => Math.max(most, Math.abs(one.value)), 0);
  if (found.length < 2 || reach === 0) return null;
  const low = Math.min(0, found[0].value), high = Math.max(0, found.at(-1).value);
  const height = 120, left = 56;
  const at = (value) => 6 + (high - value) / (high - low) * (height - 12);
  const pitch = (width - left) / found.length, bar = Math.max(0.5, Math.min(pitch * 0.75, 24));
  const shown = Math.max(places[m], 3);
  const axis = ticks(low, high, 5);
  const shapes = axis.made.map((value) => draw("path", { class: "axis", d: `M${left} ${at(value)}H${width}` }));
  for (const value of axis.made) {
    shapes.push(draw("text", { x: left - 8, y: at(value) + 4, "text-anchor": "end" }, signed(value, axis.places)));
  }
  const points = found.map((one, k) => ({
    x: left + (k + 0.5) * pitch, y: at(one.value), value: one.value,
    words: `${data.pictures[one.picture]}: ${signed(one.value, shown)}`,
  }));
  for (const [which, sign] of [[first, -1], [second, 1]]) {
    const better = data.metrics[m].better === "higher" ? sign : -sign;
    const own = points.filter((point) => point.value * better > 0);
    const d = own.map(({ x, y }) => `M${x.toFixed(2)} ${at(0).toFixed(1)}V${y.toFixed(1)}`).join("");
    shapes.push(draw("path", { class: `bars ${color(which)}`, "stroke-width": bar, d }));
  }
  shapes.push(draw("path", { class: "mean", d: `M${left} ${at(0)}H${width}` }));
  const [one, other] = [data.contestants[first], data.contestants[second]];
  const resting = `${data.metrics[m].name} of ${other} less that of ${one}, picture by picture, sorted; the colour is that of the better one.`;
  return figure(resting, width, height, points, resting, ...shapes);
}

function plots() {
  const content = id("plots").querySelector(".content");
  id("plots").hidden = false;
  const width = Math.max(280, content.clientWidth);
  const made = data.metrics.map((metric, m) => {
    const own = data.comparisons.filter((comparison) => comparison.metric === m);
    return [metric, [strip(m, width), ...own.map((comparison) => differences(comparison, width))].filter(Boolean)];
  }).filter(([, figures]) => figures.length);
  content.replaceChildren(...made.flatMap(([metric, figures]) => [make("h3", {}, `${metric.name} ${arrow(metric)}`), ...figures]));
  id("plots").hidden = !made.length;
}
