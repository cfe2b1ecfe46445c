// The table of runs. The server sorts, filters and gathers; here are only the rows in sight, however many there are.

const ROW = 28, SPARE = 12, HOVER = "trainctl-hover";
const LEAST = 46, MOST = 460;  // pixels of a column, unless a person drags it

const STYLE = `
.runs { --line: color-mix(in srgb, currentColor 22%, transparent); }
.tools { padding: 4px 12px; }
.tools input[type=search] { width: min(340px, 70vw); }
.tools button.state { border: 0; padding: 0 4px; display: inline-flex; gap: 4px; align-items: center; }
.tools button.state[aria-pressed=true] { background: var(--lit); color: inherit; }
.wrong { color: color-mix(in srgb, var(--bad) 70%, currentColor); padding: 0 12px 4px; }
.chip { display: inline-block; border-radius: 10px; padding: 0 8px; color: #fff; background: #66707d; font-size: var(--small);
  line-height: 20px; }
.menu { position: relative; } .menu > div { position: absolute; z-index: 9; right: 0; top: 100%; max-height: 320px;
  overflow: auto; padding: 8px 12px; border: 1px solid var(--line); border-radius: 4px; white-space: nowrap;
  background: var(--panel-background-color, #fff); box-shadow: 0 2px 10px #0004; }
.menu label { display: flex; }
.scroll { overflow: auto; border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); position: relative;
  margin: 0 12px; outline-offset: -2px; scrollbar-width: thin; }
.frame { position: relative; } .more { position: absolute; inset: 1px 12px 1px auto; width: 40px; z-index: 4; pointer-events: none;
  background: linear-gradient(to right, transparent, var(--panel-background-color, #fff) 80%); } .more[hidden] { display: none; }
.more button { all: unset; position: absolute; right: 0; top: 0; height: ${ROW}px; padding: 0 8px; font-weight: 700; cursor: pointer;
  pointer-events: auto; color: var(--mark); }
.head, .row { display: grid; width: max-content; min-width: 100%; }
.head { position: sticky; top: 0; z-index: 3; background: var(--panel-background-color, #fff); border-bottom: 2px solid var(--line); }
.cell { padding: 0 8px; line-height: ${ROW - 1}px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; box-sizing: border-box; }
.cell:has(> input) { text-overflow: clip; }
.cell.right { text-align: right; font-variant-numeric: tabular-nums; }
.head .cell { position: relative; font-weight: 600; cursor: pointer; user-select: none; }
.head .cell[aria-sort=ascending]::after { content: " ▲"; font-size: var(--tiny); } .head .cell[aria-sort=descending]::after { content: " ▼"; font-size: var(--tiny); }
.head .cell.is-over { box-shadow: inset 3px 0 var(--mark); }
.head button.name { all: unset; font-weight: 600; cursor: pointer; } .head button.name:focus-visible { outline: 2px solid var(--mark); }
.grip { position: absolute; right: 0; top: 0; bottom: 0; width: 7px; cursor: col-resize; border-right: 1px solid var(--line); }
.body { position: relative; }
.row { position: absolute; left: 0; height: ${ROW}px; border-bottom: 1px solid color-mix(in srgb, currentColor 10%, transparent); }
.row.is-lit, .row.is-chosen { background: var(--lit); } .row.is-lit { box-shadow: inset 3px 0 var(--mark); }
.row.group { cursor: pointer; font-weight: 600; background: color-mix(in srgb, currentColor 6%, transparent); }
.row a { color: inherit; } .edited { background: #fff3d6; color: #222; border-radius: 3px; padding: 0 4px; }
.row svg { display: block; height: 20px; width: 100%; margin-top: 4px; }
.cell input { width: 16px; height: 16px; margin: 0; vertical-align: -3px; accent-color: var(--mark); } .row path { fill: none; stroke: var(--mark); stroke-width: 1.4; vector-effect: non-scaling-stroke; }
.empty { padding: 12px; opacity: .85; }
`;

const made = (tag, attributes = {}, ...inner) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...inner);
  return element;
};

const count = value => value.toLocaleString("en-US");

class Runs {
  constructor(model) {
    this.model = model;
    this.columns = [];
    this.rows = new Map();
    this.total = this.known = 0;
    this.widths = {};
    this.dragged = {};
    this.order = [];
    this.hidden = new Set();
    this.lit = null;
    this.asked = "";
    this.root = made("section", {class: "runs", "aria-label": "runs"}, made("style", {}, STYLE + model.colours));
    this.build();
    this.onHover = event => {
      if (event.detail.from === this) return;
      this.lit = event.detail.name;
      for (const row of this.body.children) row.classList.toggle("is-lit", this.lit !== null && row.dataset.name === this.lit);
    };
    document.addEventListener(HOVER, this.onHover);
    this.onFonts = () => {  // what was measured before a font was there is measured again
      this.widths = {};
      this.draw();
    };
    document.fonts.addEventListener("loadingdone", this.onFonts);
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.scroll);
  }

  close() {
    document.removeEventListener(HOVER, this.onHover);
    document.fonts.removeEventListener("loadingdone", this.onFonts);
    this.sized.disconnect();
  }

  build() {
    this.find = made("input", {type: "search", "aria-label": "Filter runs", "aria-keyshortcuts": "/", maxlength: 300, autocomplete: "off", spellcheck: "false",
      placeholder: "words, or lr>0.01 norm=new state=failed", title: "press / to come here"});
    this.find.addEventListener("input", () => {
      clearTimeout(this.finding);
      this.finding = setTimeout(() => this.tell("filter", {text: this.find.value}), 150);
    });
    this.said = made("span", {role: "status"});
    this.states = made("span", {class: "tools", style: "padding: 0", role: "group", "aria-label": "states"});
    this.group = made("select", {"aria-label": "group by"});
    this.group.addEventListener("change", () => this.tell("group", {column: this.group.value}));
    this.curve = made("select", {"aria-label": "curve of"});
    this.curve.addEventListener("change", () => this.tell("curve", {metric: this.curve.value}));
    this.curveLabel = made("label", {}, "curve of", this.curve);
    const opens = made("button", {type: "button", "aria-expanded": "false"}, "columns");
    this.choices = made("div", {role: "group", "aria-label": "columns"});
    this.choices.hidden = true;
    opens.addEventListener("click", () => {
      this.choices.hidden = !this.choices.hidden;
      opens.setAttribute("aria-expanded", String(!this.choices.hidden));
    });
    this.menu = made("span", {class: "menu"}, opens, this.choices);
    this.menu.addEventListener("keydown", event => {
      if (event.key !== "Escape") return;
      this.choices.hidden = true;
      opens.setAttribute("aria-expanded", "false");
      opens.focus();
    });
    this.wrong = made("div", {class: "wrong", role: "alert"});
    this.head = made("div", {class: "head", role: "row"});
    this.body = made("div", {class: "body", role: "rowgroup"});
    this.scroll = made("div", {class: "scroll", role: "grid", "aria-label": "table of runs", "aria-multiselectable": "true", tabindex: "0"}, made("div", {role: "rowgroup", style: "position: sticky; top: 0; z-index: 3"}, this.head), this.body);
    this.scroll.addEventListener("scroll", () => this.draw());
    this.body.addEventListener("pointerover", event => this.light(event.target.closest(".row")));
    this.scroll.addEventListener("pointerleave", () => this.light(null));
    const onwards = made("button", {type: "button", tabindex: -1, title: "more columns to the right"}, "›");
    onwards.addEventListener("click", () => this.scroll.scrollBy({left: 0.8 * this.scroll.clientWidth, behavior: "smooth"}));
    this.more = made("div", {class: "more", "aria-hidden": "true"}, onwards);  // the keyboard has the arrows
    this.empty = made("div", {class: "empty"});
    this.root.append(made("div", {class: "tools"}, this.find, this.said, this.states, made("label", {}, "group by", this.group), this.curveLabel, this.menu), this.wrong, made("div", {class: "frame"}, this.scroll, this.more), this.empty);
  }

  tell(kind, more) {
    this.model.send_msg({kind, ...more});
  }

  light(row) {
    const name = row ? row.dataset.name || null : null;
    if (name === this.lit) return;
    this.lit = name;
    for (const one of this.body.children) one.classList.toggle("is-lit", name !== null && one.dataset.name === name);
    document.dispatchEvent(new CustomEvent(HOVER, {detail: {name, from: this}}));
  }

  get place() { return `trainctl columns of ${this.directory}`; }

  recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.place) || "{}");
      this.order = Array.isArray(kept.order) ? kept.order : [];
      this.hidden = new Set(Array.isArray(kept.hidden) ? kept.hidden : []);
      this.dragged = kept.widths && typeof kept.widths === "object" ? kept.widths : {};
    } catch { /* a browser that keeps nothing */ }
  }

  keep() {
    try {
      localStorage.setItem(this.place, JSON.stringify({order: this.order, hidden: [...this.hidden], widths: this.dragged}));
    } catch { /* a browser that keeps nothing */ }
    this.widths = {};
    this.redraw();
  }

  get shown() {
    const place = new Map(this.order.map((name, at) => [name, at]));
    const natural = new Map(this.columns.map((column, at) => [column.name, at]));
    const rank = column => (column.kind === "check" ? -1 : place.has(column.name) ? place.get(column.name) : this.order.length ? this.after(column, natural, place) : natural.get(column.name));
    return this.columns.map((column, at) => ({...column, at})).filter(column => !this.hidden.has(column.name))
      .sort((one, other) => rank(one) - rank(other) || one.at - other.at);
  }

  after(column, natural, place) {  // a column that came later stands after the one before it
    for (let at = natural.get(column.name) - 1; at >= 0; at--) {
      if (place.has(this.columns[at].name)) return place.get(this.columns[at].name) + 0.5;
    }
    return -0.5;
  }

  take(text) {
    const message = JSON.parse(text);
    if (message.directory !== undefined) {
      this.directory = message.directory;
      this.recall();
    }
    if (message.columns) {
      this.columns = message.columns;
      this.offer();
    }
    if (message.sort) this.sort = message.sort;
    if (message.filter !== undefined && this.find !== this.root.getRootNode().activeElement) this.find.value = message.filter;
    if (message.wrong !== undefined) {
      this.wrong.textContent = message.wrong;
      this.find.setAttribute("aria-invalid", String(Boolean(message.wrong)));
    }
    if (message.states) this.showStates(message.states, message.state);
    const options = (select, names, value) => {
      select.replaceChildren(...names.map(name => made("option", {value: name}, name || "nothing")));
      select.value = value;
    };
    if (message.groups) options(this.group, message.groups, message.group);
    if (message.curves) {
      options(this.curve, message.curves, message.curve);
      this.curveLabel.style.display = message.curves.length ? "" : "none";
    }
    if (message.empty !== undefined) this.empty.textContent = message.empty;
    if (message.total !== undefined) {
      this.total = message.total;
      this.known = message.known;
      this.said.textContent = message.found === message.known ? `${count(message.known)} run${message.known === 1 ? "" : "s"}` : `${count(message.found)} of ${count(message.known)}`;
    }
    if (message.again) this.rows.clear();
    for (const [at, row] of message.rows || []) this.rows.set(at, row);
    if (message.chosen !== undefined) this.chosen = message.chosen;
    this.redraw();
  }

  showStates(states, chosen) {
    this.states.replaceChildren(...states.map(([state, number]) => {
      const button = made("button", {class: "state", type: "button", "aria-pressed": String(state === chosen), title: `only runs that are ${state}`},
        made("span", {class: `chip ${state}`}, state), made("b", {}, count(number)));
      button.addEventListener("click", () => this.tell("state", {state: state === chosen ? "" : state}));
      return button;
    }));
  }

  offer() {
    this.choices.replaceChildren(...this.columns.filter(column => column.kind !== "check").map(column => {
      const box = made("input", {type: "checkbox"});
      box.checked = !this.hidden.has(column.name);
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(column.name); else this.hidden.add(column.name);
        this.keep();
      });
      return made("label", {}, box, column.name);
    }));
  }

  redraw() {
    this.empty.style.display = this.total ? "none" : "";
    this.scroll.style.display = this.total ? "" : "none";
    this.more.hidden = true;
    this.body.style.height = `${this.total * ROW}px`;
    const room = Math.max(300, window.innerHeight - 130);
    this.scroll.style.maxHeight = `${room}px`;
    this.scroll.setAttribute("aria-rowcount", this.total + 1);
    this.draw();
  }

  measure(columns) {
    const pen = this.pen || (this.pen = document.createElement("canvas").getContext("2d"));
    const family = getComputedStyle(this.root).fontFamily;
    for (const column of columns) {
      pen.font = `600 13px ${family}`;
      let width = Math.max(this.widths[column.name] || LEAST, pen.measureText(column.name).width + 34);
      pen.font = `13px ${family}`;
      for (const row of this.rows.values()) {
        const cell = row.cells[column.at], text = Array.isArray(cell) ? cell[0] : cell;
        if (typeof text === "string") width = Math.max(width, pen.measureText(text).width + (column.kind === "state" ? 38 : row.group !== undefined || (Array.isArray(cell) && cell[2]) ? 32 : 20));
      }
      this.widths[column.name] = column.kind === "check" ? 36 : column.kind === "curve" ? 110 : Math.min(MOST, Math.ceil(width));
    }
  }

  draw() {
    if (!this.total || !this.scroll.clientHeight) return;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - SPARE);
    const last = Math.min(this.total, Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / ROW) + SPARE);
    const asked = `${first} ${last}`;
    if (asked !== this.asked) {
      this.asked = asked;
      clearTimeout(this.asking);
      this.asking = setTimeout(() => this.tell("window", {first, last}), this.rows.has(first) && this.rows.has(last - 1) ? 0 : 30);
    }
    const columns = this.shown;
    this.measure(columns);
    const template = columns.map(column => `${this.dragged[column.name] || this.widths[column.name]}px`).join(" ");
    this.heads(columns, template);
    const there = new Map([...this.body.children].map(row => [Number(row.dataset.at), row]));
    for (let at = first; at < last; at++) {
      const row = this.rows.get(at), known = there.get(at), said = JSON.stringify([row, template, columns.map(column => column.name)]);
      if (row) there.delete(at);
      if (!row || (known && known.said === said)) continue;
      const element = this.row(at, row, columns, template);
      element.said = said;
      if (known && known.contains(this.root.getRootNode().activeElement)) {  // whoever is there with the keyboard stays
        const focused = [...known.querySelectorAll("a, input")].indexOf(this.root.getRootNode().activeElement);
        known.replaceWith(element);
        const other = element.querySelectorAll("a, input")[focused];
        if (other) other.focus();
      } else if (known) known.replaceWith(element);
      else this.body.append(element);
    }
    for (const row of there.values()) row.remove();
    this.more.hidden = this.scroll.scrollWidth - this.scroll.clientWidth - this.scroll.scrollLeft < 2;
  }

  heads(columns, template) {
    this.head.style.gridTemplateColumns = template;
    const said = JSON.stringify([columns, this.sort, this.chosen, this.total]);
    if (this.headed === said) return;  // a head that a person drags or presses stays while columns become wider
    this.headed = said;
    this.head.replaceChildren(...columns.map((column, place) => {
      const [by, isDown] = this.sort || ["", false];
      const cell = made("div", {class: `cell${column.right ? " right" : ""}`, role: "columnheader", "aria-colindex": place + 1, "data-name": column.name,
        "aria-sort": column.kind === "check" || column.kind === "curve" ? null : by !== column.name ? "none" : isDown ? "descending" : "ascending"});
      if (column.kind === "check") {
        const box = made("input", {type: "checkbox", "aria-label": "choose all runs that are found"});
        box.checked = this.chosen > 0 && this.chosen >= this.total;
        box.indeterminate = this.chosen > 0 && !box.checked;
        box.addEventListener("change", () => this.tell("all", {is: box.checked}));
        cell.append(box);
        return cell;
      }
      cell.title = column.name;
      cell.append(made("button", {class: "name", type: "button"}, column.name));
      cell.draggable = true;
      if (column.kind !== "curve") cell.addEventListener("click", () => this.tell("sort", {column: column.name}));
      cell.addEventListener("dragstart", event => event.dataTransfer.setData("text/plain", column.name));
      cell.addEventListener("dragover", event => {
        event.preventDefault();
        cell.classList.add("is-over");
      });
      cell.addEventListener("dragleave", () => cell.classList.remove("is-over"));
      cell.addEventListener("drop", event => {
        event.preventDefault();
        this.move(event.dataTransfer.getData("text/plain"), column.name);
      });
      cell.append(this.grip(column));
      return cell;
    }));
  }

  move(name, before) {
    const names = this.shown.map(column => column.name).filter(one => one !== name && one !== "");
    if (name === before || !this.columns.some(column => column.name === name)) return;
    names.splice(names.indexOf(before), 0, name);
    this.order = names;
    this.keep();
  }

  grip(column) {
    const grip = made("span", {class: "grip"});
    grip.addEventListener("click", event => event.stopPropagation());
    grip.addEventListener("pointerdown", event => {
      event.preventDefault();
      event.stopPropagation();
      const began = event.clientX, width = this.dragged[column.name] || this.widths[column.name];
      const move = moved => {
        this.dragged[column.name] = Math.max(LEAST, Math.round(width + moved.clientX - began));
        this.draw();
      };
      document.addEventListener("pointermove", move);
      document.addEventListener("pointerup", () => {
        document.removeEventListener("pointermove", move);
        this.keep();
      }, {once: true});
    });
    grip.addEventListener("dblclick", event => {
      event.stopPropagation();
      delete this.dragged[column.name];
      this.keep();
    });
    return grip;
  }

  row(at, row, columns, template) {
    const isGroup = row.group !== undefined;
    const element = made("div", {class: `row${isGroup ? " group" : ""}${row.chosen ? " is-chosen" : ""}${!isGroup && row.name === this.lit ? " is-lit" : ""}`,
      role: "row", "aria-rowindex": at + 2, "aria-selected": isGroup ? null : String(Boolean(row.chosen)), style: `top: ${at * ROW}px; grid-template-columns: ${template}`});
    element.dataset.at = at;
    if (!isGroup) element.dataset.name = row.name;
    element.append(...columns.map((column, place) => this.cell(at, row, column, place)));
    if (isGroup) {
      element.setAttribute("aria-expanded", String(row.open));
      element.addEventListener("click", () => this.tell("fold", {at}));
    }
    return element;
  }

  cell(at, row, column, place) {
    const given = row.cells[column.at], isPair = Array.isArray(given), text = isPair ? given[0] : given, title = isPair ? given[1] : null;
    const cell = made("div", {class: `cell${column.right ? " right" : ""}`, role: "gridcell", "aria-colindex": place + 1, "data-column": column.name});
    if (column.kind === "check") {
      if (row.group !== undefined) {
        cell.textContent = row.open ? "▾" : "▸";
        return cell;
      }
      const box = made("input", {type: "checkbox", "aria-label": `choose ${row.name}`});
      box.checked = Boolean(row.chosen);
      box.addEventListener("click", event => this.tell("choose", {at, is: box.checked, shift: event.shiftKey}));
      cell.append(box);
    } else if (column.kind === "state" && text && row.group === undefined) {
      cell.append(made("span", {class: `chip ${text}`}, text));
    } else if (column.kind === "run" && row.group === undefined) {
      cell.append(made("a", {href: row.href}, row.name));
      cell.title = row.name;
    } else if (column.kind === "curve") {
      if (given && given.length) cell.append(this.sparkline(given));
    } else {
      const isEdited = isPair && given[2];
      cell.append(isEdited ? made("span", {class: "edited"}, text) : text || "");
      cell.title = title || text || "";
    }
    return cell;
  }

  sparkline(heights) {
    const name = "http://www.w3.org/2000/svg", svg = document.createElementNS(name, "svg"), path = document.createElementNS(name, "path");
    svg.setAttribute("viewBox", `0 0 ${Math.max(1, heights.length - 1)} 100`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    let isDown = false;
    path.setAttribute("d", heights.map((height, at) => {
      const part = height === null ? "" : `${isDown ? "L" : "M"}${at} ${96 - height * 0.92}`;
      isDown = height !== null;
      return part;
    }).join(""));
    svg.append(path);
    return svg;
  }
}

export function render({model}) {
  const runs = new Runs(model);
  model.on("msg:custom", message => runs.take(message));
  model.on("remove", () => runs.close());
  model.send_msg({kind: "ready"});
  return runs.root;
}
