// What the scripts of all widgets share; it comes before each of them. Nothing is fetched from anywhere.

const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥" }; // how a token that can't be seen is shown

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}
function deafen(row) { // the notebook has shortcuts of its own, and would take a slider's arrow keys
  row.addEventListener("keydown", (event) => event.stopPropagation());
  return row;
}
function sliders(model, list) { // [name, low, high, step, words] each -> [the row, { name: [slider, its number] }]
  const row = deafen(make("div", { class: "bm-sliders" })), fields = {};
  for (const [name, low, high, step, words] of list) {
    const field = make("input", { type: "range", min: low, max: high, step, "aria-label": words }), number = make("output");
    field.oninput = () => { model.set(name, Number(field.value)); model.save_changes(); };
    fields[name] = [field, number];
    row.append(make("label", {}, make("span", {}, words), field, number));
  }
  return [row, fields];
}
