// Fields and buttons in a row, each with its label beside it. What a person does is told at once with all values, so that
// a press never comes before what was typed; what the server says of a field later replaces what is typed only where the
// server has given it another value. Text is text: nothing here writes HTML.

const SAID_MS = 120;

const make = (tag, given = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value !== undefined && value !== null && value !== "") made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
};
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

export function render({model}) {
  const place = `trainctl fields ${location.pathname}`;
  const kept = (() => { try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; } })();
  const parts = new Map(), root = make("div", {class: "tools", role: "group"});
  let sending = null;

  const valueOf = ({field, one}) => (one.kind === "check" ? field.checked : field.value);
  const keep = () => {
    const now = Object.fromEntries([...parts.values()].filter(({one}) => one.is_kept).map(part => [part.one.name, valueOf(part)]));
    if (!Object.keys(now).length) return;
    try { sessionStorage.setItem(place, JSON.stringify({...kept, ...now})); } catch { /* a full or a forbidden store: not kept */ }
  };
  const tell = (more = {}) => {
    clearTimeout(sending);
    sending = null;
    const values = Object.fromEntries([...parts.values()].filter(({one}) => one.kind !== "button").map(part => [part.one.name, valueOf(part)]));
    model.send_msg({values, ...more});
    keep();
  };
  const later = () => { if (sending === null) sending = setTimeout(tell, SAID_MS); };

  for (const one of model.controls) {
    const part = {one, serial: 0, wrong: make("span", {class: "wrong", "aria-live": "polite"})}, title = one.title || null;
    if (one.kind === "button") {
      part.field = part.whole = make("button", {type: "button", class: one.look, title});
      part.field.addEventListener("click", () => tell({pressed: one.name}));
    } else {
      part.name = make("span", {}, one.label);
      if (one.kind === "text") {
        part.field = make("input", {type: "text", maxlength: one.longest, autocomplete: "off", spellcheck: "false", "aria-keyshortcuts": one.shortcut});
        part.field.addEventListener("input", later);
        part.field.addEventListener("change", () => tell());
      } else {
        part.field = make(...(one.kind === "check" ? ["input", {type: "checkbox"}] : ["select"]));
        part.field.addEventListener("change", () => tell());
      }
      if (one.width) part.field.style.width = `${one.width}px`;
      part.field.setAttribute("aria-label", one.label);
      part.whole = make("label", {title}, ...(one.kind === "check" ? [part.field, part.name] : [part.name, part.field]), part.wrong);
    }
    parts.set(one.name, part);
    root.append(part.whole);
  }

  const show = () => {
    for (const [name, part] of parts) {
      const now = model.state[name] || {}, {field, one} = part;
      part.whole.hidden = Boolean(now.hidden);
      field.disabled = Boolean(now.disabled);
      if (one.kind === "button") { write(field, now.label ?? one.label); continue; }
      if (one.kind === "choice" && String(part.options) !== String(now.options)) {
        const before = field.value;
        field.replaceChildren(...now.options.map(option => Object.assign(make("option", {}, option || "—"), {value: option})));
        field.value = now.options.includes(before) ? before : now.value;
        part.options = now.options;
      }
      if (now.serial > part.serial) {
        part.serial = now.serial;
        if (one.kind === "check") field.checked = now.value;
        else if (field.value !== now.value) field.value = now.value;
        keep();
      }
      if (now.error) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
      write(part.wrong, now.error || "");
    }
  };
  show();
  model.on("state", show);

  const restore = () => {  // what was typed before the page was loaded anew; other parts are deaf until all is drawn
    if (!model.document) return;
    if (!model.document.is_idle) { setTimeout(restore, 50); return; }
    for (const [name, part] of parts) {
      if (part.one.is_kept && typeof kept[name] === "string" && kept[name]) part.field.value = kept[name];
    }
    tell();
  };
  if ([...parts.values()].some(({one}) => one.is_kept && kept[one.name])) restore();
  return root;
}
