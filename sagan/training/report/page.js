// Draws the page from the block of data. Every text goes in as text, never as HTML.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
// Names in these are of the runs; without a prototype, one such as "constructor" is found only where it is.
for (const run of runs) for (const part of [run.curves, run.scored, run.apart]) Object.setPrototypeOf(part, null);
const KEY = "sagan-report " + location.pathname;
const view = Object.assign({x: "step", log: false, smooth: 0, mean: false, sheet: null, theme: "", shut: {}}, stored());
const DASHES = ["", "6 3", "2 2", "9 3 2 3", "4 2 1 2", "12 4", "1 3", "7 2 2 2"];
const COLOURS = 8;
const dash = number => DASHES[(number + Math.floor(number / COLOURS)) % DASHES.length]; // with the colour, another for each of 64 runs

function stored() {
  try { return JSON.parse(sessionStorage.getItem(KEY)) || {}; } catch { return {}; }
}
function keep() {
  try { sessionStorage.setItem(KEY, JSON.stringify(view)); } catch { /* not allowed: the view is not kept */ }
}
function make(tag, about = {}, ...inside) {
  const node = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(about)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.flat(Infinity).filter(part => part !== null && part !== undefined && part !== ""));
  return node;
}
const whole = new Intl.NumberFormat("en");
function shown(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toPrecision(3).includes("e") ? (value / 1e6).toPrecision(3) + "M" : value.toPrecision(3);
  if (size >= 1000 || Number.isInteger(value)) return whole.format(Math.round(value));
  return size < 1e-3 && size ? value.toExponential(1) : String(+value.toPrecision(4));
}
function brief(value) { // a tick
  const size = Math.abs(value);
  for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (size >= unit) return +(value / unit).toPrecision(3) + sign;
  return size && size < 1e-3 ? value.toExponential(0) : String(+value.toPrecision(3));
}
function duration(seconds) {
  if (seconds < 100) return seconds.toFixed(seconds < 10 ? 1 : 0) + " s";
  if (seconds < 6000) return (seconds / 60).toFixed(1) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}
function swatch(number) {
  const line = make("svg:line", {x1: 0, y1: 5, x2: 26, y2: 5, class: "s" + number % COLOURS, "stroke-width": 3, "stroke-dasharray": dash(number)});
  return make("svg:svg", {class: "swatch", viewBox: "0 0 26 10", "aria-hidden": "true"}, line);
}
const called = number => (runs.filter(run => run.name === runs[number].name).length > 1 ? runs[number].place : runs[number].name);

// Sections
const main = document.getElementById("main");
function section(id, name, about, ...inside) {
  const node = make("section", {id, "aria-labelledby": id + "-h"}, make("div", {class: "head"}, make("h2", {id: id + "-h"}, name), make("p", {}, about)), ...inside);
  main.append(node);
  document.getElementById("nav").append(make("a", {href: "#" + id}, name));
  return node;
}

const SIGNS = {running: "● ", finished: "✓ ", diverged: "✕ ", collapsed: "✕ ", stopped: "❙❙ ", imported: "↓ "};
function state(run) {
  return make("span", {class: "tag state " + run.state}, SIGNS[run.state] + run.state);
}
function tags(run) {
  return make("div", {class: "tags"}, state(run), make("span", {class: "tag"}, run.task), run.preset && make("span", {class: "tag"}, "preset " + run.preset), make("span", {class: "tag"}, "seed " + run.seed));
}
function progress(run) {
  if (!run.step && run.state !== "running") return null;
  const share = Math.min(1, run.step / run.steps);
  return make("div", {class: "progress"}, make("svg:svg", {viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": Math.round(100 * share) + " % of the steps"}, make("svg:rect", {width: 100 * share, height: 6})),
    make("span", {}, `step ${whole.format(run.step)} of ${whole.format(run.steps)}`));
}
function shot(run) {
  const last = run.sheets.at(-1);
  return last ? make("div", {class: "shot"}, make("img", {src: last.src, alt: `samples at step ${last.step}`})) : null;
}
const broken = name => name.replace(/[_/]/g, "$&\u200b"); // so that long names break there
function tiles(pairs, kind) {
  return pairs.length ? make("dl", {class: "stats " + kind}, pairs.map(([name, value]) => make("div", {}, make("dt", {}, broken(name)), make("dd", {}, value)))) : null;
}
function stats(run, most) {
  const last = run.last, more = [];
  if (last["time/images_per_second"]) more.push(["images / s", shown(Math.round(last["time/images_per_second"]))]);
  if (last["time/goodput"]) more.push(["goodput", Math.round(100 * last["time/goodput"]) + " %"]);
  const marked = kind => run.marks.filter(mark => mark.kind === kind).length;
  if (run.lines) more.push(["alarms", String(marked("alarm"))]);
  if (marked("skipped")) more.push(["skipped steps", String(marked("skipped"))]);
  return [tiles((run.best ? run.best.scores : []).slice(0, most), "scores"), tiles(more, "more")];
}
function measured(run) {
  if (!run.best) return make("p", {class: "protocol"}, "Not scored yet.");
  const at = `Step ${whole.format(run.best.step)}` + (run.best.why ? `, ${run.best.why}` : "");
  return make("p", {class: "protocol"}, `${at}: ${run.best.protocol}`);
}
function changes(run) {
  if (!run.preset) return null;
  if (!run.changes.length) return make("p", {class: "protocol"}, `Settings: those of the preset ${run.preset}.`);
  return make("div", {class: "facts"}, make("div", {class: "changes"}, run.changes.map(([key, value, usual]) => make("code", {title: `the preset has ${usual}`}, `${key}=${value}`))));
}
function warnings(run) {
  const texts = [...(run.best ? run.best.warnings : [])].map(text => make("p", {class: "warn"}, text));
  const alarm = run.marks.filter(mark => mark.kind === "alarm").at(-1);
  if (alarm) texts.unshift(make("p", {class: "warn bad"}, `Alarm at step ${whole.format(alarm.step)}: ${alarm.text}`));
  return texts;
}
function overview() {
  if (runs.length === 1) {
    const run = runs[0];
    const facts = make("div", {class: "facts"}, make("h1", {}, run.name), tags(run), progress(run), stats(run, 4), measured(run), warnings(run), changes(run));
    const node = section("overview", "Overview", "");
    node.querySelector(".head").hidden = true;
    node.append(make("div", {class: "card hero"}, shot(run) || make("p", {class: "empty"}, "No samples yet."), facts));
    if (run.best && run.best.scores.length > 4) allScores(run);
    return;
  }
  const cards = runs.map((run, number) => make("article", {class: "card run"}, shot(run), make("div", {class: "title"}, swatch(number), called(number)), tags(run), progress(run), stats(run, 3), warnings(run), changes(run)));
  section("overview", `${runs.length} runs`, "Each has one colour and one dash on this page.", make("div", {class: "runs"}, cards));
  scoreTable();
}
function allScores(run) {
  const rows = run.best.scores.map(([key, value]) => make("tr", {}, make("th", {scope: "row"}, key), make("td", {class: "num"}, value)));
  section("scores", "Scores", `Step ${whole.format(run.best.step)}.`, make("div", {class: "card scroll narrow"}, make("table", {}, make("tbody", {}, rows))));
}
function older(at, step) { // a score of another step than the row's
  return at !== undefined && at !== step ? ` (step ${whole.format(at)})` : null;
}
function scoreTable() {
  const keys = [...new Set(runs.flatMap(run => Object.keys(run.scored)))].filter(key => runs.some(run => run.scored[key]?.length));
  if (!keys.length) return;
  const head = make("tr", {}, make("th", {scope: "col"}, "run"), make("th", {scope: "col", class: "num"}, "step"), keys.map(key => make("th", {scope: "col", class: "num"}, key)));
  const rows = runs.map((run, number) => {
    const step = Math.max(0, ...keys.map(key => (run.scored[key] || []).at(-1)?.[0] || 0));
    const cells = keys.map(key => {
      const [at, value] = (run.scored[key] || []).at(-1) || [];
      return make("td", {class: "num"}, shown(value), older(at, step), run.apart[key] && make("span", {class: "apart"}, "measured differently: " + run.apart[key]));
    });
    return make("tr", {}, make("th", {scope: "row"}, swatch(number), " " + called(number)), make("td", {class: "num"}, step ? whole.format(step) : "–"), cells);
  });
  for (const [number, run] of runs.entries()) if (run.means?.length) {
    const found = new Map(run.means.map(mean => [mean[0], mean])), step = Math.max(...run.means.map(mean => mean[2]));
    const cells = keys.map(key => make("td", {class: "num"}, found.has(key) ? [found.get(key)[1], older(found.get(key)[2], step)] : "–"));
    rows.push(make("tr", {}, make("th", {scope: "row"}, `mean ± sd of ${called(number)} and its other seeds`), make("td", {class: "num"}, whole.format(step)), cells));
  }
  section("scores", "Scores", "The last of each run. Protocols that differ are named, since such scores do not compare.", make("div", {class: "card scroll"}, make("table", {}, make("thead", {}, head), make("tbody", {}, rows))));
}

// Sheets of samples
function samples() {
  const having = runs.map((run, number) => [run, number]).filter(([run]) => run.sheets.length);
  const steps = [...new Set(having.flatMap(([run]) => run.sheets.map(sheet => sheet.step)))].sort((a, b) => a - b);
  if (!steps.length) return;
  const figures = having.map(([run, number]) => {
    const image = make("img", {alt: ""}), caption = make("figcaption");
    return {run, number, image, caption, node: make("figure", {}, image, caption)};
  });
  const out = make("output", {for: "sheet"});
  const slider = make("input", {id: "sheet", type: "range", min: 0, max: steps.length - 1, step: 1, "aria-label": "step of the samples"});
  function show(place) {
    const step = steps[place];
    out.textContent = "step " + whole.format(step);
    slider.setAttribute("aria-valuetext", out.textContent);
    view.sheet = place === steps.length - 1 ? null : step; // the newest one stays the newest
    for (const {run, number, image, caption} of figures) {
      const sheet = run.sheets.filter(one => one.step <= step).at(-1) || run.sheets[0];
      if (image.getAttribute("src") !== sheet.src) image.src = sheet.src;
      image.alt = `samples of ${run.name} at step ${sheet.step}`;
      caption.replaceChildren(...(runs.length > 1 ? [swatch(number), make("b", {}, called(number))] : []), `step ${whole.format(sheet.step)}`);
    }
    keep();
  }
  slider.value = Math.max(0, view.sheet === null ? steps.length - 1 : steps.findLastIndex(step => step <= view.sheet));
  slider.addEventListener("input", () => { stop(); show(+slider.value); });
  let timer = 0;
  const play = make("button", {type: "button", onclick: () => (timer ? stop() : start())}, "▶ Play");
  function stop() { clearInterval(timer); timer = 0; play.textContent = "▶ Play"; }
  function start() {
    play.textContent = "❙❙ Pause";
    if (+slider.value === steps.length - 1) slider.value = 0;
    show(+slider.value);
    timer = setInterval(() => {
      if (+slider.value >= steps.length - 1) return stop();
      slider.value = +slider.value + 1;
      show(+slider.value);
    }, Math.max(120, Math.min(700, 12000 / steps.length)));
  }
  const all = Math.max(...having.map(([run]) => run.sheets_in_all)), here = Math.max(...having.map(([run]) => run.sheets.length));
  const about = "Always from the same latents, one class in each row." + (all > here ? ` ${here} of ${all} sheets are on this page.` : "");
  section("samples", "Samples", runs.every(run => run.task === "gan") ? about : about.replace("Always from the same latents, one class in each row.", "What the run drew of itself."),
    make("div", {class: "card bench"}, steps.length > 1 ? make("div", {class: "slider"}, play, slider, out) : null, make("div", {class: "sheets" + (figures.length === 1 ? " one" : "")}, figures.map(figure => figure.node))));
  show(+slider.value);
}

// Where networks look
function unpack(text) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) bytes[n] = raw.charCodeAt(n);
  return bytes;
}
function attention() {
  const shows = runs.flatMap((run, number) => run.exhibits.filter(one => one.looks.length).map(exhibit => ({exhibit, number})));
  const silent = runs.filter(run => run.exhibits_note).map(run => make("p", {class: "empty"}, `${run.name}: ${run.exhibits_note}`));
  if (!shows.length) { if (silent.length) section("attention", "Attention", "", ...silent); return; }
  const picture = make("canvas", {class: "point", width: 320, height: 320, tabindex: 0, role: "img"});
  const caption = make("figcaption"), words = make("div", {class: "words"}), maps = make("div", {class: "maps"});
  const reader = make("span", {"aria-live": "polite"});
  let current, image, layers = [], at = [0.5, 0.5], word = 0;
  const thumbs = shows.map(({exhibit, number}, place) => make("button", {type: "button", title: exhibit.title, "aria-label": `image ${place + 1}: ${exhibit.title}`, onclick: () => choose(place)}, make("img", {src: exhibit.image, alt: ""})));

  function choose(place) {
    current = shows[place];
    thumbs.forEach((thumb, n) => thumb.setAttribute("aria-pressed", n === place));
    const {exhibit, number} = current;
    word = 0;
    layers = exhibit.looks.map(look => {
      const canvas = make("canvas", {width: 288, height: 288, role: "img", "aria-label": `map of ${look.name}`});
      return {look, canvas, bytes: unpack(look.maps)};
    });
    const spoken = exhibit.looks[0].words;
    words.replaceChildren(...spoken.map((text, n) => make("button", {type: "button", onclick: () => say(n), onpointerenter: () => say(n), onfocus: () => say(n)}, text)));
    picture.classList.toggle("point", !spoken.length);
    maps.replaceChildren(...layers.map(({look, canvas}) => make("figure", {}, canvas, make("figcaption", {}, make("b", {}, look.name), look.note))));
    caption.replaceChildren(...(runs.length > 1 ? [swatch(number), make("b", {}, called(number))] : []), exhibit.title && !spoken.length ? make("b", {}, exhibit.title) : "", `step ${whole.format(exhibit.step)}`, reader);
    image = new Image();
    image.onload = draw;
    image.src = exhibit.image;
  }
  function say(n) { word = n; draw(); }
  function drawn(canvas, dim) {
    const pen = canvas.getContext("2d"), side = canvas.width;
    pen.imageSmoothingEnabled = image.naturalWidth > side;
    pen.globalAlpha = 1; pen.fillStyle = "#07080c"; pen.fillRect(0, 0, side, side);
    pen.globalAlpha = dim; pen.drawImage(image, 0, 0, side, side); pen.globalAlpha = 1;
    return pen;
  }
  function draw() {
    const pen = drawn(picture, 1), side = picture.width;
    let grain = 1;
    for (const {look, canvas, bytes} of layers) {
      const k = look.side, places = bytes.length / (k * k), q = Math.round(Math.sqrt(places));
      grain = Math.max(grain, q);
      const cell = at.map(part => Math.min(q - 1, Math.floor(part * q)));
      const start = (look.words.length ? word : cell[0] * q + cell[1]) * k * k;
      const pixels = new ImageData(k, k);
      for (let n = 0; n < k * k; n++) pixels.data.set([255, 176, 0, bytes[start + n] * 0.86], 4 * n);
      const small = make("canvas", {width: k, height: k});
      small.getContext("2d").putImageData(pixels, 0, 0);
      const over = drawn(canvas, 0.55);
      over.imageSmoothingEnabled = false;
      over.drawImage(small, 0, 0, canvas.width, canvas.width);
      if (!look.words.length) ring(over, canvas.width, q, cell);
    }
    if (layers[0].look.words.length) {
      [...words.children].forEach((node, n) => node.setAttribute("aria-pressed", n === word));
      reader.textContent = "";
    } else {
      const cell = at.map(part => Math.min(grain - 1, Math.floor(part * grain)));
      ring(pen, side, grain, cell);
      reader.textContent = `row ${cell[0] + 1}, column ${cell[1] + 1} of ${grain}`;
    }
    picture.setAttribute("aria-label", `generated image; arrow keys move the point, ${reader.textContent}`);
  }
  function ring(pen, side, q, [row, column]) {
    const size = side / q;
    for (const [colour, width] of [["#000", 5], ["#fff", 2.5]]) {
      pen.strokeStyle = colour; pen.lineWidth = width;
      pen.strokeRect(column * size + 1, row * size + 1, size - 2, size - 2);
    }
  }
  function point(event) {
    if (layers[0].look.words.length) return;
    const box = picture.getBoundingClientRect(), inside = part => Math.min(0.999, Math.max(0, part));
    at = [inside((event.clientY - box.top) / box.height), inside((event.clientX - box.left) / box.width)];
    draw();
  }
  picture.addEventListener("pointermove", point);
  picture.addEventListener("pointerdown", point);
  picture.addEventListener("keydown", event => {
    const move = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    if (!move) return;
    event.preventDefault();
    const spoken = layers[0].look.words.length;
    if (spoken) return say((word + move[0] + move[1] + spoken) % spoken);
    const grain = Math.max(...layers.map(({look, bytes}) => Math.round(Math.sqrt(bytes.length) / look.side)));
    at = at.map((part, n) => Math.min(grain - 1, Math.max(0, Math.floor(part * grain) + move[n])) / grain + 0.5 / grain);
    draw();
  });
  const kinds = new Set(shows.map(({exhibit}) => exhibit.looks[0].words.length > 0));
  const how = kinds.has(true) ? "Point at a word to see where it was looked for." : "Point at the image, or use the arrow keys, to see where each layer looks from there.";
  section("attention", "Attention", how + " The brightest square is the greatest weight.",
    make("div", {class: "card bench"}, shows.length > 1 ? make("div", {class: "thumbs"}, thumbs) : null, make("div", {class: "look"}, make("div", {}, picture, words, caption), maps)), ...silent);
  choose(0);
}

// Curves
const GROUPS = [
  ["Scores", key => key.startsWith("eval/")], ["Losses", key => /^(loss|bits_per_dim|baseline)/.test(key)], ["Accuracy and logits", key => /^(accuracy|logits)/.test(key)],
  ["γ of attention", key => key.startsWith("gamma/")], ["σ of weights", key => key.startsWith("sigma/")], ["Gradients", key => key.startsWith("grad_norm")],
  ["Health", key => key.startsWith("guard/")], ["Time", key => key.startsWith("time/")], ["Other", () => true],
];
function lines(key) { // of every run that has it: {number, x, y, low, high}
  return runs.flatMap((run, number) => {
    const per = view.x === "images" ? run.images_per_step : 1;
    if (key.startsWith("eval/")) {
      const found = run.scored[key.slice(5)] || [];
      return found.length && !run.apart[key.slice(5)] ? [{number, x: found.map(pair => pair[0] * per), y: found.map(pair => pair[1]), dots: true}] : [];
    }
    const found = run.curves[key];
    return found ? [{number, x: run.at.map(step => step * per), y: found.mean, low: found.low, high: found.high}] : [];
  });
}
function smoothed(values, weight) { // an average whose start is not pulled to zero
  let sum = 0, total = 0;
  return values.map(value => {
    if (value === null) return null;
    sum = sum * weight + value; total = total * weight + 1;
    return sum / total;
  });
}
function between(x, y, place) { // the value at a place, on the line between two points
  const after = x.findIndex(value => value >= place);
  if (after < 0 || place < x[0]) return null;
  if (x[after] === place || after === 0) return y[after];
  const share = (place - x[after - 1]) / (x[after] - x[after - 1]);
  return y[after] === null || y[after - 1] === null ? null : y[after - 1] + share * (y[after] - y[after - 1]);
}
function meansOf(found) { // one line for each experiment, with the spread over its seeds
  const by = new Map();
  for (const line of found) by.set(runs[line.number].experiment, [...(by.get(runs[line.number].experiment) || []), line]);
  return [...by.values()].map(group => {
    if (group.length < 2) return group[0];
    const first = group.reduce((a, b) => (a.x.length >= b.x.length ? a : b)), out = {number: group[0].number, x: [], y: [], low: [], high: [], dots: first.dots, seeds: group.length};
    for (const place of first.x) {
      const values = group.map(line => between(line.x, line.y, place)).filter(value => value !== null);
      if (values.length < group.length) continue; // a mean is over all seeds
      const mean = values.reduce((a, b) => a + b) / values.length;
      const sd = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1));
      out.x.push(place); out.y.push(mean); out.low.push(mean - sd); out.high.push(mean + sd);
    }
    return out.x.length ? out : group[0];
  });
}
function ticks(low, high, count) {
  const raw = (high - low) / count || 1, unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * unit).find(size => size >= raw);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high * (1 + 1e-9); n++) found.push(n * step);
  return found;
}
const charts = [];
let cursor = null; // where all charts are read; null: at their ends
function chart(key) {
  const plot = make("svg:svg", {class: "plot", tabindex: 0, role: "img", "aria-label": `${key}; arrow keys move along the curve`});
  const read = make("div", {class: "read"});
  const node = make("article", {class: "card chart"}, make("header", {}, make("span", {class: "name"}, key.replace(/^eval\//, "")), read), plot);
  const H = 150, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 20;
  let found = [], toX, toY, W = 0, pen, reach;
  function redraw() {
    W = Math.max(160, plot.clientWidth || node.clientWidth - 28);
    found = lines(key);
    if (view.mean) found = meansOf(found);
    const positive = found.every(line => line.y.every(value => value === null || value > 0));
    const log = view.log && positive;
    for (const line of found) line.smooth = line.dots ? line.y : smoothed(line.y, view.smooth);
    const all = found.flatMap(line => [...line.smooth, ...(line.low && view.mean ? [...line.low, ...line.high] : []), ...(view.smooth || line.dots ? [] : line.y)]).filter(value => value !== null && (!log || value > 0));
    reach = Math.max(1, ...found.flatMap(line => [line.x.at(-1)]));
    let low = Math.min(...all), high = Math.max(...all);
    if (!all.length) [low, high] = [0, 1];
    if (high - low <= 1e-9 * Math.max(Math.abs(low), Math.abs(high))) { const room = Math.abs(low) * 0.1 || 1; low = low < 0 ? low - room : low * 0.9; high += room; }
    const f = log ? Math.log10 : value => value, room = (f(high) - f(low)) * 0.05;
    const [bottom, top] = [f(low) - room, f(high) + room];
    toX = value => LEFT + (value / reach) * (W - LEFT - RIGHT);
    toY = value => { const y = TOP + ((top - f(value)) / (top - bottom)) * (H - TOP - BOTTOM); return Math.max(TOP, Math.min(H - BOTTOM, y)); };
    plot.setAttribute("viewBox", `0 0 ${W} ${H}`);
    const parts = [];
    let marks = ticks(bottom, top, 3).map(value => (log ? 10 ** value : value));
    if (log && new Set(marks.map(brief)).size < 2) marks = [low, high];
    for (const value of marks) parts.push(make("svg:line", {class: "grid", x1: LEFT, x2: W - RIGHT, y1: toY(value), y2: toY(value)}), make("svg:text", {x: LEFT - 6, y: toY(value) + 3.5, "text-anchor": "end"}, brief(value)));
    for (const value of ticks(0, reach, 4)) parts.push(make("svg:text", {x: toX(value), y: H - 5, "text-anchor": value ? (toX(value) > W - 24 ? "end" : "middle") : "start"}, brief(value)));
    parts.push(make("svg:line", {class: "axis", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM}));
    for (const run of runs) for (const mark of run.marks) {
      const x = toX(mark.step * (view.x === "images" ? run.images_per_step : 1));
      if (x > W - RIGHT + 1) continue;
      const shape = mark.kind === "resumed" ? `M${x - 4} 4h8l-4 5z` : `M${x} 1l4.5 8h-9z`;
      parts.push(make("svg:g", {}, make("svg:title", {}, `step ${mark.step}, ${mark.kind}: ${mark.text}`), make("svg:line", {class: "mark " + mark.kind, x1: x, x2: x, y1: TOP, y2: H - BOTTOM}), make("svg:path", {class: "flag " + mark.kind, d: shape})));
    }
    for (const line of found) {
      const colour = line.number % COLOURS;
      if (line.low) parts.push(make("svg:path", {class: "band f" + colour, d: band(line, log)}));
      if (view.smooth && !line.dots) parts.push(make("svg:path", {class: "raw s" + colour, d: path(line.x, line.y)}));
      parts.push(make("svg:path", {class: "s" + colour, "stroke-dasharray": dash(line.number), d: path(line.x, line.smooth)}));
      if (line.dots) line.x.forEach((x, n) => parts.push(make("svg:circle", {class: "f" + colour, cx: toX(x), cy: toY(line.y[n]), r: 3})));
    }
    pen = make("svg:g");
    plot.replaceChildren(...parts, pen);
    note(view.log && !positive ? "linear: some values are not above 0" : "");
    point();
  }
  function note(text) {
    node.querySelector(".note")?.remove();
    const apart = key.startsWith("eval/") ? runs.map((run, n) => run.apart[key.slice(5)] && `${called(n)} is not drawn, measured differently: ${run.apart[key.slice(5)]}`).filter(Boolean) : [];
    const said = [text, ...apart].filter(Boolean).join("; ");
    if (said) node.append(make("p", {class: "note"}, said));
  }
  function path(x, y) {
    let out = "", down = false;
    y.forEach((value, n) => {
      if (value === null) { down = false; return; }
      out += `${down ? "L" : "M"}${toX(x[n]).toFixed(1)} ${toY(value).toFixed(1)}`;
      down = true;
    });
    return out;
  }
  function band(line, log) {
    const kept = line.x.map((x, n) => n).filter(n => line.low[n] !== null && line.high[n] !== null && (!log || line.low[n] > 0));
    const side = (values, order) => order.map(n => `${toX(line.x[n]).toFixed(1)} ${toY(values[n]).toFixed(1)}`).join("L");
    return kept.length ? `M${side(line.high, kept)}L${side(line.low, [...kept].reverse())}Z` : "";
  }
  function point() { // shows the values where the cursor is
    if (!pen) return;
    pen.replaceChildren();
    const items = [];
    let place = null;
    for (const line of found) {
      let n = line.x.length - 1;
      if (cursor !== null) n = line.x.reduce((best, x, i) => (Math.abs(x - cursor) < Math.abs(line.x[best] - cursor) ? i : best), 0);
      while (n > 0 && line.smooth[n] === null) n--;
      if (n < 0) continue;
      place = line.x[n];
      const spread = line.seeds ? ` ± ${shown(line.high[n] - line.y[n])}` : "";
      items.push(make("span", {}, runs.length > 1 ? swatch(line.number) : "", make("b", {}, shown(line.smooth[n]) + spread)));
      if (cursor !== null && line.smooth[n] !== null) pen.append(make("svg:circle", {class: "f" + line.number % COLOURS, cx: toX(line.x[n]), cy: toY(line.smooth[n]), r: 3.5}));
    }
    if (cursor !== null && cursor <= reach) pen.prepend(make("svg:line", {class: "cursor", x1: toX(place), x2: toX(place), y1: TOP, y2: H - BOTTOM}));
    const where = place === null ? "" : `${view.x === "images" ? "image" : "step"} ${whole.format(place)}`;
    read.replaceChildren(...items, make("span", {}, where));
  }
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect();
    read_at(Math.max(0, Math.min(1, (event.clientX - box.left - LEFT) / (W - LEFT - RIGHT))) * reach);
  });
  plot.addEventListener("pointerleave", () => read_at(null));
  plot.addEventListener("blur", () => read_at(null));
  plot.addEventListener("keydown", event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!move || !found.length) return;
    event.preventDefault();
    const x = found[0].x, now = cursor === null ? x.length - 1 : x.reduce((best, value, i) => (Math.abs(value - cursor) < Math.abs(x[best] - cursor) ? i : best), 0);
    read_at(x[Math.max(0, Math.min(x.length - 1, now + move))]);
  });
  const one = {node, redraw, point, seen: false};
  charts.push(one);
  return one;
}
function read_at(place) {
  cursor = place;
  for (const one of charts) if (one.seen) one.point();
}
function redraw() {
  keep();
  for (const one of charts) if (one.seen) one.redraw();
}
function curves() {
  const keys = [...new Set(runs.flatMap(run => [...Object.keys(run.scored).filter(key => run.scored[key].length > 1 || runs.length > 1).map(key => "eval/" + key), ...Object.keys(run.curves)]))];
  if (!keys.length) { section("curves", "Curves", "", make("p", {class: "empty"}, "No scalars were written.")); return; }
  const watcher = new IntersectionObserver(entries => {
    for (const {target, isIntersecting} of entries) {
      const one = charts.find(other => other.node === target);
      if (isIntersecting && !one.seen) { one.seen = true; one.redraw(); }
      else if (!isIntersecting) one.seen = false;
    }
  }, {rootMargin: "300px"});
  const press = (name, label, title) => make("button", {type: "button", title, "aria-pressed": view[name], onclick: event => { view[name] = !view[name]; event.currentTarget.setAttribute("aria-pressed", view[name]); redraw(); }}, label);
  const smooth = make("input", {type: "range", min: 0, max: 0.98, step: 0.02, value: view.smooth, "aria-label": "smoothing", oninput: () => { view.smooth = +smooth.value; redraw(); }});
  const axis = make("select", {"aria-label": "horizontal axis", onchange: () => { view.x = axis.value; cursor = null; redraw(); }}, make("option", {value: "step"}, "steps"), make("option", {value: "images"}, "images seen"));
  axis.value = view.x;
  const seeds = runs.some(run => runs.filter(other => other.experiment === run.experiment).length > 1);
  if (!seeds) view.mean = false;
  const tools = make("div", {class: "card tools", role: "toolbar", "aria-label": "curves"}, make("label", {}, "over", axis), make("label", {}, "smooth", smooth), press("log", "log scale", "logarithmic values"),
    seeds ? press("mean", "mean ± sd over seeds", "one curve for runs that differ in the seed alone") : null, runs.length > 1 ? make("div", {class: "legend"}, runs.map((run, n) => make("span", {}, swatch(n), called(n)))) : null);
  const left = new Set(keys);
  const groups = GROUPS.flatMap(([name, belongs]) => {
    const own = [...left].filter(belongs);
    own.forEach(key => left.delete(key));
    if (!own.length) return [];
    const box = make("div", {class: "charts"}, own.map(key => { const one = chart(key); watcher.observe(one.node); return one.node; }));
    return [make("details", {class: "group", open: view.shut[name] === undefined ? !["σ of weights", "Time", "Other"].includes(name) || runs.every(run => run.task !== "gan") && name === "Other" : !view.shut[name], ontoggle: event => { view.shut[name] = !event.currentTarget.open; keep(); }}, make("summary", {}, name, make("small", {}, String(own.length))), box)];
  });
  const thinned = runs.some(run => run.lines > run.at.length) ? " Each point is the mean of several lines; the shade spans them." : "";
  const marked = runs.some(run => run.marks.length) ? " ▲ alarm or skipped step, ▼ resumed." : "";
  section("curves", "Curves", "Hover, or focus a chart and press the arrow keys, to read all of them at one place." + thinned + marked, tools, ...groups);
  addEventListener("resize", redraw);
  addEventListener("beforeprint", () => { for (const one of charts) one.redraw(); }); // also those not looked at
}

// Time and details
function time() {
  const having = runs.map((run, number) => [run, number]).filter(([run]) => run.time.some(([, seconds]) => seconds > 0));
  if (!having.length) return;
  const bars = having.map(([run, number]) => {
    const total = run.time.reduce((sum, [, seconds]) => sum + seconds, 0);
    let left = 0;
    const parts = run.time.map(([name, seconds], n) => { const width = (100 * seconds) / total, part = make("svg:rect", {x: left, width, height: 26, class: "f" + n}, make("svg:title", {}, `${name}: ${duration(seconds)}`)); left += width; return part; });
    const legend = run.time.map(([name, seconds], n) => [name, seconds, n]).filter(([, seconds]) => seconds > 0).map(([name, seconds, n]) => make("span", {}, make("svg:svg", {viewBox: "0 0 10 10", "aria-hidden": "true"}, make("svg:rect", {width: 10, height: 10, class: "f" + n})), `${name} ${duration(seconds)}, ${((100 * seconds) / total).toFixed(seconds / total < 0.1 ? 1 : 0)} %`));
    return make("div", {class: "bar"}, runs.length > 1 ? make("div", {class: "title"}, swatch(number), called(number)) : null, make("svg:svg", {viewBox: "0 0 100 26", preserveAspectRatio: "none", role: "img", "aria-label": `${Math.round((100 * run.time[0][1]) / total)} % of the time went into steps`}, parts), make("div", {class: "legend"}, legend));
  });
  section("time", "Time", "Where it went, over all starts of a run.", make("div", {class: "card bars"}, bars));
}
function details() {
  const cards = runs.map((run, number) => make("div", {class: "card"}, runs.length > 1 ? make("div", {class: "title"}, swatch(number), called(number)) : null,
    ...run.commands.flatMap(([what, text]) => [make("div", {}, make("h3", {}, what), make("pre", {}, text))])));
  const facts = runs.map((run, number) => make("div", {class: "card"}, runs.length > 1 ? make("div", {class: "title"}, swatch(number), called(number)) : null,
    make("h3", {}, "made with"), make("dl", {class: "pairs"}, [["folder", run.place], ["seed", run.seed], ["images per step", run.images_per_step], ...run.facts].map(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))])),
    run.changes.length ? make("h3", {}, `settings that the preset ${run.preset} does not have`) : null,
    run.changes.length ? make("div", {class: "scroll"}, make("table", {}, make("thead", {}, make("tr", {}, ["setting", "this run", "preset"].map(text => make("th", {scope: "col"}, text)))), make("tbody", {}, run.changes.map(([key, value, usual]) => make("tr", {}, make("td", {}, make("code", {}, key)), make("td", {}, value), make("td", {}, usual)))))) : null));
  section("details", "Details", "Commands that go on from here, and what made the run.", make("div", {class: "columns"}, runs.length > 1 ? cards.flatMap((card, n) => [card, facts[n]]) : [...cards, ...facts]));
}

// Light or dark
const dark = matchMedia("(prefers-color-scheme: dark)"), theme = document.getElementById("theme");
function paint() {
  const now = view.theme || (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = now;
  theme.textContent = now === "dark" ? "☀ Light" : "☾ Dark";
  theme.setAttribute("aria-label", now === "dark" ? "Use light colours" : "Use dark colours");
}
theme.addEventListener("click", () => { view.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark"; keep(); paint(); });
dark.addEventListener("change", paint);

paint();
for (const part of [overview, samples, attention, curves, time, details]) part();
document.getElementById("foot").textContent = `Written by sagan ${data.version} on ${data.made}.` + (data.refresh ? ` Reloads every ${data.refresh} s while a run is going on.` : "");
const links = [...document.querySelectorAll("#nav a")];
const spy = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) if (isIntersecting) links.forEach(link => link.classList.toggle("here", link.hash === "#" + target.id));
}, {rootMargin: "-20% 0px -70% 0px"});
document.querySelectorAll("main > section").forEach(node => spy.observe(node));
if (data.refresh) setTimeout(() => location.reload(), data.refresh * 1000);
