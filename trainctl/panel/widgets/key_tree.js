// The keys of a run as a tree: values as text, and a widget only for a key that is being edited.
//
// Only the rows in sight are in the document, so that 2,000 keys cost what 20 do. What is typed is told to the server,
// which says what it means; whatever it says later never replaces what is being typed. Text is text everywhere: nothing
// here writes HTML.

const ROW = 26, TALL = 48, AREA = 130, SPARE = 300, SAID_MS = 120, POSITIONS = 200;
const LOCK = "M3 7h1V5a4 4 0 0 1 8 0v2h1v8H3zm3 0h4V5a2 2 0 0 0-4 0z";
const NUDGES = {float: [["÷2", "halve"], ["×2", "double"]], int: [["−", "lower"], ["+", "raise"]]};

const make = (tag, given = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};
const set = (element, name, value) => {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const TYPING = "input, textarea, select, [role=combobox], [role=listbox], [role=menu]";  // where a letter is no command
const own = (found, key) => (found && Object.hasOwn(found, key) ? found[key] : undefined);  // a key may be called toString
const short = text => (text.length > 200 ? `${text.slice(0, 200)} …` : text);

const lockSign = reason => {
  const sign = make("span", {class: "lock", role: "img", title: reason, "aria-label": reason});
  const drawn = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawn.setAttribute("viewBox", "0 0 16 16");
  drawn.setAttribute("aria-hidden", "true");
  path.setAttribute("d", LOCK);
  drawn.append(path);
  sign.append(drawn);
  return sign;
};

// A number's text after a press of one of its buttons; nothing when it is not a number.
export const nudged = (text, line, up) => {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value)) return null;
  if (line.type === "float") return String(Number((value * (up ? 2 : 0.5)).toPrecision(15)));
  const step = Math.max(1, Math.trunc(line.step || 1));
  return /^[-+]?\d+$/.test(text.trim()) ? String(BigInt(text.trim().replace("+", "")) + BigInt(up ? step : -step)) : null;
};
const hasSlider = line => NUDGES[line.type] && line.min !== undefined && line.max > line.min;
const ends = line => (line.log && line.min > 0 ? [Math.log, Math.exp] : [x => x, x => x]);
export const position = (text, line) => {
  const value = Math.min(Math.max(Number(text), line.min), line.max), [there] = ends(line);
  if (!text.trim() || Number.isNaN(value)) return 0;
  return Math.round(POSITIONS * (there(value) - there(line.min)) / (there(line.max) - there(line.min)));
};
// The text of a slider's place in three digits, never outside the bounds.
export const textAt = (place, line) => {
  const [there, back] = ends(line), low = there(line.min), high = there(line.max);
  const value = back(low + (high - low) * place / POSITIONS);
  if (line.type === "int") return String(Math.min(Math.max(Math.round(value), Math.ceil(line.min)), Math.floor(line.max)));
  const rounded = Number(value.toPrecision(3));
  return String(rounded >= line.min && rounded <= line.max ? rounded : Number(value.toPrecision(15)));
};

export function render({model}) {
  const place = `trainctl keys ${location.pathname}`;
  const kept = (() => { try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; } })();
  const closed = new Set(kept.closed), typed = new Map(), drawn = new Map();
  let lines = [], heights = [], shown = [], serial = 0, open = null, sending = null, active = null, isDrawing = false;

  const filter = make("input", {type: "search", class: "filter", placeholder: "Filter keys and values", title: "press / to come here",
    "aria-label": "Filter keys and values", "aria-keyshortcuts": "/", maxlength: 200});
  const all = make("button", {type: "button", class: "all", "aria-pressed": false});
  const said = make("span", {class: "said", "aria-live": "polite"});
  const rows = make("div", {role: "rowgroup", class: "rows"});
  const tree = make("div", {role: "treegrid", class: "tree", "aria-label": "keys", tabindex: 0}, rows);
  const top = make("div", {class: "tools"}, filter, all, said);
  filter.value = kept.filter || "";

  const keep = () => {
    const typedNow = Object.fromEntries(lines.filter(line => isPending(line)).map(line => [line.key, textOf(line)]));
    const now = {texts: typedNow, filter: filter.value, all: all.getAttribute("aria-pressed") === "true", closed: [...closed]};
    try { sessionStorage.setItem(place, JSON.stringify(now)); } catch { /* a full or a forbidden store: not kept */ }
  };

  // what the run has, what was typed, and what the server says about it
  const now = line => own(model.changed, line.key) ?? line.text;
  const mark = line => own(model.state.texts, line.key);
  const isUnheard = line => typed.has(line.key);
  const textOf = line => (isUnheard(line) ? typed.get(line.key).text : mark(line)?.text) ?? now(line);
  const isPending = line => line.key !== undefined && (isUnheard(line) ? textOf(line) !== now(line)
    : mark(line) !== undefined && !mark(line).same);
  const canEdit = line => model.state.is_open && line.key !== undefined && line.locked === undefined;
  const isEdited = line => canEdit(line) && (line.key === open || isPending(line));
  const isSwitch = line => line.type === "bool" && line.options === undefined;
  const heightOf = line => (!isEdited(line) ? ROW : textOf(line).includes("\n") ? AREA : TALL);

  const send = (more = {}) => {
    clearTimeout(sending);
    sending = null;
    const texts = {};
    for (const [key, one] of typed) if (!one.isSent) { texts[key] = one.text; one.isSent = true; }
    if (Object.keys(texts).length || more.apply) model.send_msg({serial, texts, ...more});
  };
  const type = (key, text, isNow = false) => {  // a text of null lets go of the key
    typed.set(key, {text, serial: ++serial, isSent: false});
    if (isNow) send();
    else if (sending === null) sending = setTimeout(send, SAID_MS);
    draw();
    keep();
  };
  const begin = line => {
    if (!canEdit(line)) return;
    if (isSwitch(line)) { type(line.key, textOf(line) === "true" ? "false" : "true", true); return; }
    open = line.key;
    lay();
    const widget = drawn.get(line.key)?.widget;
    widget?.focus();
    widget?.select?.();
  };
  const end = line => {
    if (open === line.key) open = null;
    send();
    if (mark(line)?.same && !isUnheard(line)) type(line.key, null, true);
    lay();
  };
  const letGo = line => {
    open = null;
    type(line.key, null, true);
    lay();
    drawn.get(line.key)?.element.focus();
  };

  const lay = () => {  // which rows there are, and how high each is
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const isAll = all.getAttribute("aria-pressed") === "true";
    const found = line => (isAll || line.locked === undefined || isPending(line)) &&
      words.every(word => line.key.toLowerCase().includes(word) || now(line).toLowerCase().includes(word));
    const wanted = [], above = [];
    let number = 0;
    for (const line of lines) {
      while (above.length && above.at(-1).line.depth >= line.depth) above.pop();
      if (line.key === undefined) { above.push({line, isDrawn: false}); continue; }
      if (!found(line)) continue;
      number += 1;
      let isHidden = false;
      for (const group of above) {
        if (isHidden) break;
        if (!group.isDrawn) { wanted.push(group.line); group.isDrawn = true; }
        isHidden = closed.has(group.line.path) && !words.length;
      }
      if (!isHidden || isEdited(line)) wanted.push(line);
    }
    shown = wanted;
    const total = lines.filter(line => line.key !== undefined).length;
    const locked = lines.filter(line => line.locked !== undefined).length;
    write(all, `all ${total.toLocaleString("en")} keys`);
    all.hidden = locked === 0;
    if (words.length && !number) write(said, `No ${isAll ? "" : "steerable "}key or value has ${words.join(" and ")} in it.`);
    else if (words.length) write(said, `${number.toLocaleString("en")} of ${total.toLocaleString("en")} keys`);
    else if (!number && total) write(said, "All keys are locked.");
    else write(said, isAll || !locked ? "" : `${locked.toLocaleString("en")} locked`);
    draw();
  };

  const draw = () => {  // the rows in sight; what is replaced loses the focus, which is not a person's doing
    isDrawing = true;
    try { drawRows(); } finally { isDrawing = false; }
  };
  const drawRows = () => {
    let at = 0;
    heights = shown.map(line => { const from = at; at += heightOf(line); return from; });
    const height = `${at}px`;
    if (rows.style.height !== height) rows.style.height = height;
    set(tree, "aria-rowcount", shown.length);
    const first = tree.scrollTop - SPARE, last = tree.scrollTop + (tree.clientHeight || 700) + SPARE;
    const seen = new Set();
    let before = null;
    shown.forEach((line, index) => {
      const id = line.key ?? `\n${line.path}`;  // no key has a line break before it
      const isFocused = drawn.get(id)?.element.contains(deepest());
      if ((heights[index] + heightOf(line) < first || heights[index] > last) && !isFocused) return;
      seen.add(id);
      let row = drawn.get(id);
      const kind = line.key === undefined ? "group" : isEdited(line) ? (heightOf(line) === AREA ? "area" : "edit") : "text";
      if (!row || row.line !== line || row.kind !== kind || row.isOpen !== canEdit(line)) {
        const isNew = make("div", {role: "row", class: `row ${kind}`, "data-key": line.key, tabindex: -1});
        const made = line.key === undefined ? drawGroup(isNew, line) : drawKey(isNew, line, kind);
        const hadFocus = row && isFocused;
        if (row) row.element.replaceWith(isNew);
        else rows.insertBefore(isNew, before ? before.nextSibling : rows.firstChild);
        row = {...made, line, kind, element: isNew, isOpen: canEdit(line)};
        drawn.set(id, row);
        if (hadFocus) (row.widget ?? isNew).focus();
      }
      before = row.element;
      row.element.style.top = `${heights[index]}px`;
      row.element.style.height = `${heightOf(line)}px`;
      set(row.element, "aria-rowindex", index + 1);
      set(row.element, "aria-level", line.depth + 1);
      row.update();
    });
    for (const [id, row] of drawn) if (!seen.has(id)) { row.element.remove(); drawn.delete(id); }
  };
  const deepest = () => { const root = tree.getRootNode(); return root.activeElement; };

  const drawGroup = (element, line) => {
    const arrow = make("span", {class: "arrow", "aria-hidden": "true"}), name = make("span", {class: "label"}, line.label);
    const cell = make("div", {role: "gridcell", class: "name"}, arrow, name);
    cell.style.paddingLeft = `${6 + 14 * line.depth}px`;
    element.append(cell);
    element.addEventListener("click", () => fold(line));
    return {update: () => {
      const isClosed = closed.has(line.path) && !filter.value.trim();
      set(element, "aria-expanded", !isClosed);
      write(arrow, isClosed ? "▸" : "▾");
    }};
  };
  const fold = line => {
    if (!closed.delete(line.path)) closed.add(line.path);
    lay();
    keep();
  };

  const drawKey = (element, line, kind) => {
    const name = make("div", {role: "rowheader", class: "name", title: line.help ? `${line.key}: ${line.help}` : line.key});
    name.style.paddingLeft = `${6 + 14 * line.depth}px`;
    const value = make("div", {role: "gridcell", class: "value"});
    element.append(name, value);
    if (line.locked !== undefined) name.append(lockSign(line.locked));
    name.append(make("span", {class: "label"}, line.label));
    if (kind === "text") return drawText(value, line);
    const hint = make("div", {class: "hint"});
    const parts = partsOf(line, kind), widget = parts[0];
    value.append(make("div", {class: "parts"}, ...parts), hint);
    element.addEventListener("focusout", event => {
      if (!isDrawing && !element.contains(event.relatedTarget)) end(line);
    });
    element.addEventListener("keydown", event => {
      if (event.key === "Escape") letGo(line);
      else if (event.key === "Enter" && event.target === widget && (kind !== "area" || event.ctrlKey)) send({apply: true});
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    return {widget, update: () => {
      const text = textOf(line), wrong = isUnheard(line) ? null : mark(line)?.error;
      if (isSwitch(line)) { write(widget, text); set(widget, "aria-checked", text === "true"); }
      else if (widget.value !== text) widget.value = text;
      const slider = parts.find(part => part.type === "range");
      if (slider && slider.value !== String(position(text, line))) slider.value = position(text, line);
      set(widget, "aria-invalid", wrong ? "true" : null);
      element.classList.toggle("changed", isPending(line) && !wrong);
      element.classList.toggle("wrong", Boolean(wrong));
      write(hint, wrong || (isPending(line) ? `now ${short(now(line))}` : line.help || line.takes || ""));
      set(hint, "title", hint.textContent);
    }};
  };
  const drawText = (value, line) => {
    const text = canEdit(line) ? make("button", {type: "button", class: "plain"}) : make("span", {class: "plain"});
    if (canEdit(line)) {
      text.addEventListener("click", () => begin(line));
      if (isSwitch(line)) set(text, "role", "switch");
    }
    value.append(text);
    return {update: () => {
      write(text, short(now(line)) || "\u00a0");
      set(text, "title", now(line).slice(0, 2000));
      if (canEdit(line)) set(text, "aria-label", `${line.key}: ${short(now(line))}`);
      if (canEdit(line) && isSwitch(line)) set(text, "aria-checked", now(line) === "true");
    }};
  };
  const partsOf = (line, kind) => {  // the widget, and what helps to change it
    const about = {"aria-label": line.key, class: "field"};
    if (isSwitch(line)) {
      const widget = make("button", {type: "button", role: "switch", ...about});
      widget.addEventListener("click", () => type(line.key, textOf(line) === "true" ? "false" : "true", true));
      return [widget];
    }
    if (line.options !== undefined) {
      const options = line.options.includes(now(line)) ? line.options : [now(line), ...line.options];
      const widget = make("select", about, ...options.map(option => make("option", {value: option}, option)));
      widget.addEventListener("change", () => type(line.key, widget.value, true));
      return [widget];
    }
    const widget = kind === "area" ? make("textarea", {...about, rows: 5})
      : make("input", {type: "text", ...about, maxlength: 2 ** 20});
    set(widget, "spellcheck", "false");
    set(widget, "autocomplete", "off");
    widget.addEventListener("input", () => type(line.key, widget.value));
    const parts = [widget];
    for (const [at, [sign, word]] of (NUDGES[line.type] || []).entries()) {
      const tip = `${word} ${line.key}`, button = make("button", {type: "button", title: tip, "aria-label": tip}, sign);
      button.addEventListener("mousedown", event => event.preventDefault());  // the field keeps the focus
      button.addEventListener("click", () => {
        const text = nudged(textOf(line), line, at === 1);
        if (text !== null) type(line.key, text, true);
      });
      parts.push(button);
    }
    if (hasSlider(line)) {
      const slider = make("input", {type: "range", min: 0, max: POSITIONS, "aria-label": `${line.key} slider`});
      slider.addEventListener("input", () => type(line.key, textAt(Number(slider.value), line)));
      parts.push(slider);
    }
    return parts;
  };

  // by keyboard: arrows go through the rows, `e` or Enter edits; `/` is the page's own
  const goTo = index => {
    const line = shown[Math.max(0, Math.min(shown.length - 1, index))];
    if (!line) return;
    const at = heights[shown.indexOf(line)];
    active = line;
    if (at < tree.scrollTop) tree.scrollTop = at;
    else if (at + TALL > tree.scrollTop + tree.clientHeight) tree.scrollTop = at + TALL - tree.clientHeight;
    draw();
    drawn.get(line.key ?? `\n${line.path}`)?.element.focus();
  };
  tree.addEventListener("focusin", event => {
    const row = event.target.closest?.(".row");
    if (row) active = shown.find(line => drawn.get(line.key ?? `\n${line.path}`)?.element === row) || active;
  });
  tree.addEventListener("keydown", event => {
    const target = event.target, isRow = target === tree || target.classList.contains("row");
    if (!isRow && !target.classList.contains("plain")) return;
    const index = shown.indexOf(active), line = shown[index];
    if (event.key === "ArrowDown") goTo(index + 1);
    else if (event.key === "ArrowUp") goTo(index - 1);
    else if (event.key === "Home") goTo(0);
    else if (event.key === "End") goTo(shown.length - 1);
    else if (line && line.key === undefined && ["ArrowLeft", "ArrowRight", "Enter"].includes(event.key)) {
      if ((event.key === "ArrowLeft") !== closed.has(line.path) || event.key === "Enter") fold(line);
      goTo(shown.indexOf(line));
    } else if (line && isRow && (event.key === "e" || event.key === "Enter")) begin(line);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const atPage = event => {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || target.closest?.(TYPING)) return;
    if (!tree.offsetParent || event.key !== "e") return;
    event.preventDefault();
    if (active && shown.includes(active)) begin(active);
    else { const line = shown.find(canEdit); if (line) { active = line; begin(line); } }
  };
  document.addEventListener("keydown", atPage);
  model.on("remove", () => document.removeEventListener("keydown", atPage));

  filter.addEventListener("input", () => { tree.scrollTop = 0; lay(); keep(); });
  filter.addEventListener("keydown", event => {
    if (event.key === "Escape") { filter.value = ""; lay(); keep(); }
    else if (event.key === "ArrowDown") goTo(0);
    else return;
    event.preventDefault();
  });
  all.addEventListener("click", () => {
    set(all, "aria-pressed", all.getAttribute("aria-pressed") !== "true");
    lay();
    keep();
  });
  let isDue = false;
  tree.addEventListener("scroll", () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => { isDue = false; draw(); });
  });
  new ResizeObserver(() => draw()).observe(tree);

  const take = () => {
    lines = JSON.parse(model.lines);
    if (lines.length && lines.every(line => line.key === undefined || line.locked !== undefined)) set(all, "aria-pressed", true);
    lay();
  };
  set(all, "aria-pressed", Boolean(kept.all));
  model.on("lines", take);
  model.on("changed", () => (filter.value.trim() ? lay() : draw()));
  model.on("state", () => {
    for (const [key, one] of typed) if (one.serial <= model.state.heard) typed.delete(key);
    lay();
    keep();
  });
  take();
  const restore = () => {  // what was typed before the page was loaded anew; other parts are deaf until all is drawn
    if (!model.document) return;
    if (!model.document.is_idle) { setTimeout(restore, 50); return; }
    for (const line of lines) {
      const text = own(kept.texts, line.key);
      if (canEdit(line) && mark(line) === undefined && typeof text === "string" && text !== now(line)) type(line.key, text);
    }
  };
  if (Object.keys(kept.texts || {}).length) restore();
  return make("div", {class: "keys"}, top, tree);
}
