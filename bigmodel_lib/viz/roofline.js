// The roofline's view: roofs on a canvas and a star that the reader drags, which sets the product's rows.
// The arithmetic is that of roofline.py; nothing is fetched from anywhere.

const BYTES = { float32: 4, tf32: 4, bfloat16: 2 };
const COLOURS = { float32: ["#0072b2", "#56b4e9"], tf32: ["#009e73", "#2fd6a8"], bfloat16: ["#d55e00", "#e69f00"] };
const X = [0.1, 1e4], Y = [0.08, 2000], MOST = 32768; // the map's edges: operations a byte, 10¹² operations a second
const SIZES = [["m", "rows, m"], ["k", "inner size, k"], ["n", "columns, n"]];
const KNOWN = [
  ["one token", 1, 4096, 4096], ["32 texts write at once", 32, 4096, 4096], ["GPT-2’s MLP, a training batch", 16384, 768, 3072],
  ["1024³", 1024, 1024, 1024], ["8192³", 8192, 8192, 8192],
];

function cost(m, k, n, format, card) {
  const bytes = BYTES[format] * (m * k + k * n + m * n), operations = 2 * m * k * n;
  const moving = bytes / card.bandwidth, computing = operations / card.peaks[format];
  return { bytes, operations, moving, computing, least: Math.max(moving, computing), intensity: operations / bytes };
}
function rowsFor(intensity, k, n, size) {
  const room = 2 * k * n - intensity * size * (k + n);
  return room <= 0 ? MOST : Math.min(MOST, Math.max(1, Math.round((intensity * size * k * n) / room)));
}
function time(seconds) {
  if (seconds >= 1e-3) return `${(1e3 * seconds).toPrecision(3)} ms`;
  return seconds >= 1e-6 ? `${(1e6 * seconds).toPrecision(3)} µs` : `${(1e9 * seconds).toPrecision(3)} ns`;
}
function bytesSaid(bytes) {
  const [unit, words] = bytes >= 1e9 ? [1e9, "GB"] : bytes >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
  return `${(bytes / unit).toPrecision(3)} ${words}`;
}

function render({ model, el }) {
  const canvas = make("canvas", { class: "bm-roof-map", role: "img", "aria-label": "the roofline; drag the star sideways to change the rows of the product" });
  const says = make("div", { class: "bm-roof-says", role: "status" });
  const bars = make("div", { class: "bm-roof-bars" });
  const choices = make("div", { class: "bm-roof-choices" }), sliders = make("div", { class: "bm-roof-sliders" }), known = make("div", { class: "bm-roof-choices" });
  const root = make("div", { class: "bm-toy bm-roof" }, choices, canvas, says, bars, sliders, known);
  el.append(root);
  const set = (values) => {
    Object.entries(values).forEach(([name, value]) => model.set(name, value));
    model.save_changes();
  };
  const buttons = [];
  const choice = (trait, value) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, value);
    button.onclick = () => set({ [trait]: value });
    buttons.push([button, trait, value]);
    return button;
  };
  choices.append(...Object.keys(BYTES).map((format) => choice("format", format)), make("span", {}, "on"), ...Object.keys(model.get("cards")).map((card) => choice("card", card)));
  for (const [words, m, k, n] of KNOWN) {
    const button = make("button", { type: "button" }, words);
    button.onclick = () => set({ m, k, n });
    known.append(button);
  }
  const fields = SIZES.map(([name, words]) => {
    const field = make("input", { type: "range", min: 0, max: 15, step: 0.25, "aria-label": words }), number = make("output");
    field.oninput = () => set({ [name]: Math.round(2 ** Number(field.value)) });
    sliders.append(make("label", {}, make("span", {}, words), field, number));
    return [name, field, number];
  });
  deafen(sliders);
  const bar = (words) => {
    const inside = make("div"), said = make("span");
    bars.append(make("div", { class: "bm-roof-bar" }, make("span", {}, words), make("div", { class: "bm-roof-track" }, inside), said));
    return [inside, said];
  };
  const clocks = { moving: bar("moving the numbers"), computing: bar("arithmetic") };

  const edge = { left: 54, right: 78, top: 12, bottom: 40 };
  let width = 640, tall = 360;
  const along = (x) => edge.left + (Math.log(x / X[0]) / Math.log(X[1] / X[0])) * (width - edge.left - edge.right);
  const up = (y) => tall - edge.bottom - (Math.log(y / Y[0]) / Math.log(Y[1] / Y[0])) * (tall - edge.top - edge.bottom);
  const at = (place) => X[0] * (X[1] / X[0]) ** ((place - edge.left) / (width - edge.left - edge.right));

  function star(pen, x, y) {
    pen.beginPath();
    for (let i = 0; i < 10; i++) {
      const far = i % 2 ? 5 : 12, angle = (Math.PI * i) / 5 - Math.PI / 2;
      pen.lineTo(x + far * Math.cos(angle), y + far * Math.sin(angle));
    }
    pen.closePath();
    pen.fill();
  }
  function axes(pen, style) {
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--bm-dim");
    pen.strokeStyle = style.getPropertyValue("--bm-line");
    pen.lineWidth = 0.6;
    for (const x of [0.1, 1, 10, 100, 1000, 10000]) {
      pen.beginPath(); pen.moveTo(along(x), up(Y[0])); pen.lineTo(along(x), up(Y[1])); pen.stroke();
      pen.textAlign = "center";
      pen.fillText(x.toLocaleString("en"), along(x), tall - 24);
    }
    for (const y of [0.1, 1, 10, 100, 1000]) {
      pen.beginPath(); pen.moveTo(along(X[0]), up(y)); pen.lineTo(along(X[1]), up(y)); pen.stroke();
      pen.textAlign = "right";
      pen.fillText(y.toLocaleString("en"), edge.left - 6, up(y) + 4);
    }
    pen.textAlign = "center";
    pen.fillText("operations for each byte moved", (along(X[0]) + along(X[1])) / 2, tall - 6);
    pen.save();
    pen.translate(12, (tall - edge.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("10¹² operations a second", 0, 0);
    pen.restore();
  }
  function draw() {
    width = root.clientWidth ? Math.min(root.clientWidth - 30, 720) : 640;
    tall = Math.max(260, width * 0.55);
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = tall * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    const pen = canvas.getContext("2d"), style = getComputedStyle(root), dark = Number(style.getPropertyValue("--bm-dark"));
    pen.scale(ratio, ratio);
    axes(pen, style);
    const card = model.get("cards")[model.get("card")], format = model.get("format");
    const chosenLast = Object.entries(card.peaks).sort(([one], [other]) => (one === format) - (other === format));
    for (const [name, peak] of chosenLast) {
      pen.strokeStyle = pen.fillStyle = COLOURS[name][dark];
      pen.lineWidth = name === format ? 3 : 1;
      const corner = peak / card.bandwidth;
      pen.beginPath();
      pen.moveTo(along(X[0]), up((card.bandwidth * X[0]) / 1e12));
      pen.lineTo(along(corner), up(peak / 1e12));
      pen.lineTo(along(X[1]), up(peak / 1e12));
      pen.stroke();
      pen.textAlign = "left";
      pen.fillText(name, along(X[1]) + 6, up(peak / 1e12) + 4);
    }
    pen.lineWidth = 1.5;
    pen.strokeStyle = style.color;
    for (const [size, speed] of card.measured[format]) {
      pen.beginPath();
      pen.arc(along((2 * size) / (3 * BYTES[format])), up(speed / 1e12), 4, 0, 7);
      pen.stroke();
    }
    pen.fillStyle = style.getPropertyValue("--bm-dim");
    pen.textAlign = "right";
    pen.fillText("○ measured, n³, n = 1024 to 8192", along(X[1]) - 6, tall - edge.bottom - 10);
    const [m, k, n] = SIZES.map(([name]) => model.get(name)), found = cost(m, k, n, format, card);
    pen.fillStyle = style.color;
    star(pen, along(found.intensity), up(found.operations / found.least / 1e12));
    tell(m, k, n, format, card, found);
  }
  function tell(m, k, n, format, card, found) {
    const memory = found.moving > found.computing, most = (100 * found.computing) / found.least;
    says.replaceChildren(
      `(${m}, ${k}) @ (${k}, ${n}) in ${format}: ${bytesSaid(found.bytes)} to move, ${found.intensity.toLocaleString("en", { maximumSignificantDigits: 3 })} operations a byte. `,
      make("b", {}, `${memory ? "Memory" : "Arithmetic"} sets the pace`), `: at least ${time(found.least)}, at most ${most.toPrecision(3)} % of the peak.`,
    );
    for (const [name, [inside, said]] of Object.entries(clocks)) {
      inside.style.width = `${(100 * found[name]) / found.least}%`;
      inside.classList.toggle("bm-roof-slow", found[name] === found.least);
      said.textContent = time(found[name]);
    }
    buttons.forEach(([button, trait, value]) => button.setAttribute("aria-pressed", String(model.get(trait) === value)));
    for (const [name, field, number] of fields) {
      field.value = Math.log2(model.get(name));
      number.textContent = model.get(name).toLocaleString("en");
    }
  }
  function drag(event) {
    if (!(event.buttons & 1)) return;
    const place = event.clientX - canvas.getBoundingClientRect().left;
    set({ m: rowsFor(at(place), model.get("k"), model.get("n"), BYTES[model.get("format")]) });
  }
  canvas.onpointerdown = (event) => { canvas.setPointerCapture?.(event.pointerId); drag(event); };
  canvas.onpointermove = drag;
  const names = ["card", "format", "m", "k", "n"].map((name) => `change:${name}`);
  names.forEach((name) => model.on(name, draw));
  const watch = new ResizeObserver(draw);
  watch.observe(root);
  draw();
  return () => {
    watch.disconnect();
    names.forEach((name) => model.off(name, draw));
  };
}

export default { render };
