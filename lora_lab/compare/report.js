"use strict";
// Draws what answers to the pointer: curves, parallel coordinates, pictures. Whatever a run is called goes into the
// page as text alone (textContent); nothing here makes markup out of strings.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const BEST = 8; // curves with a colour of their own
const ids = new Map(); // run number -> its lines and its rows
const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const inSvg = ["svg", "g", "path", "line", "text", "rect", "circle", "clipPath"].includes(name);
  const one = inSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...children);
  return one;
}

function shown(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value);
}

function option(select, value, text) {
  const one = make("option", {}, text);
  one.value = value;
  select.append(one);
}

function belongs(run, element) {
  if (!ids.has(run)) ids.set(run, []);
  ids.get(run).push(element);
}

// ---- one run in all places -------------------------------------------------------------------------------------

let lit = null;
function light(run) {
  if (run === lit) return;
  for (const one of ids.get(lit) || []) one.classList.remove("on");
  for (const one of ids.get(run) || []) {
    one.classList.add("on");
    if (one.parentNode && one.namespaceURI === SVG) one.parentNode.append(one); // on top of the others
  }
  lit = run;
}

const tip = byId("tip");
function tell(event, lines) {
  tip.replaceChildren(...lines.map((line) => make("div", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, window.innerWidth - box.width - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - box.height - 4))}px`;
}
function silence() {
  tip.hidden = true;
  light(null);
}

function choose(number) {
  const run = data.runs[number];
  const best = data.runs[data.best];
  const rows = data.keys.map((key, place) => [key, run.settings[place], best ? best.settings[place] : null]);
  const differs = rows.filter(([, mine, theirs]) => mine !== theirs);
  const table = make("table", {}, make("tr", {}, ...["setting", "here", "in the best run"].map((t) => make("th", {}, t))));
  for (const row of differs) table.append(make("tr", {}, ...row.map((text) => make("td", {}, shown(text)))));
  const about = `${data.metric} ${shown(run.value)}, ${run.steps} steps, ${run.status}; ${run.folder}`;
  byId("chosen").replaceChildren(
    make("h3", {}, run.name), make("p", {}, about),
    ...(number === data.best ? [make("p", {}, "This is the best run.")] : differs.length ? [table] : []),
  );
}

// ---- curves ------------------------------------------------------------------------------------------------------

function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (x) => x;
  const [a, b] = [f(low), f(high)];
  const at = (x) => (b === a ? (from + to) / 2 : from + ((f(x) - a) / (b - a)) * (to - from));
  at.back = (p) => { const x = a + ((p - from) / (to - from)) * (b - a); return log ? 10 ** x : x; };
  return at;
}

function ticks(low, high, count) {
  const step0 = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(step0));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= step0);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-9; x += step) found.push(Number(x.toPrecision(12)));
  return found;
}

function quantile(sorted, part) { return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]; }

function curves() {
  const host = byId("curves");
  if (!host) return;
  const metric = byId("curve-metric").value;
  const log = byId("curve-log").checked;
  const every = byId("curve-which").value === "all";
  let runs = data.runs.filter((run) => run.curves[metric] && (!log || run.curves[metric].every((p) => p[1] > 0)));
  if (!every) runs = runs.slice(0, BEST);
  const width = Math.max(host.clientWidth, 280), height = 340;
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `${metric} over the steps`);
  host.replaceChildren(svg);
  if (!runs.length) { host.replaceChildren(make("p", {}, `no run has told ${metric}`)); return; }
  const points = runs.flatMap((run) => run.curves[metric]);
  const values = points.map((p) => p[1]).sort((a, b) => a - b);
  const x = scale(0, Math.max(...points.map((p) => p[0]), 1), 56, width - 12, false);
  let [low, high] = [values[0], quantile(values, points.length > 200 ? 0.995 : 1)];
  if (low === high) { low -= Math.abs(low) * 0.1 || 1; high += Math.abs(high) * 0.1 || 1; }
  const y = scale(low, high, height - 30, 12, log && low > 0);
  const clip = make("clipPath", { id: "inside" }, make("rect", { x: 56, y: 6, width: width - 64, height: height - 34 }));
  svg.append(clip);
  const rows = log && low > 0 ? ticks(Math.log10(low), Math.log10(high), 4).map((p) => 10 ** p) : ticks(low, high, 5);
  for (const value of rows) {
    svg.append(make("line", { class: "grid", x1: 56, x2: width - 8, y1: y(value), y2: y(value) }),
      make("text", { class: "label", x: 50, y: y(value) + 4, "text-anchor": "end" }, shown(Number(value.toPrecision(3)))));
  }
  for (const step of ticks(0, x.back(width - 12), width < 500 ? 4 : 8)) {
    svg.append(make("text", { class: "label", x: x(step), y: height - 10, "text-anchor": "middle" }, shown(step)));
  }
  const inside = make("g", { "clip-path": "url(#inside)" });
  const band = make("path", { class: "band" });
  inside.append(band);
  for (const run of [...runs].reverse()) {
    const line = run.curves[metric].map((p, at) => `${at ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`);
    const path = make("path", { class: `line ${run.order < BEST ? `c${run.order}` : "other"}`, d: line.join("") });
    belongs(run.number, path);
    inside.append(path);
  }
  svg.append(inside);
  const dot = make("circle", { class: "dot", r: 4, cx: -9, cy: -9 });
  svg.append(dot);
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect();
    const found = nearest(runs, metric, [event.clientX - box.left, event.clientY - box.top], x, y);
    if (!found) return;
    light(found.run.number);
    dot.setAttribute("cx", x(found.point[0]));
    dot.setAttribute("cy", y(found.point[1]));
    const wide = found.run.curves[metric].filter((p) => p.length > 2);
    const edge = (p, at, place) => `${at ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[place]).toFixed(1)}`;
    const outline = [...wide.map((p, at) => edge(p, at, 2)), ...[...wide].reverse().map((p) => edge(p, 1, 3))];
    band.setAttribute("d", wide.length && !log ? `${outline.join("")}Z` : "");
    const range = found.point.length > 2 ? ` (${shown(found.point[2])} to ${shown(found.point[3])} around it)` : "";
    tell(event, [found.run.name, `step ${found.point[0]}: ${metric} ${shown(found.point[1])}${range}`,
      `${data.metric} at the end: ${shown(found.run.value)}`]);
  };
  svg.onpointerleave = () => { silence(); dot.setAttribute("cx", -9); band.setAttribute("d", ""); };
  svg.onclick = () => { if (lit !== null) choose(lit); };
}

function nearest(runs, metric, [px, py], x, y) {
  let found = null;
  for (const run of runs) {
    const points = run.curves[metric];
    let [a, b] = [0, points.length - 1];
    while (b - a > 1) { const m = (a + b) >> 1; if (x(points[m][0]) < px) a = m; else b = m; }
    const point = Math.abs(x(points[a][0]) - px) < Math.abs(x(points[b][0]) - px) ? points[a] : points[b];
    const next = point === points[a] ? points[b] : points[a];
    const [dx, part] = [x(next[0]) - x(point[0]), px - x(point[0])];
    const there = dx ? y(point[1]) + (Math.min(Math.max(part / dx, 0), 1)) * (y(next[1]) - y(point[1])) : y(point[1]);
    const away = Math.abs(there - py) + Math.max(0, Math.abs(x(point[0]) - px) - Math.abs(dx));
    if (!found || away < found.away) found = { run, point, away };
  }
  return found;
}

// ---- parallel coordinates ---------------------------------------------------------------------------------------

function parallel() {
  const host = byId("parallel");
  if (!host) return;
  const runs = data.runs.filter((run) => run.value !== null && run.group === "A");
  const axes = [...data.axes, { name: data.metric, kind: "number", log: false, result: true }];
  const gap = 110, width = Math.max(host.clientWidth, gap * axes.length), height = 320, top = 34, bottom = height - 16;
  const svg = make("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg.setAttribute("aria-label", `the varied parameters and ${data.metric} of each run`);
  const places = axes.map((axis, at) => 70 + (at * (width - 140)) / Math.max(axes.length - 1, 1));
  const of = (run, at) => (axes[at].result ? run.value : run.axes[at]);
  const ys = axes.map((axis, at) => {
    const known = runs.map((run) => of(run, at)).filter((v) => v !== null);
    if (axis.kind === "number") {
      const up = axis.result && data.goal === "minimize"; // the best is at the top
      const edges = up ? [top, bottom] : [bottom, top];
      return scale(Math.min(...known), Math.max(...known), ...edges, axis.log);
    }
    return scale(0, Math.max(axis.labels.length - 1, 1), bottom, top, false);
  });
  axes.forEach((axis, at) => {
    svg.append(make("line", { class: "axis", x1: places[at], x2: places[at], y1: top, y2: bottom }),
      make("text", { class: axis.result ? "label strong" : "label", x: places[at], y: 16, "text-anchor": "middle" }, axis.name));
    const marks = axis.kind === "number" ? axis.ticks || ends(runs.map((run) => of(run, at))) : axis.labels.map((_, n) => n);
    for (const mark of marks) {
      const text = axis.kind === "number" ? shown(mark) : axis.labels[mark];
      svg.append(make("text", { class: "label", x: places[at] + 5, y: ys[at](mark) + 4 }, text.length > 14 ? `${text.slice(0, 13)}…` : text));
    }
  });
  const lines = make("g", { class: runs.length > 100 ? "many" : "few" });
  const drawn = [];
  [...runs].reverse().forEach((run, back) => {
    const points = axes.map((axis, at) => [places[at], of(run, at) === null ? bottom + 8 : ys[at](of(run, at))]);
    const d = points.map((p, at) => `${at ? "L" : "M"}${p[0].toFixed(1)} ${p[1].toFixed(1)}`).join("");
    const part = Math.floor(((runs.length - 1 - back) * 5) / runs.length);
    const line = make("path", { class: `line q${part}`, d });
    belongs(run.number, line);
    lines.append(line);
    drawn.push({ run, points });
  });
  svg.prepend(lines);
  host.replaceChildren(svg);
  svg.onpointermove = (event) => {
    const box = svg.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const at = Math.max(0, Math.min(axes.length - 2, places.findIndex((p) => p > px) - 1));
    let found = null;
    for (const { run, points } of drawn) {
      const [[x0, y0], [x1, y1]] = [points[at], points[at + 1] || points[at]];
      const away = Math.abs(y0 + ((px - x0) / (x1 - x0 || 1)) * (y1 - y0) - py);
      if (!found || away < found.away) found = { run, away };
    }
    if (!found) return;
    light(found.run.number);
    tell(event, [found.run.name, `${data.metric} ${shown(found.run.value)}`]);
  };
  svg.onpointerleave = silence;
  svg.onclick = () => { if (lit !== null) choose(lit); };
}

function ends(values) {
  const known = [...new Set(values.filter((v) => v !== null))].sort((a, b) => a - b);
  return known.length <= 6 ? known : [known[0], quantile(known, 0.5), known[known.length - 1]];
}

// ---- pictures -----------------------------------------------------------------------------------------------------

function pictures() {
  const host = byId("pictures");
  if (!host) return;
  const key = byId("picture-prompt").value;
  const runs = data.runs.filter((run) => run.pictures[key]);
  const steps = [...new Set(runs.flatMap((run) => Object.keys(run.pictures[key]).map(Number)))].sort((a, b) => a - b);
  const table = make("table", { class: "pictures" });
  table.append(make("tr", {}, make("th", {}, "run"), ...steps.map((step) => make("th", {}, `step ${step}`))));
  for (const run of runs) {
    const row = make("tr", {}, make("th", {}, make("div", {}, run.name), make("small", {}, `${data.metric} ${shown(run.value)}`)));
    for (const step of steps) {
      const image = data.images[run.pictures[key][step]];
      const cell = make("td");
      if (image) cell.append(make("img", { src: image, alt: `${run.name}, ${key}, step ${step}`, loading: "lazy" }));
      row.append(cell);
    }
    table.append(row);
  }
  host.replaceChildren(table);
}

// ---- the table of runs -------------------------------------------------------------------------------------------

function sortable() {
  const table = byId("runs");
  const body = table.tBodies[0];
  for (const row of body.rows) {
    const number = Number(row.dataset.run);
    belongs(number, row);
    row.onpointerenter = () => light(number);
    row.onpointerleave = () => light(null);
    row.onclick = () => choose(number);
  }
  [...table.tHead.rows[0].cells].forEach((head, at) => {
    const button = head.querySelector("button");
    let down = false;
    button.onclick = () => {
      const key = (row) => row.cells[at].dataset.value ?? row.cells[at].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [Number(key(a)), Number(key(b))];
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        const less = Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
        return down ? -less : less;
      });
      down = !down;
      body.replaceChildren(...rows);
    };
  });
}

function draw() {
  const rows = [...ids].map(([run, all]) => [run, all.filter((one) => one.namespaceURI !== SVG)]);
  ids.clear();
  for (const [run, all] of rows) ids.set(run, all);
  lit = null;
  curves();
  parallel();
}

sortable();
const metrics = byId("curve-metric");
if (metrics) {
  for (const name of data.metrics) option(metrics, name, name);
  for (const id of ["curve-metric", "curve-log", "curve-which"]) byId(id).onchange = draw;
}
const prompts = byId("picture-prompt");
if (prompts) {
  for (const [key, text] of data.prompts) option(prompts, key, text);
  prompts.onchange = pictures;
}
pictures();
draw();
if (data.best !== null) choose(data.best);
let waiting = 0;
window.onresize = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(draw); };
document.documentElement.dataset.ready = "true";
