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

  const buttonOf = ({token, label, sign}) => {
    const button = made("button", {type: "button", "aria-label": label, title: label}, sign);
    button.addEventListener("click", () => model.send_msg({token}));
    return button;
  };
  const rowOf = ({cells, take, is_unread}) => made("tr", {}, ...model.heads.map((name, at) => {
    if (name === "undo") return made("td", {}, ...(take ? [buttonOf(take)] : []));
    const text = cells[at] ?? "";
    return made("td", {class: name}, name === "status" && is_unread ? made("span", {class: "unread"}, text) : text);
  }));
  const draw = () => {
    const focused = root.getRootNode().activeElement?.getAttribute?.("aria-label");
    body.replaceChildren(...model.rows.map(rowOf));
    table.hidden = !model.rows.length;
    empty.hidden = !table.hidden;
    if (focused) [...body.querySelectorAll("button")].find(button => button.getAttribute("aria-label") === focused)?.focus();
  };
  model.on("rows", draw);
  draw();
  return root;
}
