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
const asBytes = (value) => new Uint8Array(value?.buffer ? value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength) : value ?? []);

// Paint numbers from 0 to 255 as squares of ink, in the page's own colours.
function paint(canvas, values, side, size) {
  const ratio = window.devicePixelRatio || 1, style = getComputedStyle(canvas), pen = canvas.getContext("2d"), step = (size * ratio) / side;
  canvas.width = canvas.height = size * ratio;
  canvas.style.width = canvas.style.height = `${size}px`;
  pen.fillStyle = style.getPropertyValue("--bm-paper");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = style.getPropertyValue("--bm-ink");
  values.forEach((value, i) => {
    if (!value) return;
    pen.globalAlpha = value / 255;
    pen.fillRect(Math.floor((i % side) * step), Math.floor(Math.floor(i / side) * step), Math.ceil(step), Math.ceil(step));
  });
  pen.globalAlpha = 1;
  return [pen, step];
}
