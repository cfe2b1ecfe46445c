// What parameters have to do with what came out: parallel axes that can be brushed, what each parameter explains, and one
// parameter against the outcome with its trend.

const HOVER = "trainctl-hover", NEAR = 12, SLACK = 4;
const RIM = {left: 64, right: 64, top: 34, bottom: 18};

const STYLE = `
.relations { --line: color-mix(in srgb, currentColor 22%, transparent); padding: 0 12px; }
.plot { position: relative; height: 250px; border: 1px solid var(--line); border-radius: 4px; touch-action: pan-y; }
.plot canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.two { display: grid; grid-template-columns: minmax(min(100%, 300px), 1fr) minmax(min(100%, 300px), 2fr); gap: 8px; margin-top: 8px; }
@media (max-width: 760px) { .two { grid-template-columns: 1fr; } }
.bars { border: 1px solid var(--line); border-radius: 4px; padding: 8px 12px; overflow: auto; max-height: 238px; }
.bars h3 { font-size: var(--text); margin: 0 0 4px; }
.bars button { font: inherit; color: inherit; background: transparent; cursor: pointer; display: grid; grid-template-columns: minmax(80px, 40%) 1fr 44px; gap: 8px; width: 100%; border: 0; text-align: left; align-items: center; padding: 2px 4px; }
.bars button[aria-pressed=true] { background: var(--lit); }
.bars b { font-weight: 400; overflow-wrap: anywhere; } .bars i { height: 9px; border-radius: 2px; background: var(--mark); display: block; }
.bars span { text-align: right; font-variant-numeric: tabular-nums; }
.tip { position: absolute; z-index: 5; pointer-events: none; max-width: 320px; padding: 4px 8px; border-radius: 4px; background: #1d2733;
  color: #fff; font-size: var(--small); line-height: 1.4; overflow-wrap: anywhere; }
.note { opacity: .78; } .empty { padding: 12px 0; opacity: .85; }
`;

const made = (tag, attributes = {}, ...inner) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...inner);
  return element;
};

class Axis {  // places values between 0 and 1
  constructor(name, values, words) {
    this.name = name;
    this.words = words;
    const known = values.filter(value => value !== null);
    this.low = Math.min(...known);
    this.high = Math.max(...known);
    this.isLog = !words && this.low > 0 && this.high / this.low > 20;
  }

  at(value) {
    const of = this.isLog ? Math.log : one => one, low = of(this.low), high = of(this.high);
    return high > low ? (of(value) - low) / (high - low) : 0.5;
  }

  get ticks() {
    if (this.words) return this.words.map((word, at) => [this.at(at), word]);
    if (this.low === this.high) return [[0.5, number(this.low)]];
    if (!this.isLog) {
      const places = ticks(this.low, this.high, 4, false), texts = labels(places);
      return places.map((value, at) => [this.at(value), texts[at]]);
    }
    const found = [[0, number(this.low)], [1, number(this.high)]];
    for (let power = Math.ceil(Math.log10(this.low)); 10 ** power < this.high; power++) {
      const at = this.at(10 ** power);
      if (at > 0.08 && at < 0.92) found.push([at, number(10 ** power)]);
    }
    return found;
  }
}

class Relations {
  constructor(model) {
    this.model = model;
    this.runs = [];
    this.axes = [];
    this.brushes = new Map();
    this.lit = null;
    this.root = made("section", {class: "relations", "aria-label": "parameters"}, made("style", {}, STYLE));
    this.outcome = made("select", {"aria-label": "outcome"});
    this.outcome.addEventListener("change", () => model.send_msg({kind: "outcome", name: this.outcome.value}));
    this.note = made("span", {role: "status"});
    this.pick = made("button", {type: "button"}, "choose these");
    this.pick.addEventListener("click", () => model.send_msg({kind: "choose", names: this.kept.map(run => run.name)}));
    this.clear = made("button", {type: "button"}, "all runs");
    this.clear.addEventListener("click", () => {
      this.brushes.clear();
      this.draw();
    });
    this.base = made("canvas", {role: "img"});
    this.over = made("canvas", {"aria-hidden": "true"});
    this.plot = made("div", {class: "plot"}, this.base, this.over);
    this.bars = made("div", {class: "bars", role: "group", "aria-label": "what each parameter explains", tabindex: "0"});
    this.points = made("canvas", {role: "img"});
    this.scatter = made("div", {class: "plot"}, this.points);
    this.tips = new Map();
    this.empty = made("div", {class: "empty"});
    this.all = made("div", {}, made("div", {class: "tools"}, made("label", {}, "outcome", this.outcome), this.note, this.pick, this.clear), this.plot, made("div", {class: "two"}, this.bars, this.scatter));
    this.all.style.display = "none";  // until there is something to draw
    this.root.append(this.empty, this.all);
    this.listen();
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.plot);
    this.onHover = event => {
      if (event.detail.from === this) return;
      this.lit = this.runs.find(run => run.name === event.detail.name) || null;
      this.overlay();
    };
    document.addEventListener(HOVER, this.onHover);
    this.themed = new MutationObserver(() => setTimeout(() => this.draw(), 300));
    for (const element of [document.documentElement, document.body]) this.themed.observe(element, {attributes: true});
  }

  close() {
    document.removeEventListener(HOVER, this.onHover);
    this.sized.disconnect();
    this.themed.disconnect();
  }

  listen() {
    let from = null;
    this.plot.addEventListener("pointerdown", event => {
      const axis = this.axisAt(event.offsetX);
      if (event.button !== 0 || axis === null) return;
      from = {axis, y: event.offsetY};
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointermove", event => {
      if (from && Math.abs(event.offsetY - from.y) > SLACK) {
        this.brushes.set(from.axis.name, [from.y, event.offsetY].map(y => this.share(y)).sort((a, b) => a - b));
        this.draw();
        return;
      }
      this.plot.style.cursor = this.axisAt(event.offsetX) ? "ns-resize" : "default";
      this.light(this.lineAt(event.offsetX, event.offsetY), this.plot, event);
    });
    this.plot.addEventListener("pointerup", event => {
      const began = from;
      from = null;
      if (began && Math.abs(event.offsetY - began.y) <= SLACK && this.brushes.delete(began.axis.name)) this.draw();
      else if (!began && this.lit) location.href = this.lit.href;
    });
    this.scatter.addEventListener("pointermove", event => this.light(this.pointAt(event.offsetX, event.offsetY), this.scatter, event));
    this.scatter.addEventListener("click", () => { if (this.lit) location.href = this.lit.href; });
    for (const place of [this.plot, this.scatter]) place.addEventListener("pointerleave", () => this.light(null, place, null));
  }

  take(text) {
    const message = JSON.parse(text);
    if (message.outcomes) {
      this.outcome.replaceChildren(...message.outcomes.map(name => made("option", {value: name}, name)));
      this.outcome.value = message.outcome;
    }
    this.empty.textContent = message.empty;
    this.empty.style.display = message.empty ? "" : "none";
    this.all.style.display = message.empty ? "none" : "";
    this.keys = message.keys;
    this.runs = message.runs;
    this.axes = this.keys.map((key, at) => new Axis(key.name, this.runs.map(run => run.values[at]), key.words));
    this.last = new Axis(message.outcome, this.runs.map(run => run.outcome), null);
    if (!this.keys.some(key => key.name === this.key)) this.key = message.key || (this.keys[0] || {}).name;
    this.explain(message.outcome);
    this.draw();
  }

  explain(outcome) {
    const order = [...this.keys].sort((one, other) => other.share - one.share);
    this.bars.replaceChildren(made("h3", {title: "of each parameter alone, over the runs that are done; corrected for chance"}, `of ${outcome} it explains, alone`), ...order.map(key => {
      const button = made("button", {type: "button", "aria-pressed": String(key.name === this.key), "data-key": key.name}, made("b", {}, key.name),
        made("i", {style: `width: ${Math.max(1, 100 * key.share)}%`}), made("span", {}, `${Math.round(100 * key.share)} %`));
      button.addEventListener("click", () => {
        this.key = key.name;
        this.model.send_msg({kind: "key", name: key.name});
        this.explain(outcome);
        this.draw();
      });
      return button;
    }));
  }

  get all_axes() { return [...this.axes, this.last]; }
  get width() { return this.plot.clientWidth; }
  x(place) { return RIM.left + (this.width - RIM.left - RIM.right) * place / Math.max(1, this.axes.length); }
  y(share) { return 250 - RIM.bottom - share * (250 - RIM.top - RIM.bottom); }
  share(y) { return (250 - RIM.bottom - y) / (250 - RIM.top - RIM.bottom); }

  axisAt(x) {
    const axes = this.all_axes, at = axes.findIndex((_, place) => Math.abs(this.x(place) - x) < NEAR);
    return at < 0 ? null : axes[at];
  }

  shares(run) {
    return this.all_axes.map((axis, at) => {
      const value = at < this.axes.length ? run.values[at] : run.outcome;
      return value === null ? null : axis.at(value);
    });
  }

  get kept() {
    return this.runs.filter(run => this.shares(run).every((share, at) => {
      const brush = this.brushes.get(this.all_axes[at].name);
      return !brush || (share !== null && share >= brush[0] - 1e-9 && share <= brush[1] + 1e-9);
    }));
  }

  lineAt(px, py) {
    let least = NEAR, found = null;
    for (const run of this.kept) {
      const shares = this.shares(run);
      for (let at = 0; at + 1 < shares.length; at++) {
        const [left, right] = [this.x(at), this.x(at + 1)];
        if (px < left || px > right || shares[at] === null || shares[at + 1] === null) continue;
        const y = this.y(shares[at] + (shares[at + 1] - shares[at]) * (px - left) / (right - left));
        if (Math.abs(y - py) < least) [least, found] = [Math.abs(y - py), run];
      }
    }
    return found;
  }

  place(run) {  // in the scatter plot
    const at = this.axes.findIndex(axis => axis.name === this.key);
    if (at < 0 || run.values[at] === null) return null;
    const width = this.scatter.clientWidth;
    return [70 + (width - 90) * (0.04 + 0.92 * this.axes[at].at(run.values[at])), 214 - 190 * (0.04 + 0.92 * this.last.at(run.outcome))];
  }

  pointAt(px, py) {
    let least = NEAR, found = null;
    for (const run of this.kept) {
      const place = this.place(run), away = place ? Math.hypot(place[0] - px, place[1] - py) : Infinity;
      if (away < least) [least, found] = [away, run];
    }
    return found;
  }

  light(run, place, event) {
    const tip = this.tips.get(place);
    if (tip) tip.remove();
    this.tips.delete(place);
    if (run && event) {
      const lines = [run.name, `${this.last.name} ${number(run.outcome)}`, this.axes.map((axis, at) => `${axis.name}=${run.texts[at]}`).join(", ")];
      const made_tip = made("div", {class: "tip", role: "tooltip"}, ...lines.map(line => made("div", {}, line)));
      made_tip.style.top = `${Math.max(0, Math.min(event.offsetY - 20, 180))}px`;
      if (event.offsetX > place.clientWidth / 2) made_tip.style.right = `${place.clientWidth - event.offsetX + 14}px`;
      else made_tip.style.left = `${event.offsetX + 14}px`;
      place.append(made_tip);
      this.tips.set(place, made_tip);
    }
    if (run === this.lit) return;
    this.lit = run;
    document.dispatchEvent(new CustomEvent(HOVER, {detail: {name: run ? run.name : null, from: this}}));
    this.overlay();
  }

  pen(canvas, place) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(place.clientWidth * ratio);
    canvas.height = Math.round(place.clientHeight * ratio);
    const pen = canvas.getContext("2d"), style = getComputedStyle(this.root);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = pen.strokeStyle = style.color;
    pen.font = `11px ${style.fontFamily}`;
    return pen;
  }

  trace(pen, run) {
    const shares = this.shares(run);
    let isDown = false;
    pen.beginPath();
    shares.forEach((share, at) => {
      if (share === null) isDown = false;
      else if (isDown) pen.lineTo(this.x(at), this.y(share));
      else pen.moveTo(this.x(at), this.y(share));
      isDown = share !== null;
    });
    pen.stroke();
  }

  draw() {
    if (!this.width || !this.last) return;
    const pen = this.pen(this.base, this.plot), ink = pen.strokeStyle, kept = new Set(this.kept);
    const hasBrush = this.brushes.size > 0;
    pen.lineWidth = 1.3;
    for (const run of this.runs) {
      if (kept.has(run)) continue;
      pen.globalAlpha = 0.1;
      this.trace(pen, run);
    }
    for (const run of kept) {
      pen.globalAlpha = this.runs.length > 200 ? 0.45 : 0.8;
      pen.strokeStyle = run.color;
      this.trace(pen, run);
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = ink;
    this.all_axes.forEach((axis, at) => this.axis(pen, axis, this.x(at), at === this.axes.length));
    this.base.setAttribute("aria-label", `${this.axes.map(axis => axis.name).join(", ")} and ${this.last.name} of ${kept.size} runs`);
    this.note.textContent = hasBrush ? `${kept.size} of ${this.runs.length} runs` : `${this.runs.length} runs that are done; drag along an axis to keep some`;
    this.pick.style.display = this.clear.style.display = hasBrush ? "" : "none";
    this.overlay();
    this.drawPoints(kept);
  }

  axis(pen, axis, x, isLast) {
    pen.globalAlpha = 0.5;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, this.y(0));
    pen.lineTo(x, this.y(1));
    pen.stroke();
    pen.globalAlpha = 1;
    pen.textAlign = x < 100 ? "left" : isLast ? "right" : "center";
    pen.font = pen.font.replace(/^(600 )?11px/, "600 11px");
    pen.fillText(axis.name + (axis.isLog ? " (log)" : ""), x < 100 ? 8 : isLast ? this.width - 8 : x, 18);
    pen.font = pen.font.replace(/^(bold|600) 11px/, "11px");
    pen.textAlign = isLast ? "left" : "right";
    const ink = pen.strokeStyle;
    pen.strokeStyle = getComputedStyle(document.body).backgroundColor;
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    for (const [share, text] of axis.ticks) {  // on the ground of the page, so that no line runs through a number
      const place = [text.length > 16 ? `${text.slice(0, 15)}…` : text, isLast ? x + 8 : x - 8, this.y(share) + 4];
      pen.strokeText(...place);
      pen.fillText(...place);
    }
    pen.strokeStyle = ink;
    const brush = this.brushes.get(axis.name);
    if (!brush) return;
    pen.fillStyle = "#4c7fb8";
    pen.globalAlpha = 0.35;
    pen.fillRect(x - 6, this.y(brush[1]), 12, this.y(brush[0]) - this.y(brush[1]));
    pen.globalAlpha = 1;
    pen.fillStyle = pen.strokeStyle;
  }

  overlay() {
    if (!this.width) return;
    const pen = this.pen(this.over, this.plot);
    if (!this.lit || !this.last) return;
    pen.lineWidth = 3;
    pen.strokeStyle = this.lit.color;
    this.trace(pen, this.lit);
  }

  drawPoints(kept) {
    const pen = this.pen(this.points, this.scatter), ink = pen.strokeStyle, width = this.scatter.clientWidth;
    const axis = this.axes.find(one => one.name === this.key);
    if (!axis) return;
    pen.textAlign = "right";
    for (const [share, text] of this.last.ticks) {
      const y = 214 - 190 * (0.04 + 0.92 * share);
      pen.globalAlpha = 0.13;
      pen.fillRect(70, Math.round(y), width - 80, 1);
      pen.globalAlpha = 0.85;
      pen.fillText(text, 64, y + 4);
    }
    pen.textAlign = "center";
    for (const [share, text] of axis.ticks) pen.fillText(text.length > 14 ? `${text.slice(0, 13)}…` : text, 70 + (width - 90) * (0.04 + 0.92 * share), 230);
    pen.fillText(axis.name + (axis.isLog ? " (log)" : ""), width / 2, 245);
    pen.textAlign = "left";
    pen.fillText(this.last.name, 8, 13);
    const places = [];
    for (const run of kept) {
      const place = this.place(run);
      if (!place) continue;
      places.push(place);
      pen.fillStyle = run.color;
      pen.globalAlpha = 0.85;
      pen.beginPath();
      pen.arc(place[0], place[1], 4, 0, 7);
      pen.fill();
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = ink;
    pen.lineWidth = 1.6;
    this.trend(pen, places, axis);
    this.points.setAttribute("aria-label", `${this.last.name} over ${axis.name} of ${places.length} runs, with its trend`);
  }

  // For words the mean of each; for numbers a local line (tricube weights over half of the width) through all points.
  trend(pen, places, axis) {
    if (places.length < 3) return;
    if (axis.words) {
      for (const x of new Set(places.map(place => place[0]))) {
        const ys = places.filter(place => place[0] === x).map(place => place[1]), y = ys.reduce((a, b) => a + b) / ys.length;
        pen.beginPath();
        pen.moveTo(x - 14, y);
        pen.lineTo(x + 14, y);
        pen.stroke();
      }
      return;
    }
    const xs = places.map(place => place[0]), low = Math.min(...xs), high = Math.max(...xs), reach = (high - low) * 0.6;
    if (!reach) return;
    pen.beginPath();
    for (let at = 0; at <= 40; at++) {
      const x = low + (high - low) * at / 40;
      let weight = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
      for (const [px, py] of places) {
        const w = Math.max(0, 1 - (Math.abs(px - x) / reach) ** 3) ** 3, dx = px - x;
        weight += w;
        wx += w * dx;
        wy += w * py;
        wxx += w * dx * dx;
        wxy += w * dx * py;
      }
      const spread = weight * wxx - wx * wx, y = spread > 1e-6 ? (wxx * wy - wx * wxy) / spread : wy / weight;
      if (at) pen.lineTo(x, y); else pen.moveTo(x, y);
    }
    pen.stroke();
  }
}

export function render({model}) {
  const relations = new Relations(model);
  model.on("msg:custom", message => relations.take(message));
  model.on("remove", () => relations.close());
  model.send_msg({kind: "ready"});
  return relations.root;
}
