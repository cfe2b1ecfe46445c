// Cards over steps: one for each metric, with the lines of all runs of a page, and on the page of one run one for each
// value that was edited, with what is still to come. They are drawn on canvases, so that the pointer can move over a hundred
// lines in ten cards. The server sends lines and what was added to them; smoothing, scales and zooming are done here.

const RIM = {left: 50, right: 12, top: 8, bottom: 20};
const NEAR = 36;  // pixels from a line within which it is the one that is meant
const SLACK = 4;  // pixels that a click may move
const WAIT_MS = 230;  // for a second click, before the first opens a run
const EDIT = "#d98200", BAD = "#c8504b", BLUE = "#4c7fb8";
const HOVER = "trainctl-hover";

const STYLE = `
.cards { --line: color-mix(in srgb, currentColor 22%, transparent); }
.tools { padding: 4px 12px; }
.tools input[type=search] { width: 120px; }
.legend { display: inline-flex; flex-wrap: wrap; gap: 2px 12px; }
.legend i, .tip i { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 4px;
  vertical-align: middle; }
.legend:empty { display: none; }
.legend i.ramp { width: 90px; height: 8px; }
.note { opacity: .78; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); gap: 8px; padding: 0 12px;
  overflow-y: auto; scrollbar-width: thin; }
.of-one .grid { grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); }
.of-one .plot { height: 150px; }
.card { border: 1px solid var(--line); border-radius: 4px; min-width: 0; }
.card header { display: flex; gap: 8px; align-items: baseline; padding: 4px 8px 0; height: 28px; box-sizing: border-box; }
.card h3 { font-size: var(--text); margin: 0; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; flex: 1 1 auto; }
.card h3 small { font-size: var(--small); font-weight: 400; opacity: .78; }
.card header span { opacity: .78; font-size: var(--small); white-space: nowrap; }
.card button { font: inherit; font-size: var(--small); line-height: 18px; color: inherit; background: transparent; padding: 0 8px;
  border: 1px solid var(--edge); border-radius: 4px; cursor: pointer; }
.card button[aria-pressed=true] { background: var(--main); border-color: var(--main); color: #fff; }
.plot { position: relative; height: 178px; touch-action: pan-y; cursor: crosshair; }
.plot canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.plot.is-dim canvas.base { opacity: .28; }
.tip { position: absolute; z-index: 5; pointer-events: none; max-width: 300px; padding: 4px 8px; border-radius: 4px;
  background: #1d2733; color: #fff; font-size: var(--small); line-height: 1.4; overflow-wrap: anywhere; box-shadow: 0 1px 5px #0006; }
.empty { padding: 12px; opacity: .85; }
.handle { height: 10px; cursor: row-resize; display: flex; align-items: center; justify-content: center; touch-action: none; }
.handle::after { content: ""; width: 60px; height: 4px; border-radius: 2px; background: var(--line); }
.handle:hover::after, .handle:focus-visible::after { background: var(--mark); }
`;

const made = (tag, attributes = {}, ...inner) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...inner);
  return element;
};

// An average whose memory is a share of the width of the plot, however many points a line has; it begins anew after a gap.
function smoothed(x, y, weight, width) {
  if (!weight) return y;
  const found = new Float64Array(y.length);
  let sum = 0, parts = 0, last = null;
  for (let at = 0; at < y.length; at++) {
    if (!Number.isFinite(y[at])) {
      found[at] = y[at];
      last = null;
      continue;
    }
    const kept = last === null ? 0 : Math.min(Math.sqrt(weight), 0.999) ** (((x[at] - last) / width) * 400);
    sum = sum * kept + y[at];
    parts = parts * kept + 1;
    found[at] = sum / parts;
    last = x[at];
  }
  return found;
}

const joined = (one, other) => {
  const found = new Float64Array(one.length + other.length);
  found.set(one);
  found.set(other, one.length);
  return found;
};

const indexAt = (x, value) => {  // of the last point at or before a step
  let low = 0, high = x.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (x[middle] <= value) low = middle; else high = middle - 1;
  }
  return low;
};

class Line {
  constructor(x, y) {
    this.set(x, y);
  }

  set(x, y) {
    this.x = Float64Array.from(x);
    this.y = Float64Array.from(y);
    this.shown = null;
  }

  append(x, y) {
    this.x = joined(this.x, x);
    this.y = joined(this.y, y);
    this.shown = null;
  }

  smooth(weight, width) {
    const by = `${weight} ${width}`;
    if (this.shown === null || this.by !== by) {
      this.shown = smoothed(this.x, this.y, weight, width);
      this.by = by;
    }
    return this.shown;
  }

  valueAt(step, of) {
    const at = indexAt(this.x, step);
    if (at + 1 >= this.x.length || this.x[at] >= step || !Number.isFinite(of[at + 1])) return of[at];
    return of[at] + (of[at + 1] - of[at]) * (step - this.x[at]) / (this.x[at + 1] - this.x[at]);
  }

  get gaps() {  // first and last step without a point, and the value before
    const found = [];
    for (let at = 0; at < this.y.length; at++) {
      if (Number.isFinite(this.y[at])) continue;
      const first = at, what = new Set([number(this.y[at])]);
      while (at + 1 < this.y.length && !Number.isFinite(this.y[at + 1])) what.add(number(this.y[++at]));
      found.push({first: this.x[first], last: this.x[at], what: [...what].join(", "), before: first - 1});
    }
    return found;
  }
}

class Card {
  constructor(cards, name, id = name) {
    this.cards = cards;
    this.name = name;
    this.id = id;  // of a value another one than of the metric that has its name
    this.lines = new Map();
    this.bands = [];
    this.isVisible = this.isDue = false;
    this.ground = made("canvas", {"aria-hidden": "true"});
    this.base = made("canvas", {class: "base"});
    this.over = made("canvas", {"aria-hidden": "true"});
    this.base.setAttribute("role", "img");
    this.plot = made("div", {class: "plot"}, this.ground, this.base, this.over);
    this.said = made("span", {});
    this.log = made("button", {type: "button", "aria-pressed": "false", title: "logarithmic values", "aria-label": `log of ${id}`}, "log");
    this.log.addEventListener("click", () => cards.toggleLog(this));
    this.root = made("article", {class: "card", "aria-label": id}, made("header", {}, made("h3", {title: name}, name), this.said, this.log), this.plot);
    this.root.card = this;
    this.tip = null;
    this.listen();
  }

  get isLog() {
    return this.cards.settings.log.includes(this.id) !== this.wantsLog;
  }

  get wantsLog() { return false; }

  listen() {
    const plot = this.plot;
    let from = null, opening = null;
    plot.addEventListener("pointermove", event => {
      if (from !== null) this.drag = [from, event.offsetX];
      this.point(event);
    });
    plot.addEventListener("pointerdown", event => {
      if (event.button === 0 && event.pointerType !== "touch") {
        from = event.offsetX;
        plot.setPointerCapture(event.pointerId);
      }
    });
    plot.addEventListener("pointerup", event => {
      const began = from;
      from = null;
      this.drag = null;
      if (began !== null && Math.abs(event.offsetX - began) > SLACK) {
        const ends = [began, event.offsetX].map(at => this.stepAt(at)).sort((a, b) => a - b);
        this.cards.zoom(ends);
        return;
      }
      const run = this.cards.lit;
      if (run === null || event.button > 1) return;
      const url = this.cards.hrefOf(run);
      if (!url) return;
      if (event.ctrlKey || event.metaKey || event.button === 1) window.open(url, "_blank", "noopener");
      else if (opening === null) opening = setTimeout(() => { location.href = url; }, WAIT_MS);
    });
    plot.addEventListener("dblclick", () => {
      clearTimeout(opening);
      opening = null;
      this.cards.zoom(null);
    });
    plot.addEventListener("pointerleave", () => {
      this.hide();
      this.cards.light(null, this);
      this.cards.pointAt(null);
    });
  }

  take(id, x, y, isMore) {
    const line = this.lines.get(id);
    if (isMore && line) line.append(x, y);
    else if (line) line.set(x, y);
    else this.lines.set(id, new Line(x, y));
  }

  drop(known) {
    for (const id of [...this.lines.keys()]) if (!known.has(id)) this.lines.delete(id);
  }

  get ends() {  // the first and the last step of what is drawn
    const found = [...this.lines.values()].map(line => line.x).concat(this.bands.map(band => band.steps)).filter(steps => steps.length);
    return found.length ? [Math.min(...found.map(steps => steps[0])), Math.max(...found.map(steps => steps[steps.length - 1]))] : null;
  }

  get width() { return this.plot.clientWidth; }
  get height() { return this.plot.clientHeight; }

  due() {
    if (this.isDue || !this.isVisible) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  scales() {
    const [x0, x1] = this.cards.steps(), isLogX = this.cards.settings.logx && x1 > 0;
    const left = RIM.left, right = this.width - RIM.right, top = RIM.top, bottom = this.height - RIM.bottom;
    const lowX = isLogX ? Math.max(x0, x1 > 1 ? 1 : x1 / 1e3) : x0, [a, b] = isLogX ? [Math.log(lowX), Math.log(x1)] : [x0, x1];
    const [low, high] = this.values([x0, x1]), isLogY = this.isLog && low > 0;
    const [c, d] = isLogY ? [Math.log(low), Math.log(high)] : [low, high];
    const spreadX = b - a || 1, spreadY = d - c || 1;
    this.scale = {
      x: step => left + (right - left) * ((isLogX ? Math.log(Math.max(step, 1e-12)) : step) - a) / spreadX,
      y: value => bottom - (bottom - top) * ((isLogY ? Math.log(value) : value) - c) / spreadY,
      step: at => {
        const found = a + spreadX * (at - left) / (right - left);
        return isLogX ? Math.exp(found) : found;
      },
      left, right, top, bottom, low, high, lowX, x1, isLogX, isLogY,
    };
    return this.scale;
  }

  stepAt(at) {
    const scale = this.scale || this.scales();
    return scale.step(Math.min(Math.max(at, scale.left), scale.right));
  }

  // The least and the greatest value to show. What lies beyond three times the span of the middle four fifths of all
  // values is left out unless outliers are wanted.
  values([x0, x1]) {
    const found = [];
    for (const [, line] of this.lines) {
      const shown = line.smooth(this.cards.settings.smooth, this.cards.span());
      for (let at = 0; at < line.x.length; at++) {
        if (line.x[at] >= x0 && line.x[at] <= x1 && Number.isFinite(shown[at]) && !(this.isLog && shown[at] <= 0)) found.push(shown[at]);
      }
    }
    for (const band of this.bands) {
      band.steps.forEach((step, at) => {
        if (step < x0 || step > x1) return;
        for (const value of [band.low[at], band.high[at]]) if (Number.isFinite(value) && !(this.isLog && value <= 0)) found.push(value);
      });
    }
    return this.around(found, this.cards.settings.outliers);
  }

  around(found, isWhole) {
    this.empty = found.length ? "" : this.ends ? "no finite number in these steps" : "no number yet";
    this.beyond = 0;
    if (!found.length) return [0, 1];
    found.sort((a, b) => a - b);
    let low = found[0], high = found[found.length - 1];
    if (!isWhole && found.length > 4) {
      const of = this.isLog ? Math.log : value => value, back = this.isLog ? Math.exp : value => value;
      const ten = of(found[Math.floor(0.1 * (found.length - 1))]), ninety = of(found[Math.ceil(0.9 * (found.length - 1))]);
      const most = back(ninety + 3 * (ninety - ten)), least = back(ten - 3 * (ninety - ten));
      if (ninety > ten) {
        const inside = found.filter(value => value >= least && value <= most);
        this.beyond = found.length - inside.length;
        low = inside[0];
        high = inside[inside.length - 1];
      }
    }
    if (high - low < 1e-9 * Math.max(Math.abs(low), Math.abs(high))) high = low;  // the same but for rounding
    if (this.isLog && low > 0) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    const rim = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    return [low - rim, high + rim];
  }

  canvas(canvas) {
    const ratio = window.devicePixelRatio || 1, width = this.width, height = this.height;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    return pen;
  }

  draw() {
    if (!this.width) return;
    const scale = this.scales(), pen = this.canvas(this.base);
    this.axes(this.canvas(this.ground), scale);
    pen.save();
    pen.beginPath();
    pen.rect(scale.left, scale.top - 2, scale.right - scale.left + 2, scale.bottom - scale.top + 4);
    pen.clip();
    this.content(pen, scale);
    pen.restore();
    this.base.setAttribute("aria-label", this.inWords());
    this.said.textContent = this.aside();
    this.overlay();
  }

  content(pen, scale) {
    const cards = this.cards;
    for (const band of this.bands) this.band(pen, scale, band);
    if (cards.isOne) this.shades(pen, scale, this.lines.get(cards.one.id) || null, cards.one);
    const hasChosen = cards.chosen.size > 0, many = this.lines.size > 40;
    const order = [...this.lines].sort(([one], [other]) => cards.chosen.has(one) - cards.chosen.has(other));
    for (const [id, line] of order) {
      const run = cards.runs.get(id);
      if (!run) continue;
      const isFaint = hasChosen && !cards.chosen.has(id);
      pen.globalAlpha = isFaint ? 0.16 : many ? 0.65 : 0.9;
      this.line(pen, scale, line, run, hasChosen && !isFaint ? 2.2 : 1.4);
      pen.globalAlpha = isFaint ? 0.3 : 1;
      this.marks(pen, scale, line, run);
    }
    pen.globalAlpha = 1;
  }

  aside() {  // beside the name: the last value of one run, and how much is not in sight
    const line = this.cards.isOne ? this.lines.get(this.cards.one.id) : undefined;
    const last = line && line.y.length ? number(line.y[line.y.length - 1]) : "";
    const beyond = this.beyond ? `${count(this.beyond)} outlier${this.beyond > 1 ? "s" : ""} beyond` : "";
    return [last, beyond].filter(Boolean).join(" · ");
  }

  inWords() {
    const [first, last] = this.cards.steps();
    if (this.empty) return `${this.id}: ${this.empty}`;
    const what = this.cards.isOne ? "this run" : this.bands.length ? `${this.bands.length} groups of runs` : `${this.lines.size} run${this.lines.size === 1 ? "" : "s"}`;
    return `${this.id} of ${what}, steps ${count(first)} to ${count(last)}, from ${number(this.scale.low)} to ${number(this.scale.high)}`;
  }

  axes(pen, scale) {
    const style = getComputedStyle(this.root), ink = style.color;
    pen.font = `11px ${style.fontFamily}`;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    const line = (x0, y0, x1, y1) => {
      pen.beginPath();
      pen.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
      pen.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
      pen.stroke();
    };
    pen.strokeStyle = pen.fillStyle = ink;
    if (this.empty) {
      pen.globalAlpha = 0.78;
      if (this.ends) pen.fillText(this.empty, scale.left, (scale.top + scale.bottom) / 2);
      pen.globalAlpha = 1;
      return;
    }
    pen.textAlign = "right";
    const values = ticks(scale.low, scale.high, 4, scale.isLogY), texts = labels(values);
    for (const [at, value] of values.entries()) {
      const y = scale.y(value);
      if (y < scale.top - 1 || y > scale.bottom + 1) continue;
      pen.globalAlpha = 0.13;
      line(scale.left, y, scale.right, y);
      pen.globalAlpha = 0.78;
      pen.fillText(texts[at], scale.left - 6, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const steps = ticks(scale.lowX, scale.x1, Math.max(2, Math.floor(this.width / 90)), scale.isLogX).filter(Number.isInteger);
    const told = labels(steps, step => step >= 1e6 ? `${number(step / 1e6)}M` : step >= 1e4 ? `${number(step / 1e3)}k` : count(step), count);
    for (const [at, step] of steps.entries()) {
      const x = scale.x(step), text = told[at];
      if (x < scale.left - 1 || x > scale.right + 1) continue;
      pen.globalAlpha = 0.13;
      line(x, scale.top, x, scale.bottom);
      pen.globalAlpha = 0.78;
      pen.fillText(text, Math.min(x, scale.right - pen.measureText(text).width / 2 + RIM.right), scale.bottom + 5);
    }
    pen.globalAlpha = 0.4;
    line(scale.left, scale.bottom, scale.right, scale.bottom);
    pen.globalAlpha = 1;
  }

  path(pen, scale, x, y) {
    pen.beginPath();
    let isDown = false;
    for (let at = 0; at < x.length; at++) {
      const value = y[at];
      if (!Number.isFinite(value) || (scale.isLogY && value <= 0)) {
        isDown = false;
        continue;
      }
      const px = scale.x(x[at]), py = Math.max(-1e5, Math.min(1e5, scale.y(value)));
      if (isDown) pen.lineTo(px, py); else pen.moveTo(px, py);
      if (!isDown && !Number.isFinite(y[at + 1])) {  // a point alone
        pen.arc(px, py, 1.5, 0, 7);
      }
      isDown = true;
    }
    pen.stroke();
  }

  line(pen, scale, line, run, width) {
    const weight = this.cards.settings.smooth, alpha = pen.globalAlpha;
    pen.strokeStyle = run.color;
    pen.lineJoin = "round";
    if (weight && this.lines.size <= 40) {
      pen.globalAlpha = alpha * 0.22;
      pen.lineWidth = 1;
      this.path(pen, scale, line.x, line.y);
      pen.globalAlpha = alpha;
    }
    pen.lineWidth = width;
    this.path(pen, scale, line.x, line.smooth(weight, this.cards.span()));
  }

  marks(pen, scale, line, run) {
    const shown = line.smooth(this.cards.settings.smooth, this.cards.span());
    for (const [step] of run.edits || []) {
      if (!line.x.length || step < line.x[0] || step > line.x[line.x.length - 1]) continue;
      const y = scale.y(line.valueAt(step, shown));
      if (Number.isFinite(y)) this.diamond(pen, scale.x(step), y);
    }
    for (const gap of line.gaps) {
      const before = gap.before >= 0 ? scale.y(shown[gap.before]) : scale.bottom - 5;
      this.cross(pen, scale.x(gap.first), Math.min(before, scale.bottom - 5));
    }
  }

  diamond(pen, x, y) {
    pen.beginPath();
    pen.moveTo(x, y - 5);
    pen.lineTo(x + 5, y);
    pen.lineTo(x, y + 5);
    pen.lineTo(x - 5, y);
    pen.closePath();
    pen.fillStyle = EDIT;
    pen.fill();
    pen.lineWidth = 1.2;
    pen.strokeStyle = "#3a2a00";
    pen.stroke();
  }

  cross(pen, x, y) {
    pen.strokeStyle = BAD;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.moveTo(x - 4, y - 4);
    pen.lineTo(x + 4, y + 4);
    pen.moveTo(x - 4, y + 4);
    pen.lineTo(x + 4, y - 4);
    pen.stroke();
  }

  band(pen, scale, band) {
    const xs = [...band.steps].map(scale.x), isDrawn = at => Number.isFinite(band.low[at]) && (!scale.isLogY || band.low[at] > 0);
    pen.fillStyle = pen.strokeStyle = band.color;
    pen.globalAlpha = 0.2;
    pen.beginPath();
    const there = [...xs.keys()].filter(isDrawn);
    there.forEach((at, place) => (place ? pen.lineTo(xs[at], scale.y(band.high[at])) : pen.moveTo(xs[at], scale.y(band.high[at]))));
    there.reverse().forEach(at => pen.lineTo(xs[at], scale.y(band.low[at])));
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    this.path(pen, scale, band.steps, band.middle);
  }

  // What is meant by the pointer: the line that is nearest to it.
  nearest(px, py) {
    const scale = this.scale;
    if (!scale || px < scale.left - 8 || px > scale.right + 8) return null;
    const step = scale.step(px);
    let found = null, least = this.cards.isOne ? Infinity : NEAR;
    const look = (x, of, line, key) => {
      if (!x.length) return;
      const inside = Math.min(Math.max(step, x[0]), x[x.length - 1]);
      let value = line.valueAt(inside, of), at = indexAt(x, inside);
      while (!Number.isFinite(value) && at >= 0) value = of[at--];  // within a gap: what was before it
      const away = Math.hypot(scale.x(inside) - px, scale.y(value) - py);
      if (away < least) {
        least = away;
        found = {...key, step: inside, value, x: scale.x(inside), y: scale.y(value)};
      }
    };
    for (const [id, line] of this.lines) {
      if (this.cards.runs.has(id)) look(line.x, line.smooth(this.cards.settings.smooth, this.cards.span()), line, {id});
    }
    for (const band of this.bands) look(band.steps, band.middle, new Line(band.steps, band.middle), {band});
    return found;
  }

  point(event) {
    const found = this.drag || !this.scale ? null : this.nearest(event.offsetX, event.offsetY);
    const isRun = found !== null && found.id !== undefined && !this.cards.isOne;
    this.at = found;
    this.plot.style.cursor = isRun ? "pointer" : "crosshair";
    this.cards.light(isRun ? found.id : null, this);
    this.cards.pointAt(found && found.step);
    if (found) this.show(found, event);
    else this.hide();
    this.overlay();
  }

  show(found, event) {
    if (this.tip === null) this.plot.append(this.tip = made("div", {class: "tip", role: "tooltip"}));
    const lines = this.inTip(found, step => Math.abs(this.scale.x(step) - event.offsetX) < 9);
    this.tip.replaceChildren(...lines.map(([text, color]) => made("div", {}, ...(color ? [made("i", {style: `background:${color}`})] : []), text)));
    const isRight = found.x > this.width / 2;
    this.tip.style.left = isRight ? "auto" : `${found.x + 12}px`;
    this.tip.style.right = isRight ? `${this.width - found.x + 12}px` : "auto";
    this.tip.style.top = `${Math.max(0, Math.min(found.y - 20, this.height - 70))}px`;
  }

  inTip(found, close) {  // lines of text, a run's or a group's with its colour
    const lines = [];
    if (found.band) {
      const at = indexAt(found.band.steps, found.step), [low, high] = [found.band.low[at], found.band.high[at]];
      lines.push([found.band.label, found.band.color], [`median ${number(found.value)}, a tenth below ${number(low)}, a tenth above ${number(high)}`]);
      lines.push([`${count(found.band.runs)} runs, step ${count(found.step)}`]);
    } else {
      const run = this.cards.runs.get(found.id), line = this.lines.get(found.id), near = indexAt(line.x, found.step);
      const at = near + 1 < line.x.length && line.x[near + 1] - found.step < found.step - line.x[near] ? near + 1 : near;
      if (!this.cards.isOne) lines.push([run.name, run.color]);
      lines.push([`${this.name} ${number(line.y[at])} · step ${count(line.x[at])}`]);
      if (run.said) lines.push([run.said]);
      lines.push(...this.cards.marksAt(run, close));
      for (const gap of line.gaps) {
        if (close(gap.first) || (found.step >= gap.first && found.step <= gap.last)) lines.push([`${gap.what} ${gap.first === gap.last ? `at step ${count(gap.first)}` : `from step ${count(gap.first)} to ${count(gap.last)}`}`]);
      }
    }
    return lines;
  }

  hide() {
    this.at = null;
    if (this.tip !== null) this.tip.remove();
    this.tip = null;
  }

  upright(pen, scale, step, dash, color) {
    pen.setLineDash(dash);
    pen.strokeStyle = color;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(scale.x(step), scale.top);
    pen.lineTo(scale.x(step), scale.bottom);
    pen.stroke();
    pen.setLineDash([]);
  }

  // What stands behind one run's line from top to bottom: its edits, what is to come, and where there is no number.
  shades(pen, scale, line, run) {
    for (const [step] of run.edits || []) this.upright(pen, scale, step, [4, 3], EDIT);
    for (const [step] of this.cards.ahead) this.upright(pen, scale, step, [1, 3], EDIT);
    pen.fillStyle = BAD;
    pen.globalAlpha = 0.14;
    for (const gap of line ? line.gaps : []) {
      pen.fillRect(scale.x(gap.first), scale.top, Math.max(2, scale.x(gap.last) - scale.x(gap.first)), scale.bottom - scale.top);
    }
    pen.globalAlpha = 1;
  }

  overlay() {
    if (!this.isVisible || !this.scale || !this.width) return;
    const pen = this.canvas(this.over), scale = this.scale, cards = this.cards;
    const line = cards.lit === null ? undefined : this.lines.get(cards.lit), run = cards.runs.get(cards.lit);
    this.plot.classList.toggle("is-dim", Boolean(line && run));
    if (this.drag) {
      pen.fillStyle = BLUE;
      pen.globalAlpha = 0.22;
      pen.fillRect(Math.min(...this.drag), scale.top, Math.abs(this.drag[1] - this.drag[0]), scale.bottom - scale.top);
      pen.globalAlpha = 1;
    }
    if (cards.isOne && cards.pointed !== null && cards.pointed >= scale.lowX && cards.pointed <= scale.x1) {
      pen.globalAlpha = 0.5;
      this.upright(pen, scale, cards.pointed, [], getComputedStyle(this.root).color);
      pen.globalAlpha = 1;
    }
    if (!line || !run) return;
    pen.save();
    pen.beginPath();
    pen.rect(scale.left, scale.top - 2, scale.right - scale.left + 2, scale.bottom - scale.top + 4);
    pen.clip();
    this.shades(pen, scale, line, run);
    this.line(pen, scale, line, run, 2.6);
    this.marks(pen, scale, line, run);
    if (this.at && this.at.id === cards.lit) {
      pen.beginPath();
      pen.arc(this.at.x, this.at.y, 4, 0, 7);
      pen.fillStyle = run.color;
      pen.fill();
    }
    pen.restore();
  }
}

// A value of one run's config: steps with a mark at each edit, dashed on from the present step where edits wait.
class ValueCard extends Card {
  constructor(cards, key) {
    super(cards, key, `value ${key}`);
    this.root.querySelector("h3").append(made("small", {}, " value"));
    this.steps = new Line([], []);
    this.given = {log: false, points: []};
  }

  get wantsLog() { return this.given.log; }

  give(given) {
    this.given = given;
    this.steps.set(given.points.map(point => point[0]), given.points.map(point => point[1]));
    this.log.setAttribute("aria-pressed", String(this.isLog));
  }

  get ends() { return this.steps.x.length ? [Math.min(this.steps.x[0], 0), this.now] : null; }
  get now() { return Math.max(this.cards.reached, this.steps.x[this.steps.x.length - 1]); }

  get coming() {
    return this.cards.ahead.filter(([, , values]) => Object.hasOwn(values, this.name)).map(([step, , values]) => [step, values[this.name]]);
  }

  values([x0, x1]) {
    const {x, y} = this.steps, before = indexAt(x, x0);
    const found = [...y.filter((value, at) => x[at] <= x1 && at >= before), ...this.coming.map(([, value]) => value)];
    return this.around(found.filter(value => !this.isLog || value > 0), true);
  }

  content(pen, scale) {
    this.shades(pen, scale, null, this.cards.one);
    const {x, y} = this.steps, ahead = this.coming, last = y[y.length - 1];
    if (!y.length) return;
    const stairs = places => {
      pen.beginPath();
      places.forEach(([step, value], at) => {
        if (at) pen.lineTo(scale.x(step), scale.y(places[at - 1][1]));
        pen.lineTo(scale.x(step), scale.y(value));
      });
      pen.stroke();
    };
    pen.strokeStyle = BLUE;
    pen.lineWidth = 1.7;
    stairs([...[...x].map((step, at) => [step, y[at]]), [this.now, last]]);
    if (ahead.length) {
      pen.strokeStyle = EDIT;
      pen.setLineDash([2, 3]);
      stairs([[this.now, last], ...ahead, [Math.max(scale.x1, this.now), ahead[ahead.length - 1][1]]]);
      pen.setLineDash([]);
    }
    x.forEach((step, at) => { if (at) this.diamond(pen, scale.x(step), scale.y(y[at])); });
  }

  aside() { return this.steps.y.length ? number(this.steps.y[this.steps.y.length - 1]) : ""; }

  nearest(px) {
    const scale = this.scale, {x, y} = this.steps;
    if (!x.length || px < scale.left - 8 || px > scale.right + 8) return null;
    const step = Math.round(scale.step(px)), due = this.coming.filter(([at]) => at <= step);
    const value = due.length && step > this.now ? due[due.length - 1][1] : y[indexAt(x, step)];
    return {step, value, x: scale.x(step), y: scale.y(value)};
  }

  inTip(found, close) {
    return [[`${this.name} ${number(found.value)} · step ${count(found.step)}`], ...this.cards.marksAt(this.cards.one, close)];
  }
}

class Cards {
  constructor(model) {
    this.model = model;
    this.settings = {smooth: 0, logx: false, outliers: false, log: [], height: 0, filter: "", range: null, ...model.settings};
    this.runs = new Map();
    this.cards = new Map();
    this.values = new Map();
    this.chosen = new Set();
    this.ahead = [];
    this.now = 0;
    this.lit = this.pointed = null;  // a run, and a step of one run
    this.range = this.settings.range;
    this.keys = [];
    this.isOne = model.is_one;
    this.root = made("section", {class: `cards${this.isOne ? " of-one" : ""}`, "aria-label": "metrics"}, made("style", {}, STYLE));
    this.build();
    this.seen = new IntersectionObserver(entries => this.scrolled(entries), {rootMargin: "120px"});
    this.sized = new ResizeObserver(() => this.redraw());
    this.sized.observe(this.grid);
    this.onHover = event => {
      if (event.detail.from === this) return;
      const found = [...this.runs].find(([, run]) => run.name === event.detail.name);
      this.lit = found ? found[0] : null;
      for (const card of this.all) card.overlay();
    };
    document.addEventListener(HOVER, this.onHover);
    this.themed = new MutationObserver(() => setTimeout(() => this.redraw(), 300));
    this.themed.observe(document.documentElement, {attributes: true});
    this.themed.observe(document.body, {attributes: true});
  }

  close() {
    document.removeEventListener(HOVER, this.onHover);
    for (const observer of [this.seen, this.sized, this.themed]) observer.disconnect();
  }

  get all() { return [...this.cards.values(), ...this.values.values()]; }
  get one() { return this.runs.values().next().value || {id: null}; }

  marksAt(run, close) {
    return [...(run.edits || []), ...this.ahead].filter(([step]) => close(step)).map(([, text]) => [text]);
  }

  pointAt(step) {
    if (!this.isOne || this.pointed === step) return;
    this.pointed = step;
    for (const card of this.all) card.overlay();
  }

  build() {
    const changed = (name, value) => this.set({[name]: value});
    this.smooth = made("input", {type: "range", min: 0, max: 0.99, step: 0.01, "aria-label": "smoothing"});
    this.smooth.value = this.settings.smooth;
    this.smooth.addEventListener("input", () => {
      this.settings.smooth = Number(this.smooth.value);
      this.redraw();
    });
    this.smooth.addEventListener("change", () => changed("smooth", Number(this.smooth.value)));
    const switchOf = (name, label, title) => {
      const box = made("input", {type: "checkbox"});
      box.checked = this.settings[name];
      box.addEventListener("change", () => changed(name, box.checked));
      return made("label", {title}, box, label);
    };
    this.by = made("select", {"aria-label": "colour by"});
    this.by.addEventListener("change", () => this.model.send_msg({kind: "by", by: this.by.value}));
    this.byLabel = made("label", {}, "colour by", this.by);
    this.find = made("input", {type: "search", placeholder: "metric", "aria-label": "Filter metrics"});
    this.find.value = this.settings.filter;
    this.find.addEventListener("input", () => {
      this.settings.filter = this.find.value;
      this.arrange();
      clearTimeout(this.finding);
      this.finding = setTimeout(() => this.set({filter: this.find.value}), 400);
    });
    this.legend = made("span", {class: "legend", role: "group", "aria-label": "colours"});
    this.more = made("select", {hidden: "", "aria-label": "add the card of a value"});
    this.more.addEventListener("change", () => {
      if (this.more.value) this.model.send_msg({kind: "add", key: this.more.value});
      this.more.value = "";
    });
    this.home = made("button", {type: "button", hidden: "", title: "double click on a plot does the same"}, "all steps");
    this.home.addEventListener("click", () => this.zoom(null));
    this.note = made("span", {class: "note"});
    this.tools = made(
      "div", {class: "tools"}, this.byLabel, this.legend, made("label", {}, "smoothing", this.smooth),
      switchOf("logx", "log steps", "logarithmic steps"), switchOf("outliers", "outliers", "let single values decide the scale"),
      this.find, this.more, this.home, this.note,
    );
    this.empty = made("div", {class: "empty"});
    this.grid = made("div", {class: "grid", tabindex: "0", role: "group", "aria-label": "cards"});
    this.handle = made("div", {class: "handle", role: "separator", "aria-orientation": "horizontal", tabindex: "0", "aria-label": "height of the cards"});
    this.resizing();
    this.root.append(this.tools, this.empty, this.grid, this.handle);
    this.home.hidden = this.range === null;
    this.arrange();
  }

  resizing() {
    const resize = height => {
      this.settings.height = Math.max(120, Math.round(height));
      this.fit();
    };
    this.handle.addEventListener("pointerdown", event => {
      const began = event.clientY, height = this.grid.clientHeight;
      this.handle.setPointerCapture(event.pointerId);
      const move = moved => resize(height + moved.clientY - began);
      this.handle.addEventListener("pointermove", move);
      this.handle.addEventListener("pointerup", () => {
        this.handle.removeEventListener("pointermove", move);
        this.set({height: this.settings.height});
      }, {once: true});
    });
    this.handle.addEventListener("keydown", event => {
      const by = {ArrowUp: -30, ArrowDown: 30}[event.key];
      if (!by) return;
      event.preventDefault();
      resize(this.grid.clientHeight + by);
      this.set({height: this.settings.height});
    });
    this.handle.addEventListener("dblclick", () => {
      this.settings.height = 0;
      this.fit();
      this.set({height: 0});
    });
  }

  fit() {
    const most = this.model.height_of_all ? 0 : this.settings.height || 436;
    this.grid.style.maxHeight = most ? `${most}px` : "none";
    this.handle.setAttribute("aria-valuenow", Math.round(this.grid.clientHeight));
  }

  set(settings) {
    Object.assign(this.settings, settings);
    this.model.send_msg({kind: "settings", settings});
    this.redraw();
  }

  toggleLog(card) {
    const others = this.settings.log.filter(one => one !== card.id);
    this.set({log: others.length === this.settings.log.length ? [...others, card.id] : others});
    card.log.setAttribute("aria-pressed", String(card.isLog));
  }

  zoom(range) {
    this.range = range;
    this.home.hidden = range === null;
    this.model.send_msg({kind: "range", range});
    this.redraw();
  }

  get reached() {  // the last step of the run that is known: lines come more often than its facts
    return Math.max(this.now, ...[...this.cards.values()].map(card => (card.ends ? card.ends[1] : 0)));
  }

  steps() {
    if (this.range) return this.range;
    const found = this.all.map(card => card.ends).filter(Boolean);
    if (!found.length) return [0, 1];
    const low = Math.min(...found.map(([first]) => first)), high = Math.max(...found.map(([, last]) => last), this.isOne ? this.now : -Infinity);
    if (low === high) return [low - 1, low + 1];
    return [low, Math.max(high, ...this.ahead.map(([step]) => step).filter(step => step <= high + (high - low) * 0.5))];
  }

  span() {
    const [low, high] = this.width || (this.width = this.steps());
    return high - low || 1;
  }

  light(id, from) {
    if (this.lit === id) return;
    this.lit = id;
    const run = this.runs.get(id);
    for (const card of this.all) if (card !== from) card.overlay();
    document.dispatchEvent(new CustomEvent(HOVER, {detail: {name: run ? run.name : null, from: this}}));
  }

  hrefOf(id) {
    const run = this.runs.get(id);
    return run ? run.href : null;
  }

  scrolled(entries) {
    for (const {target, isIntersecting} of entries) {
      target.card.isVisible = isIntersecting;
      if (isIntersecting) target.card.due();
    }
    this.tell();
  }

  tell() {
    const shown = [...this.cards.values()].filter(card => card.isVisible && !card.root.hidden).map(card => card.name);
    if (String(shown) === String(this.told)) return;
    this.told = shown;
    this.model.send_msg({kind: "visible", metrics: shown});
  }

  redraw() {
    this.width = null;
    for (const card of this.all) card.due();
  }

  arrange() {
    const words = this.settings.filter.toLowerCase().split(/\s+/).filter(Boolean);
    for (const card of this.all) {
      card.root.hidden = !words.every(word => card.name.toLowerCase().includes(word));
      card.root.style.display = card.root.hidden ? "none" : "";
    }
    this.find.style.display = this.all.length > 6 || words.length ? "" : "none";
    this.byLabel.style.display = this.keys.length > 1 ? "" : "none";
    this.empty.hidden = this.cards.size > 0;
    this.empty.style.display = this.cards.size ? "none" : "";
    this.handle.style.display = this.cards.size && !this.model.height_of_all ? "" : "none";
    this.fit();
  }

  take([text, arrays]) {
    const message = JSON.parse(text);
    if (message.runs) {
      this.runs = new Map(message.runs.map(run => [run.id, run]));
      for (const card of this.cards.values()) card.drop(this.runs);
      if (!this.runs.has(this.lit)) this.lit = null;
    }
    if (message.chosen) this.chosen = new Set(message.chosen);
    if (message.keys) {
      this.keys = message.keys;
      this.by.replaceChildren(...message.keys.map(key => made("option", {value: key}, key)));
    }
    if (message.by !== undefined) this.by.value = message.by;
    if (message.legend) {
      this.legend.replaceChildren(...message.legend.map(([text, color, kind]) => made("span", {}, made("i", {class: kind || "", style: `background:${color}`}), text)));
    }
    if (message.note !== undefined) this.note.textContent = message.note;
    if (message.empty !== undefined) this.empty.textContent = message.empty;
    if (message.now !== undefined) this.now = message.now;
    if (message.ahead) this.ahead = message.ahead;
    if (message.metrics) this.cards = this.offer(this.cards, message.metrics, name => new Card(this, name));
    if (message.values) {
      this.values = this.offer(this.values, message.values.map(([key]) => key), key => new ValueCard(this, key));
      for (const [key, given] of message.values) this.values.get(key).give(given);
    }
    if (message.metrics || message.values) {
      const roots = this.all.map(card => card.root);
      if (roots.some((root, at) => this.grid.children[at] !== root)) this.grid.append(...roots);
      this.arrange();
    }
    if (message.offer) {
      this.more.replaceChildren(...["add a value …", ...message.offer].map((key, at) => made("option", {value: at ? key : ""}, key)));
      this.more.hidden = !message.offer.length;
    }
    for (const [metric, lines] of message.lines || []) {
      const card = this.cards.get(metric);
      if (!card) continue;
      card.bands = [];
      for (const [id, x, y, isMore] of lines) card.take(id, arrays[x], arrays[y], isMore);
    }
    for (const [metric, bands] of message.bands || []) {
      const card = this.cards.get(metric);
      if (!card) continue;
      card.lines.clear();
      card.bands = bands.map(band => {
        const [steps, low, middle, high] = [band.steps, band.low, band.middle, band.high].map(at => Float64Array.from(arrays[at]));
        return {...band, steps, low, middle, high};
      });
    }
    this.redraw();
  }

  offer(known, names, make) {
    for (const [name, card] of known) {
      if (names.includes(name)) continue;
      this.seen.unobserve(card.root);
      card.root.remove();
    }
    return new Map(names.map(name => {
      const card = known.get(name) || make(name);
      if (!known.has(name)) {
        card.log.setAttribute("aria-pressed", String(card.isLog));
        this.seen.observe(card.root);
      }
      return [name, card];
    }));
  }
}

export function render({model}) {
  const cards = new Cards(model);
  model.on("msg:custom", message => cards.take(message));
  model.on("remove", () => cards.close());
  model.send_msg({kind: "ready"});
  return cards.root;
}
