// The timeline's view: two lanes, Python's above the GPU's. The arithmetic is that of timeline.py; nothing is fetched.

const COLOURS = { launch: "#e69f00", fetch: "#888888", wait: "#cc79a7", kernel: "#56b4e9" };
const WORDS = { launch: "queue a kernel", wait: "wait", fetch: "fetch the number", kernel: "compute" };
const FIELDS = [
  ["kernels", 1, 24, 1, "kernels"], ["launch", 1, 20, 0.5, "µs to queue one"],
  ["work", 1, 60, 1, "µs that one takes"], ["every", 0, 8, 1, ".item() after every"],
];
const SVG = "http://www.w3.org/2000/svg";
const draw = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function timeline(kernels, launch, work, every) {
  const python = [], gpu = [];
  let now = 0, free = 0;
  for (let place = 1; place <= kernels; place++) {
    python.push(["launch", now, launch]);
    now += launch;
    const begin = Math.max(now, free);
    gpu.push(["kernel", begin, work]);
    free = begin + work;
    if (every && place % every === 0) {
      python.push(["wait", now, free - now], ["fetch", free, launch]);
      now = free + launch;
    }
  }
  return [python, gpu];
}

function render({ model, el }) {
  const picture = draw("svg", { role: "img", class: "bm-timeline-lanes" });
  const says = make("div", { class: "bm-timeline-says", role: "status" });
  const key = make("div", { class: "bm-timeline-key" });
  for (const [what, colour] of Object.entries(COLOURS)) {
    const patch = make("i");
    patch.style.background = colour;
    key.append(make("span", {}, patch, WORDS[what]));
  }
  const [row, fields] = sliders(model, FIELDS);
  const presets = make("div", { class: "bm-timeline-presets" });
  const chosen = [
    ["tiny kernels", { kernels: 12, launch: 7, work: 2, every: 0 }], ["tiny kernels, .item()", { kernels: 12, launch: 7, work: 2, every: 1 }],
    ["big kernels", { kernels: 8, launch: 7, work: 40, every: 0 }], ["big kernels, .item()", { kernels: 8, launch: 7, work: 40, every: 1 }],
  ];
  for (const [words, values] of chosen) {
    const button = make("button", { type: "button" }, words);
    button.onclick = () => { for (const [name, value] of Object.entries(values)) model.set(name, value); model.save_changes(); };
    presets.append(button);
  }
  const root = make("div", { class: "bm-toy bm-timeline" }, presets, picture, key, says, row);
  el.append(root);

  function show() {
    const [kernels, launch, work, every] = FIELDS.map(([name]) => model.get(name));
    const lanes = timeline(kernels, launch, work, every);
    const ends = lanes.map((spans) => { const [, begin, long] = spans[spans.length - 1]; return begin + long; });
    const total = Math.max(...ends), width = root.clientWidth ? root.clientWidth - 30 : 700;
    const wide = (width - 80) / Math.max(total, 100); // of a microsecond
    picture.setAttribute("viewBox", `0 0 ${width} 128`);
    picture.replaceChildren();
    lanes.forEach((spans, lane) => {
      const y = 14 + 46 * lane;
      picture.append(draw("text", { x: 56, y: y + 21, "text-anchor": "end" }, lane ? "GPU" : "Python"));
      picture.append(draw("rect", { x: 64, y, width: total * wide, height: 32, class: "bm-timeline-idle" }));
      for (const [what, begin, long] of spans) {
        if (long <= 0) continue;
        const span = draw("rect", { x: 64 + begin * wide, y, width: Math.max(long * wide - 0.7, 0.6), height: 32, fill: COLOURS[what] });
        span.append(draw("title", {}, `${WORDS[what]}: ${begin.toFixed(1)} to ${(begin + long).toFixed(1)} µs`));
        picture.append(span);
      }
    });
    const step = [10, 20, 50, 100, 200, 500].find((ticks) => Math.max(total, 100) / ticks <= width / 65) ?? 1000;
    for (let at = 0; at <= Math.max(total, 100); at += step) {
      picture.append(draw("text", { x: 64 + at * wide, y: 116, "text-anchor": "middle", class: "bm-timeline-tick" }, `${at}`));
    }
    const waited = lanes[0].filter(([what]) => what === "wait").reduce((sum, [, , long]) => sum + long, 0);
    const busy = `${Math.round((100 * kernels * work) / total)} %`;
    says.replaceChildren("Done after ", make("b", {}, `${total.toFixed(0)} µs`), ". The GPU works ", make("b", {}, busy),
      " of that time; Python waits ", make("b", {}, `${waited.toFixed(0)} µs`), ".");
    picture.setAttribute("aria-label", `${kernels} kernels: done after ${total.toFixed(0)} microseconds, the GPU works ${busy} of them`);
    for (const [name, [field, number]] of Object.entries(fields)) {
      field.value = model.get(name);
      number.textContent = name === "every" && !every ? "never" : String(model.get(name));
    }
  }
  const names = FIELDS.map(([name]) => `change:${name}`);
  names.forEach((name) => model.on(name, show));
  const watch = new ResizeObserver(show);
  watch.observe(root);
  show();
  return () => {
    watch.disconnect();
    names.forEach((name) => model.off(name, show));
  };
}

export default { render };
