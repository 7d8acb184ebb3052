// Anna's gaze: a sentence with arcs, the plane of its words with a query to drag, and a bar for every word.
// All three are drawn from the same few numbers; nothing is fetched from anywhere.

const SVG = "http://www.w3.org/2000/svg";
const REACH = 3, SIDE = 320, MIDDLE = SIDE / 2, UNIT = 48; // the plane: numbers from -3 to 3, pixels
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const signed = (v) => (Math.abs(v) < 0.005 ? "0.00" : v.toFixed(2)).replace("-", "−");

function draw(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  return fill(node, attributes, children);
}

function softmax(scores, tau) {
  const top = Math.max(...scores), powers = scores.map((s) => Math.exp((s - top) / tau));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

function render({ model, el }) {
  const root = make("div", { class: "bm-toy bm-gaze" });
  const swap = make("div", { class: "bm-gaze-swap", role: "radiogroup", "aria-label": "pronoun" });
  const arcs = draw("svg", { class: "bm-gaze-arcs", role: "img" });
  const plane = draw("svg", { class: "bm-gaze-plane", viewBox: `0 0 ${SIDE} ${SIDE}` });
  const bars = make("div", { class: "bm-gaze-bars", role: "img" });
  const says = make("div", { class: "bm-gaze-says", role: "status", "aria-live": "polite" });
  const knob = deafen(make("input", { type: "range", min: "-2", max: "2", step: "0.1", "aria-label": "temperature" }));
  const degrees = make("output");
  const heat = make("label", { class: "bm-gaze-heat" }, "temperature τ ", knob, degrees);
  const handle = draw("circle", {
    class: "bm-gaze-handle", r: 10, tabindex: 0, role: "slider", "aria-label": "query: move it with the arrow keys",
    "aria-valuemin": -REACH, "aria-valuemax": REACH,
  });
  root.append(swap, arcs, make("div", { class: "bm-gaze-panes" }, plane, make("div", { class: "bm-gaze-side" }, bars, heat)), says);
  el.append(root);

  const at = () => model.get("chosen");
  const words = () => model.get("sentences")[at()];
  const keys = () => model.get("points")[at()];
  const place = () => model.get("places")[at()];
  const weighing = () => model.get("shows") === "weights";

  function numbers() { // scores, what is shown of them, and the average of the keys
    const [a, b] = model.get("query");
    const scores = keys().map(([x, y]) => a * x + b * y);
    if (!weighing()) return { scores, shown: scores, share: scores.map((s) => clamp(s / 6, 0, 1)) };
    const weights = softmax(scores, model.get("tau"));
    const output = [0, 1].map((i) => weights.reduce((sum, w, j) => sum + w * keys()[j][i], 0));
    return { scores, shown: weights, share: weights, output };
  }

  function drawArcs({ share }) {
    const gap = 14, base = 118, sizes = words().map((word) => 12 + 10.2 * word.length);
    const middles = [];
    let x = 6;
    for (const size of sizes) { middles.push(x + size / 2); x += size + gap; }
    arcs.setAttribute("viewBox", `0 0 ${x} 150`);
    arcs.replaceChildren();
    const from = middles[place()];
    middles.forEach((to, i) => {
      if (share[i] < 0.004) return;
      const height = i === place() ? 26 : clamp(Math.abs(to - from) * 0.36, 30, 88);
      const [left, right] = i === place() ? [from - 13, from + 13] : [from, to];
      arcs.append(draw("path", {
        class: "bm-gaze-arc", "data-to": i, "stroke-width": (1 + 11 * share[i]).toFixed(2), "stroke-opacity": (0.25 + 0.75 * share[i]).toFixed(2),
        d: `M${left},${base - 22} C${left},${base - 22 - 1.3 * height} ${right},${base - 22 - 1.3 * height} ${right},${base - 22}`,
      }));
    });
    words().forEach((word, i) => {
      const kind = i === place() ? "bm-gaze-asks" : "bm-gaze-word";
      arcs.append(draw("text", { x: middles[i], y: base, class: kind, "text-anchor": "middle" }, word));
    });
    arcs.setAttribute("aria-label", `${words().join(" ")}: arcs from ${words()[place()]}, thicker where it looks more`);
  }

  const onPlane = ([a, b]) => [MIDDLE + UNIT * a, MIDDLE - UNIT * b];
  function arrow(to, kind) {
    const [x, y] = onPlane(to), length = Math.hypot(x - MIDDLE, y - MIDDLE);
    const line = draw("line", { x1: MIDDLE, y1: MIDDLE, x2: x, y2: y, class: kind });
    if (length < 24) return draw("g", {}, draw("circle", { cx: x, cy: y, r: 3, class: kind }));
    const turn = (Math.atan2(y - MIDDLE, x - MIDDLE) * 180) / Math.PI;
    const tip = draw("path", { d: "M0,0 L-10,-5 L-10,5 Z", class: kind, transform: `translate(${x},${y}) rotate(${turn})` });
    return draw("g", {}, line, tip);
  }
  const label = (to, text, kind, dx, dy) => {
    const [x, y] = onPlane(to);
    return draw("text", { x: x + dx, y: y + dy, class: kind }, text);
  };

  function drawPlane({ output }) {
    const query = model.get("query");
    const [x, y] = onPlane(query);
    if (!handle.isConnected) plane.append(draw("g"), handle);
    const drawn = plane.firstChild;
    drawn.replaceChildren(
      draw("line", { x1: 8, y1: MIDDLE, x2: SIDE - 8, y2: MIDDLE, class: "bm-gaze-axis" }),
      draw("line", { x1: MIDDLE, y1: 8, x2: MIDDLE, y2: SIDE - 8, class: "bm-gaze-axis" }),
      draw("text", { x: SIDE - 8, y: MIDDLE + 40, class: "bm-gaze-note", "text-anchor": "end" }, "person →"),
      draw("text", { x: MIDDLE - 8, y: 16, class: "bm-gaze-note", "text-anchor": "end" }, "thing ↑"),
    );
    keys().forEach((key, i) => {
      drawn.append(arrow(key, "bm-gaze-key"));
      if (Math.hypot(...key) > 0.7) drawn.append(label(key, words()[i], "bm-gaze-named", Math.hypot(...key) > 1.5 || key[1] > key[0] ? 14 : -14, Math.hypot(...key) > 1.5 || key[1] > key[0] ? 5 : 19));
    });
    drawn.append(arrow(query, "bm-gaze-query"));
    if (output) {
      const [u, v] = onPlane(output);
      drawn.append(draw("rect", { x: u - 6, y: v - 6, width: 12, height: 12, class: "bm-gaze-output" }));
      drawn.append(label(output, "output", "bm-gaze-output", output[0] > output[1] ? -14 : 14, output[0] > output[1] ? 24 : 5));
    }
    drawn.append(label(query, "query", "bm-gaze-asks", query[0] > 2.2 ? -50 : -16, query[1] > 2.6 ? 28 : -16));
    fill(handle, { cx: x, cy: y, "aria-valuenow": query[0].toFixed(1), "aria-valuetext": `person ${signed(query[0])}, thing ${signed(query[1])}` }, []);
  }

  function drawBars({ shown }) {
    const [low, high] = weighing() ? [0, 1] : [-6, 6];
    bars.replaceChildren();
    words().forEach((word, i) => {
      const value = clamp(shown[i], low, high), zero = (-low / (high - low)) * 100, size = (Math.abs(value) / (high - low)) * 100;
      const bar = make("i", { style: `left:${value < 0 ? zero - size : zero}%;width:${size}%` });
      const name = make("span", i === place() ? { class: "bm-gaze-asks" } : {}, word);
      bars.append(make("div", { class: "bm-gaze-bar", "data-value": shown[i] }, name, make("b", {}, bar), make("em", {}, signed(shown[i]))));
    });
    bars.setAttribute("aria-label", `${weighing() ? "weights" : "scores"}: ${words().map((w, i) => `${w} ${signed(shown[i])}`).join(", ")}`);
  }

  function drawAll() {
    const now = numbers();
    drawArcs(now);
    drawPlane(now);
    drawBars(now);
    heat.hidden = !weighing();
    degrees.textContent = signed(model.get("tau"));
    knob.value = Math.log2(model.get("tau"));
    [...swap.children].forEach((button, i) => button.setAttribute("aria-checked", i === at()));
    const high = Math.max(...now.scores), tied = words().filter((_, i) => high - now.scores[i] < 0.005);
    const who = words()[place()], names = tied.map((word) => `“${word}”`);
    says.textContent = tied.length > 3 ? `“${who}” has no preference.` : `“${who}” looks most at ${names.join(" and ")}${tied.length > 1 ? ": a tie." : "."}`;
  }

  let timer = 0;
  function choose(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    drawAll();
    clearTimeout(timer);
    timer = setTimeout(() => model.save_changes(), 80); // sent when the hand rests
  }
  const rounded = (v) => Math.round(clamp(v, -REACH, REACH) * 20) / 20;

  model.get("sentences").forEach((sentence, i) => {
    const button = make("button", { type: "button", role: "radio" }, `${sentence[model.get("places")[i]]} …`);
    button.onclick = () => choose({ chosen: i, query: model.get("wishes")[i] });
    swap.append(button);
  });
  knob.oninput = () => choose({ tau: 2 ** Number(knob.value) });

  function moveTo(event) {
    const box = plane.getBoundingClientRect(), scale = SIDE / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    choose({ query: [rounded((x - MIDDLE) / UNIT), rounded((MIDDLE - y) / UNIT)] });
  }
  plane.onpointerdown = (event) => {
    plane.setPointerCapture(event.pointerId);
    moveTo(event);
    handle.focus();
    event.preventDefault();
  };
  plane.onpointermove = (event) => { if (plane.hasPointerCapture(event.pointerId)) moveTo(event); };
  handle.onkeydown = (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const [a, b] = model.get("query");
    choose({ query: [rounded(a + step[0]), rounded(b + step[1])] });
  };

  const watched = ["chosen", "query", "tau", "shows"];
  for (const name of watched) model.on(`change:${name}`, drawAll);
  drawAll();
  return () => {
    clearTimeout(timer);
    for (const name of watched) model.off(`change:${name}`, drawAll);
  };
}

export default { render };
