// Cards over the steps of one run: a metric each, and a value each as a line of steps with a mark at every edit.
//
// All cards have the same step axis. Drag chooses a part of it, double click shows it all again. Text is text: nothing
// here writes HTML.

const SVG = "http://www.w3.org/2000/svg", HEIGHT = 150, LEFT = 58, RIGHT = 10, TOP = 8, BOTTOM = 20;
const ENOUGH = 20, CLOSE = 5;

const make = (tag, given = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) if (value !== undefined) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
const drawn = (tag, given, text) => {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(given)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const set = (element, name, value) => { if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value); };
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

const own = (found, key) => (Object.hasOwn(found, key) ? found[key] : undefined);  // a key may be called toString

// A moving average, which begins anew after what is not finite.
export const smooth = (values, weight) => {
  let last = NaN;
  return values.map(value => {
    last = Number.isFinite(last) && Number.isFinite(value) ? weight * last + (1 - weight) * value : value;
    return last;
  });
};

// The ends of the values that are shown: without outliers, which are far beyond 98 % of the others.
export const reach = (values, isWhole) => {
  const sorted = Float64Array.from(values.filter(Number.isFinite)).sort();
  if (!sorted.length) return null;
  const low = sorted[0], high = sorted.at(-1);
  if (isWhole || sorted.length < ENOUGH) return [low, high];
  const at = share => sorted[Math.round(share * (sorted.length - 1))];
  const [least, most] = [at(0.01), at(0.99)], room = (most - least) * 0.5;
  return [Math.max(low, least - room), Math.min(high, most + room)];
};

export function render({model}) {
  const place = `trainctl cards ${location.pathname}`;
  const kept = (() => { try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; } })();
  const series = new Map(), cards = new Map(), logs = new Map(Object.entries(kept.logs || {})), added = new Set(kept.added);
  let part = kept.part || null, isDue = false, dragged = null;

  const slider = make("input", {type: "range", min: 0, max: 0.99, step: 0.01, "aria-label": "smoothing"});
  slider.value = kept.smoothing || 0;
  const outliers = make("input", {type: "checkbox"});
  outliers.checked = Boolean(kept.outliers);
  const home = make("button", {type: "button"}, "All steps");
  const more = make("select", {"aria-label": "add the card of a value"});
  const top = make("div", {class: "tools"}, make("label", {}, "smoothing ", slider), make("label", {}, outliers, " outliers"), more, home);
  const grid = make("div", {class: "grid"}), empty = make("p", {class: "empty"});
  const tip = make("div", {class: "tip", role: "tooltip"});
  const root = make("div", {class: "cards"}, top, empty, grid, tip);

  const keep = () => {
    const now = {part, smoothing: Number(slider.value), outliers: outliers.checked, logs: Object.fromEntries(logs), added: [...added]};
    try { sessionStorage.setItem(place, JSON.stringify(now)); } catch { /* a full or a forbidden store: not kept */ }
  };
  const redraw = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; for (const card of cards.values()) draw(card); });
  };
  const isLog = name => logs.get(name) ?? Boolean(own(model.values, name)?.log);
  const now = () => model.now;
  const whole = () => {
    const ends = [...series.values()].filter(one => one.steps.length);
    const first = Math.min(...ends.map(one => one.steps[0]), ...(ends.length ? [] : [0]));
    const last = Math.max(now(), ...ends.map(one => one.steps.at(-1)), 1);
    const ahead = model.marks.ahead.map(([step]) => step).filter(step => step <= last + (last - first) * 0.5);
    return [Object.keys(model.values).length ? Math.min(first, 0) : first, Math.max(last, ...ahead)];
  };
  const shown = () => part || whole();

  // which cards there are: the metrics, then the values that were edited or chosen
  const lay = () => {
    const values = Object.keys(model.values);
    const wanted = [...model.metrics.map(name => [`metric ${name}`, name, false]), ...values.map(name => [`value ${name}`, name, true])];
    for (const [id, card] of cards) if (!wanted.some(([name]) => name === id)) { card.element.remove(); cards.delete(id); }
    for (const [id, name, isValue] of wanted) {
      const card = cards.get(id) || cardOf(id, name, isValue);
      grid.append(card.element);
    }
    const left = model.keys.filter(key => !values.includes(key));
    const options = ["add a value …", ...left].map((key, at) => make("option", {value: at ? key : ""}, key));
    if (more.options.length !== options.length) more.replaceChildren(...options);
    more.hidden = !left.length;
    write(empty, wanted.length ? "" : "Nothing has been logged yet: what the task gives live.log(loss=…) is drawn here by step.");
    redraw();
  };
  const cardOf = (id, name, isValue) => {
    const last = make("span", {class: "last"}), log = make("button", {type: "button", "aria-pressed": false, "aria-label": `log axis of ${name}`}, "log");
    const head = make("div", {class: "head"}, make("h3", {title: name}, name), last, log);
    const picture = drawn("svg", {role: "img", "aria-label": `${name} by step`, height: HEIGHT});
    const element = make("section", {class: `card ${isValue ? "of-value" : "of-metric"}`, "data-card": name}, head, picture);
    const card = {id, name, isValue, element, last, log, picture};
    log.addEventListener("click", () => { logs.set(name, !isLog(name)); keep(); redraw(); });
    listen(card);
    cards.set(id, card);
    watched.observe(picture);
    return card;
  };
  const watched = new ResizeObserver(redraw);

  // one card
  const pointsOf = card => {
    if (!card.isValue) return series.get(card.name) || {steps: [], values: []};
    const points = own(model.values, card.name)?.points || [];
    return {steps: points.map(point => point[0]), values: points.map(point => point[1])};
  };
  const scaleOf = (card, points, smoothed) => {
    const [from, to] = shown(), width = Math.max(card.picture.clientWidth, LEFT + RIGHT + 20);
    let ends = null;
    const isIn = points.steps.map(step => step >= from && step <= to);
    if (card.isValue) {
      const before = points.steps.findLastIndex(step => step <= from);
      const ahead = aheadOf(card).map(([, value]) => value);
      ends = reach([...points.values.filter((_, at) => isIn[at] || at === before), ...ahead], true);
    } else ends = reach(smoothed.filter((_, at) => isIn[at]), outliers.checked);
    if (!ends) return null;
    let [low, high] = ends;
    const log = isLog(card.name) && low > 0;
    if (low === high) [low, high] = log ? [low / 2, high * 2] : low === 0 ? [-1, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
    const there = log ? Math.log : value => value, bottom = there(low), top = there(high), room = (top - bottom) * 0.06;
    return {
      from, to, low, high, log, width,
      x: step => LEFT + (step - from) / (to - from || 1) * (width - LEFT - RIGHT),
      y: value => HEIGHT - BOTTOM - (there(value) - bottom + room) / (top - bottom + 2 * room) * (HEIGHT - TOP - BOTTOM),
      back: x => from + (x - LEFT) / (width - LEFT - RIGHT) * (to - from),
    };
  };
  const aheadOf = card => model.marks.ahead.filter(one => own(one[2], card.name) !== undefined).map(one => [one[0], one[2][card.name]]);

  const draw = card => {
    const points = pointsOf(card), smoothed = card.isValue ? points.values : smooth(points.values, Number(slider.value));
    const scale = scaleOf(card, points, smoothed), {picture} = card, log = isLog(card.name);
    write(card.last, points.values.length ? number(points.values.at(-1)) : "");
    set(card.log, "aria-pressed", log);
    if (!scale) {
      const said = points.values.length ? "no finite number in these steps" : "no number yet";
      picture.replaceChildren(drawn("text", {x: LEFT, y: HEIGHT / 2, class: "none"}, said));
      return;
    }
    card.scale = scale;
    const {x, y, width} = scale, parts = [], inside = step => step >= scale.from && step <= scale.to;
    for (const value of ticks(scale.low, scale.high, 4, scale.log)) {
      parts.push(drawn("line", {x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "grid-line"}));
      parts.push(drawn("text", {x: LEFT - 6, y: y(value) + 4, class: "tick of-value", "text-anchor": "end"}, number(value)));
    }
    for (const step of ticks(scale.from, scale.to, Math.max(2, Math.floor(width / 110)), false)) {
      if (!Number.isInteger(step) || !inside(step)) continue;
      const anchor = x(step) > width - 30 ? "end" : "middle";
      parts.push(drawn("line", {x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM, class: "grid-line"}));
      parts.push(drawn("text", {x: x(step), y: HEIGHT - 5, class: "tick of-step", "text-anchor": anchor}, count(step)));
    }
    const clip = `clip ${card.id}`.replace(/\W/g, "_");
    const frame = drawn("clipPath", {id: clip});
    frame.append(drawn("rect", {x: LEFT, y: 0, width: width - LEFT - RIGHT, height: HEIGHT - BOTTOM + 1}));
    const lines = drawn("g", {"clip-path": `url(#${clip})`});
    if (card.isValue) drawValue(card, points, scale, lines);
    else drawMetric(points, smoothed, scale, lines);
    for (const [step, text] of model.marks.edits) if (inside(step)) lines.append(edge(x(step), "edit", `step ${count(step)}: ${text}`));
    for (const [step, text] of model.marks.ahead) if (inside(step)) lines.append(edge(x(step), "ahead", text));
    const now = drawn("line", {class: "pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden"});
    const chosen = drawn("rect", {class: "chosen", y: TOP, height: HEIGHT - BOTTOM - TOP, visibility: "hidden"});
    card.pointer = now;
    card.chosen = chosen;
    picture.replaceChildren(frame, ...parts, lines, now, chosen);
    if (dragged?.card === card) showDrag();
  };
  const edge = (x, kind, text) => {
    const line = drawn("line", {x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM, class: kind, "data-text": text});
    return line;
  };
  const drawMetric = (points, smoothed, scale, lines) => {
    if (Number(slider.value) > 0) lines.append(drawn("path", {class: "raw", d: path(points.steps, points.values, scale, lines, false)}));
    lines.append(drawn("path", {class: "line", d: path(points.steps, smoothed, scale, lines, true)}));
    const {steps, values} = points;
    for (let at = 0; at < steps.length; at++) {  // where there is no number
      if (Number.isFinite(values[at])) continue;
      const from = at, found = new Set();
      for (; at < steps.length && !Number.isFinite(values[at]); at++) found.add(number(values[at]));
      const left = scale.x(steps[from]), right = scale.x(steps[at - 1]);
      const steps_ = from === at - 1 ? `step ${count(steps[from])}` : `steps ${count(steps[from])} to ${count(steps[at - 1])}`;
      lines.append(drawn("rect", {class: "gap", x: left - 1, width: right - left + 2, y: TOP, height: HEIGHT - BOTTOM - TOP,
        "data-text": `${[...found].join(", ")} at ${steps_}`}));
    }
  };
  const path = (steps, values, scale, lines, withDots) => {  // of many points in one column of the screen least and most
    const said = [];
    let isGap = true, column = null;
    const flush = () => {
      if (!column) return;
      const {at, first, least, most, last} = column;
      for (const value of new Set([first, least, most, last])) said.push(`${isGap ? "M" : "L"}${at} ${scale.y(value).toFixed(1)}`), isGap = false;
      column = null;
    };
    for (let at = 0; at < steps.length; at++) {
      const value = values[at];
      if (!Number.isFinite(value) || (scale.log && value <= 0)) { flush(); isGap = true; continue; }
      const x = Math.round(scale.x(steps[at]) * 2) / 2;
      if (withDots && !Number.isFinite(values[at - 1]) && !Number.isFinite(values[at + 1])) lines.append(drawn("circle", {class: "dot", cx: x, cy: scale.y(value), r: 2}));
      if (column && column.at !== x) flush();
      if (!column) column = {at: x, first: value, least: value, most: value, last: value};
      else { column.least = Math.min(column.least, value); column.most = Math.max(column.most, value); column.last = value; }
    }
    flush();
    return said.join("");
  };
  const drawValue = (card, points, scale, lines) => {
    let said = "";
    points.steps.forEach((step, at) => {
      said += at ? `H${scale.x(step)}V${scale.y(points.values[at])}` : `M${scale.x(step)} ${scale.y(points.values[at])}`;
    });
    const last = points.steps.length - 1, end = Math.max(now(), points.steps[last]);
    lines.append(drawn("path", {class: "line", d: `${said}H${scale.x(end)}`}));
    const ahead = aheadOf(card);
    if (ahead.length) {
      let coming = `M${scale.x(end)} ${scale.y(points.values[last])}`;
      for (const [step, value] of ahead) coming += `H${scale.x(step)}V${scale.y(value)}`;
      lines.append(drawn("path", {class: "coming", d: `${coming}H${scale.x(Math.max(scale.to, end))}`}));
    }
    points.steps.forEach((step, at) => {
      if (at) lines.append(drawn("circle", {class: "mark", cx: scale.x(step), cy: scale.y(points.values[at]), r: 4}));
    });
  };

  // what is under the pointer; drag and double click
  const nearest = (steps, step) => {
    let low = 0, high = steps.length - 1;
    while (low < high) { const middle = (low + high) >> 1; if (steps[middle] < step) low = middle + 1; else high = middle; }
    return low && Math.abs(steps[low - 1] - step) <= Math.abs(steps[low] - step) ? low - 1 : low;
  };
  const hide = () => { tip.classList.remove("on"); for (const card of cards.values()) card.pointer?.setAttribute("visibility", "hidden"); };
  const look = (card, event) => {
    const {scale} = card, box = card.picture.getBoundingClientRect(), at = event.clientX - box.left;
    if (!scale || at < LEFT || at > scale.width - RIGHT) { hide(); return; }
    const points = pointsOf(card), step = scale.back(at), texts = [];
    const index = card.isValue ? points.steps.findLastIndex(one => one <= step) : nearest(points.steps, step);
    const place = card.isValue ? Math.round(step) : points.steps[index];
    if (points.steps[index] !== undefined) texts.push(`step ${count(place)}`, `${card.name} ${number(points.values[index])}`);
    for (const mark of card.picture.querySelectorAll("[data-text]")) {
      const left = Number(mark.getAttribute("x1") ?? mark.getAttribute("x")), right = left + Number(mark.getAttribute("width") || 0);
      if (at >= left - CLOSE && at <= right + CLOSE) texts.push(mark.dataset.text);
    }
    tip.replaceChildren(...texts.map(text => make("div", {}, text)));
    tip.classList.toggle("on", texts.length > 0);
    const around = root.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(event.clientX - around.left + 12, around.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${event.clientY - around.top + 14}px`;
    for (const other of cards.values()) {
      if (!other.scale || !other.pointer) continue;
      set(other.pointer, "x1", other.scale.x(place));
      set(other.pointer, "x2", other.scale.x(place));
      set(other.pointer, "visibility", "visible");
    }
  };
  const showDrag = () => {
    const {card, from, to} = dragged;
    set(card.chosen, "x", Math.min(from, to));
    set(card.chosen, "width", Math.abs(to - from));
    set(card.chosen, "visibility", "visible");
  };
  const showAll = () => { part = null; keep(); home.hidden = true; redraw(); };
  const listen = card => {
    const within = event => {
      const box = card.picture.getBoundingClientRect();
      return Math.max(LEFT, Math.min(event.clientX - box.left, (card.scale?.width ?? LEFT) - RIGHT));
    };
    card.picture.addEventListener("pointerdown", event => {
      if (!card.scale || event.button !== 0) return;
      dragged = {card, from: within(event), to: within(event)};
      card.picture.setPointerCapture(event.pointerId);
    });
    card.picture.addEventListener("pointermove", event => {
      if (dragged?.card === card) { dragged.to = within(event); showDrag(); hide(); } else look(card, event);
    });
    card.picture.addEventListener("pointerup", () => {
      if (dragged?.card !== card) return;
      const [from, to] = [dragged.from, dragged.to].sort((a, b) => a - b);
      dragged = null;
      set(card.chosen, "visibility", "hidden");
      if (to - from < 2 * CLOSE) return;
      part = [card.scale.back(from), card.scale.back(to)];
      home.hidden = false;
      keep();
      redraw();
    });
    card.picture.addEventListener("pointercancel", () => { dragged = null; redraw(); });
    card.picture.addEventListener("pointerleave", hide);
    card.picture.addEventListener("dblclick", showAll);
  };

  slider.addEventListener("input", () => { keep(); redraw(); });
  outliers.addEventListener("change", () => { keep(); redraw(); });
  home.addEventListener("click", showAll);
  home.hidden = part === null;
  more.addEventListener("change", () => {
    if (!more.value) return;
    added.add(more.value);
    keep();
    model.send_msg({added: [...added]});
  });

  // points come as they are logged; whoever has missed some asks for all
  const take = () => {
    for (const [name, from, isWhole, steps, values] of model.news.series || []) {
      const known = series.get(name) || {steps: [], values: []};
      if (isWhole) series.set(name, {steps: [...steps], values: [...values]});
      else if (from === known.steps.length) { known.steps.push(...steps); known.values.push(...values); series.set(name, known); }
      else model.send_msg({again: name});
    }
    redraw();
  };
  model.on("news", take);
  model.on(["metrics", "values", "keys"], lay);
  model.on(["marks", "now"], redraw);
  take();
  lay();
  if (added.size) model.send_msg({added: [...added]});
  return root;
}
