"use strict";
// The page of one run. Every text of the run is put in place as text (`textContent`), never as markup.
const run = JSON.parse(document.getElementById("run").textContent);
const page = document.getElementById("page");
const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8, HEIGHT = 190, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 20;

function fill(node, values, children) {
  for (const [name, value] of Object.entries(values)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const make = (tag, values = {}, ...children) => fill(document.createElement(tag), values, children);
const draw = (tag, values = {}, ...children) => fill(document.createElementNS(SVG, tag), values, children);
const add = (...nodes) => page.append(...nodes.filter(Boolean));

function shown(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (size >= 10000) return Math.round(value).toLocaleString("en");
  return size !== 0 && size < 0.001 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}
function short(value) {
  const size = Math.abs(value);
  const [unit, name] = [[1e15, " P"], [1e12, " T"], [1e9, " G"], [1e6, " M"], [1e4, " k"]].find(([least]) => size >= least) ?? [1, ""];
  return shown(Number((value / (unit === 1e4 ? 1e3 : unit)).toPrecision(4))) + name;
}
function duration(seconds) {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.round(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// ---- a box that follows the pointer
const tip = make("div", { class: "tip", hidden: true, role: "status" });
document.body.append(tip);
function showTip(event, ...content) {
  tip.replaceChildren(...content);
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const x = event.clientX + 14 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 14;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - height - 6))}px`;
}
const hideTip = () => { tip.hidden = true; };

// ---- head
function head() {
  const last = run.last;
  const tiles = [["steps", shown(run.steps)]];
  for (const name of ["reward", "loss", "entropy", "tokens", "tokens_per_s"]) {
    if (name in last) tiles.push([name.replaceAll("_", " "), (name.startsWith("tokens") ? short : shown)(last[name])]);
  }
  if ("elapsed_s" in last) tiles.push(["time", duration(last.elapsed_s)]);
  if (run.checkpoints.length) tiles.push(["last checkpoint", shown(run.checkpoints.at(-1))]);
  add(
    make("h1", {}, run.name),
    make("div", { class: "tiles" }, ...tiles.map(([name, value]) =>
      make("div", { class: "tile" }, make("b", {}, value), make("span", {}, name)))),
    ...run.notes.map((note) => make("p", { class: "note" }, `Left out: ${note}.`)),
  );
}

// ---- curves
const GROUPS = [
  ["Reward", /^reward$/], ["Reward by family", /^reward_/], ["Loss", /^loss/], ["Entropy", /^entropy$/],
  ["Entropy by family", /^entropy_/], ["Importance ratio", /^(log_)?ratio/], ["KL", /^(ref_)?kl/],
  ["Shares: truncated, flat groups, undecided, lost", /^(truncated|flat_groups|undecided|lost|clipped|clip_fraction)/],
  ["Length (tokens)", /^length/], ["Gradient norm", /^grad_norm/], ["Step size factor", /^lr/],
  ["Tokens per second", /tokens_per_s$/], ["Seconds", /^(?!elapsed).*_s$/], ["Tokens", /^tokens$/],
];
function grouped() {
  const left = new Set(Object.keys(run.curves));
  const groups = [];
  for (const [title, pattern] of GROUPS) {
    const names = [...left].filter((name) => pattern.test(name));
    names.forEach((name) => left.delete(name));
    if (names.length) groups.push([title, names.sort()]);
  }
  left.delete("elapsed_s");
  return groups.concat([...left].sort().map((name) => [name.slice(0, 1).toUpperCase() + name.slice(1).replaceAll("_", " "), [name]]));
}
const look = { smoothing: 0.6, log: false };
function smoothed(values) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    sum = look.smoothing * sum + (1 - look.smoothing) * value;
    weight = look.smoothing * weight + (1 - look.smoothing);
    return sum / weight;
  });
}
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= 0.7 * rough) * power;
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) found.push(at * step);
  return found;
}
function logTicks(low, high) {
  const found = [];
  const each = Math.max(1, Math.ceil((high - low) / 5));
  for (let power = Math.ceil(low); power <= high; power += each) found.push(10 ** power);
  return found.length > 1 ? found : ticks(10 ** low, 10 ** high, 4).filter((value) => value > 0);
}

function chart(title, names) {
  const hidden = new Set();
  const svg = draw("svg", { role: "img", "aria-label": title, tabindex: 0 });
  const legend = make("div", { class: "legend" });
  const box = make("div", { class: "card chart" }, make("h3", {}, title), svg, names.length > 1 ? legend : null);
  const colour = (index) => `var(--c${index % COLOURS})`;
  const dash = (index) => (index >= COLOURS ? " dashed" : "");
  let scale = null;
  names.forEach((name, index) => legend.append(make("button", {
    "aria-pressed": "true", title: "show or hide",
    onclick(event) {
      const off = !hidden.delete(name);
      if (off) hidden.add(name);
      event.currentTarget.setAttribute("aria-pressed", String(!off));
      redraw();
    },
  }, draw("svg", {}, draw("line", { x1: 0, x2: 16, y1: 4, y2: 4, "stroke-width": 2.5, stroke: colour(index), class: dash(index) })),
  label(name))));
  function label(name) {
    const prefix = title.endsWith("by family") ? name.indexOf("_") + 1 : 0;
    return name.slice(prefix).replaceAll("_", " ");
  }
  function redraw() {
    const width = svg.clientWidth || 420;
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.replaceChildren();
    const usable = (value) => Number.isFinite(value) && (!look.log || value > 0);
    const seen = names.filter((name) => !hidden.has(name)).map((name) => {
      const curve = run.curves[name];
      return { name, index: names.indexOf(name), curve, line: smoothed(curve.y) };
    });
    const banded = (curve) => curve.low && !look.log && seen.length <= 4;
    const all = seen.flatMap(({ curve, line }) =>
      [...curve.y, ...line, ...(banded(curve) ? [...curve.low, ...curve.high] : [])]).filter(usable);
    const steps = seen.flatMap(({ curve }) => [curve.x[0], curve.x.at(-1)]);
    if (!all.length) {
      svg.append(draw("text", { x: LEFT, y: 60 }, look.log && seen.length ? "no value above 0" : "nothing to show"));
      scale = null;
      return;
    }
    const axis = (value) => (look.log ? Math.log10(value) : value);
    let low = axis(all.reduce((a, b) => Math.min(a, b))), high = axis(all.reduce((a, b) => Math.max(a, b)));
    const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    [low, high] = [!look.log && low >= 0 ? Math.max(0, low - room) : low - room, high + room];
    const first = Math.min(...steps), end = Math.max(...steps);
    const x = (step) => LEFT + ((step - first) / (end - first || 1)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((high - axis(value)) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const clip = (value) => Math.min(HEIGHT - BOTTOM, Math.max(TOP, value));
    for (const value of look.log ? logTicks(low, high) : ticks(low, high, 5)) {
      svg.append(draw("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, short(value)));
    }
    svg.append(draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    for (const step of ticks(first, end, Math.max(2, Math.floor(width / 70))).filter(Number.isInteger)) {
      svg.append(draw("text", { x: Math.min(x(step), width - RIGHT - 8), y: HEIGHT - 5, "text-anchor": "middle" }, shown(step)));
    }
    for (const { step } of run.events.filter((event) => event.step >= first && event.step <= end).slice(0, 60)) {
      svg.append(draw("line", { class: "event", x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM }));
    }
    const path = (values, curve) => {
      let open = false;
      return values.map((value, at) => {
        if (!usable(value)) { open = false; return ""; }
        const piece = `${open ? "L" : "M"}${x(curve.x[at]).toFixed(1)} ${clip(y(value)).toFixed(1)}`;
        open = true;
        return piece;
      }).join("");
    };
    for (const { curve, index, line } of seen) {
      if (banded(curve)) {
        const back = curve.low.map((value, at) => `L${x(curve.x[at]).toFixed(1)} ${clip(y(value)).toFixed(1)}`).reverse();
        svg.append(draw("path", { class: "band", fill: colour(index), d: path(curve.high, curve) + back.join("") + "Z" }));
      }
      if (look.smoothing > 0 && seen.length <= 4) svg.append(draw("path", { class: "raw", stroke: colour(index), d: path(curve.y, curve) }));
      if (line.length === 1) svg.append(draw("circle", { cx: x(curve.x[0]), cy: clip(y(line[0])), r: 3, fill: colour(index) }));
      svg.append(draw("path", { class: "curve" + dash(index), stroke: colour(index), d: path(line, curve) }));
    }
    const cursor = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    svg.append(cursor);
    scale = { width, first, end, seen, x, cursor };
  }
  function nearest(steps, wanted) {
    let low = 0, high = steps.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (steps[middle] <= wanted) low = middle; else high = middle;
    }
    return Math.abs(steps[high] - wanted) < Math.abs(steps[low] - wanted) ? high : low;
  }
  svg.addEventListener("pointermove", (event) => {
    if (!scale) return;
    const { left, width } = svg.getBoundingClientRect();
    const share = ((event.clientX - left) / width * scale.width - LEFT) / (scale.width - LEFT - RIGHT);
    const wanted = scale.first + Math.min(1, Math.max(0, share)) * (scale.end - scale.first);
    const step = scale.seen[0].curve.x[nearest(scale.seen[0].curve.x, wanted)];
    scale.cursor.setAttribute("x1", scale.x(step));
    scale.cursor.setAttribute("x2", scale.x(step));
    scale.cursor.setAttribute("visibility", "visible");
    const rows = scale.seen.map(({ name, index, curve, line }) => {
      const at = nearest(curve.x, wanted);
      const band = curve.low ? ` (${shown(curve.low[at])} … ${shown(curve.high[at])})` : "";
      const smooth = look.smoothing > 0 ? `  ~ ${shown(line[at])}` : "";
      const key = draw("svg", { width: 14, height: 8 },
        draw("line", { x1: 0, x2: 14, y1: 4, y2: 4, "stroke-width": 2.5, stroke: colour(index), class: dash(index) }));
      return make("tr", {}, make("td", {}, key), make("td", {}, label(name)), make("td", {}, shown(curve.y[at]) + band + smooth));
    });
    const width1 = Math.max(...scale.seen.map(({ curve }) => curve.width));
    const here = run.events.filter((each) => Math.abs(each.step - step) < Math.max(1, (scale.end - scale.first) / 200)).slice(0, 3);
    showTip(event, make("b", {}, width1 > 1 ? `from step ${shown(step)}, mean of ${width1}` : `step ${shown(step)}`),
      make("table", {}, ...rows), ...here.map((each) => make("div", { class: "undecided" }, `${each.event} (${shown(each.step)})`)));
  });
  svg.addEventListener("pointerleave", () => { hideTip(); scale?.cursor.setAttribute("visibility", "hidden"); });
  return { box, redraw };
}

function curves() {
  const charts = grouped().map(([title, names]) => chart(title, names));
  if (!charts.length) return add(make("h2", {}, "Curves"), make("p", { class: "soft" }, "No metrics yet."));
  const redraw = () => charts.forEach((each) => each.redraw());
  const amount = make("output", {}, shown(look.smoothing));
  add(make("h2", {}, "Curves"), make("div", { class: "bar" },
    make("label", {}, "smoothing", make("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: look.smoothing, id: "smoothing",
      oninput(event) { look.smoothing = Number(event.target.value); amount.textContent = shown(look.smoothing); redraw(); } }), amount),
    make("label", {}, make("input", { type: "checkbox", id: "log",
      onchange(event) { look.log = event.target.checked; redraw(); } }), "logarithmic axis"),
    make("span", { class: "note" }, Object.values(run.curves).some((curve) => curve.width > 1)
      ? "Neighbouring steps are drawn as their mean; the pale band is their least and greatest." : "")),
  make("div", { class: "charts" }, ...charts.map((each) => each.box)));
  redraw();
  addEventListener("resize", redraw);
}

// ---- events and config
function events() {
  const rows = run.events.map(({ step, event, about }) =>
    make("tr", {}, make("td", {}, shown(step)), make("td", {}, event.replaceAll("_", " ")), make("td", { class: "text" }, about)));
  if (rows.length) {
    add(make("h2", {}, "Events and alarms"), make("div", { class: "card scroll" }, make("table", { class: "events" },
      make("tr", {}, make("th", {}, "step"), make("th", {}, "event"), make("th", {}, "about")), ...rows)));
  }
}
function config() {
  add(make("h2", {}, "Configuration"),
    make("details", { class: "card" }, make("summary", {}, "config.toml"), make("pre", { id: "config" }, run.config)));
}

// ---- samples
const MARKS = { right: "✓", wrong: "✗", undecided: "?" };
const markOf = (sample) => (Object.hasOwn(MARKS, sample.verdict ?? "") ? sample.verdict : "undecided");
function block(title, text, open = true) {
  if (text === undefined || text === "") return [];
  return [make("h3", {}, title), make("div", { class: "text", tabindex: open ? 0 : undefined }, text)];
}
function tokens(sample) {
  if (!sample.tokens) return [];
  const spans = sample.tokens.map(([text, logprob], index) => {
    const span = make("span", { "data-at": index, class: logprob === null ? "given" : undefined }, text);
    if (logprob !== null) span.style.backgroundColor = `rgb(var(--doubt) / ${Math.min(0.75, Math.max(0, -logprob) / 5).toFixed(3)})`;
    return span;
  });
  const shade = make("div", { class: "text tokens", tabindex: 0, onpointerleave: hideTip,
    onpointermove(event) {
      const at = event.target.dataset?.at;
      if (at === undefined) return hideTip();
      const [text, logprob] = sample.tokens[at];
      showTip(event, `token ${Number(at) + 1}  ${JSON.stringify(text)}\n` + (logprob === null ? "given, not sampled"
        : `log-probability ${logprob.toFixed(4)}   probability ${(100 * Math.exp(logprob)).toPrecision(3)} %`));
    } }, ...spans);
  const more = sample.more_tokens ? make("p", { class: "note" }, `${shown(sample.more_tokens)} more tokens are left out.`) : null;
  return [make("h3", {}, "Tokens: the deeper the colour, the less likely; grey was given, not sampled"), shade, more];
}
function detail(sample) {
  const mark = markOf(sample);
  const facts = [["step", sample.step], ["group", sample.group], ["family", sample.family], ["band", sample.band],
    ["reward", sample.reward], ["advantage", sample.advantage], ["tokens", sample.tokens && sample.tokens.length + (sample.more_tokens ?? 0)]]
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => make("span", {}, `${name} ${typeof value === "number" ? shown(value) : value}`));
  return [
    make("div", { class: `verdict ${mark}` }, `${MARKS[mark]} ${sample.verdict ?? "no verdict"}${sample.reason ? `: ${sample.reason}` : ""}`),
    make("div", { class: "facts" }, ...facts),
    ...block("Prompt", sample.question), ...block("Thinking", sample.thinking), ...block("Answer", sample.answer), ...tokens(sample),
  ];
}
function samples() {
  add(make("h2", {}, "Samples"));
  if (!run.samples.length) return add(make("p", { class: "soft" }, "No samples yet."));
  const list = make("div", { class: "card list", role: "group", "aria-label": "samples" });
  const view = make("div", { class: "card sample", id: "sample" });
  const chosen = { step: "", family: "", verdict: "", text: "" };
  let found = [], current = 0;
  function select(index, focus = false) {
    list.children[current]?.setAttribute("aria-current", "false");
    current = index;
    const row = list.children[index];
    row.setAttribute("aria-current", "true");
    if (focus) row.focus();
    row.scrollIntoView?.({ block: "nearest" });
    view.replaceChildren(...detail(found[index]).filter(Boolean));
  }
  function refresh(scroll = true) {
    const wanted = chosen.text.toLowerCase();
    found = run.samples.filter((sample) => (chosen.step === "" || String(sample.step) === chosen.step)
      && (chosen.family === "" || (sample.family ?? "–") === chosen.family) && (chosen.verdict === "" || (sample.verdict ?? "–") === chosen.verdict)
      && (wanted === "" || [sample.question, sample.thinking, sample.answer, sample.reason].some((text) => text?.toLowerCase().includes(wanted))));
    list.replaceChildren(...found.map((sample, index) => make("button", { onclick() { select(index); } },
      make("span", { class: markOf(sample) }, MARKS[markOf(sample)]),
      make("span", {}, `${sample.family ?? "–"}${sample.band ? ` ${sample.band}` : ""}${sample.reward !== undefined ? `, reward ${shown(sample.reward)}` : ""}`),
      make("span", { class: "soft" }, `step ${shown(sample.step)}`), make("span", { class: "asked" }, sample.question ?? ""))));
    count.textContent = `${shown(found.length)} of ${shown(run.samples.length)}`;
    current = 0;
    if (!found.length) view.replaceChildren(make("p", { class: "soft" }, "No sample fits these filters."));
    else if (scroll) select(0);
    else { list.children[0].setAttribute("aria-current", "true"); view.replaceChildren(...detail(found[0]).filter(Boolean)); }
  }
  list.addEventListener("keydown", (event) => {
    const next = current + ({ ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key] ?? 0);
    if (next === current) return;
    event.preventDefault();
    if (next >= 0 && next < found.length) select(next, true);
  });
  function filter(name) {
    const values = [...new Set(run.samples.map((sample) => (name === "step" ? sample.step : sample[name] ?? "–")))].sort((a, b) => (a > b ? 1 : -1));
    return make("label", {}, name, make("select", { id: name, onchange(event) { chosen[name] = event.target.value; refresh(); } },
      make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, typeof value === "number" ? shown(value) : value))));
  }
  const count = make("span", { class: "soft", id: "count" });
  add(make("div", { class: "bar" }, filter("step"), filter("family"), filter("verdict"),
    make("input", { type: "search", id: "text", placeholder: "text", "aria-label": "text", oninput(event) { chosen.text = event.target.value; refresh(); } }), count),
  make("div", { class: "viewer" }, list, view));
  refresh(false);
}

head();
events();
curves();
samples();
config();
