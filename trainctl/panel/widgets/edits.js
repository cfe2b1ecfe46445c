// The edits of a run, the latest first. A button says itself what it takes back: rows may have come above it meanwhile.

const STYLE = `
.edits { max-height: 440px; overflow: auto; scrollbar-width: thin; }
table { border-collapse: collapse; width: 100%; font-size: var(--small); }
th, td { text-align: left; vertical-align: top; padding: 4px 8px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { position: sticky; top: 0; z-index: 1; font-weight: 600; background: var(--panel-background-color, Canvas); }
td.old, td.new, td.key { font: var(--small)/1.45 var(--mono); }
td.old, td.new, td.key, td.note, td.status { white-space: normal; overflow-wrap: anywhere; min-width: 48px; max-width: 240px; }
th.step, td.step { text-align: right; }
button { font: inherit; line-height: 18px; color: inherit; background: none; border: 1px solid var(--edge); border-radius: 4px;
  padding: 0 8px; cursor: pointer; }
.unread { background: #f5d76e; color: #222; border-radius: 3px; padding: 0 4px; }
.empty { margin: 4px 8px; opacity: .78; }
`;

const made = (tag, attributes = {}, ...inner) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inner);
  return element;
};

export function render({model}) {
  const body = made("tbody"), heads = model.heads.map(name => made("th", {scope: "col", class: name}, name));
  const table = made("table", {}, made("thead", {}, made("tr", {}, ...heads)), body), empty = made("p", {class: "empty"}, "No edits.");
  const root = made("div", {class: "edits", tabindex: 0, role: "group", "aria-label": "changelog"}, made("style", {}, STYLE), table, empty);

  // A row stays the same element while others come and go and its texts change: a press of its button is not lost.
  const known = new Map();
  const rowOf = () => {
    const cells = model.heads.map(name => made("td", {class: name})), status = made("span");
    cells[model.heads.indexOf("status")].append(status);
    return {element: made("tr", {}, ...cells), cells, status, token: null};
  };
  const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const fill = (row, {cells, take, is_unread}) => {
    model.heads.forEach((name, at) => {
      if (name !== "undo") write(name === "status" ? row.status : row.cells[at], cells[at] ?? "");
    });
    row.status.className = is_unread ? "unread" : "";
    if (row.token === (take?.token ?? null)) return;
    row.token = take?.token ?? null;
    const button = take && made("button", {type: "button", "aria-label": take.label, title: take.label}, take.sign);
    button?.addEventListener("click", () => model.send_msg({token: take.token}));
    row.cells[model.heads.indexOf("undo")].replaceChildren(...(button ? [button] : []));
  };
  const draw = () => {
    const seen = new Set();
    model.rows.forEach((given, at) => {
      let name = given.take?.token ?? given.cells.slice(0, 4).join("\n");
      while (seen.has(name)) name += "\n";
      seen.add(name);
      const row = known.get(name) || rowOf();
      known.set(name, row);
      fill(row, given);
      if (body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null);
    });
    for (const [name, row] of known) if (!seen.has(name)) { row.element.remove(); known.delete(name); }
    table.hidden = !model.rows.length;
    empty.hidden = !table.hidden;
  };
  model.on("rows", draw);
  draw();
  return root;
}
