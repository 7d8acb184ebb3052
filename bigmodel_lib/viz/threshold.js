// A threshold's view: everybody as a dot at their risk, the ill above the well, and a line that can be moved.
// The arithmetic is that of threshold.py; nothing is fetched from anywhere.

const EDGE = 7, WIDE = 720, TALL = 230, LEFT = 84, RIGHT = 14, FOOT = 38;
const MARKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999];
const logit = (p) => Math.log(Math.max(p, 1e-9) / Math.max(1 - p, 1e-9));
const across = (p) => LEFT + ((Math.min(EDGE, Math.max(-EDGE, logit(p))) + EDGE) / (2 * EDGE)) * (WIDE - LEFT - RIGHT);
const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

function benefit(ill, risks, t, treats) {
  let hits = 0, alarms = 0;
  ill.forEach((is, i) => { if (treats(risks[i])) is ? (hits += 1) : (alarms += 1); });
  return { hits, alarms, worth: (hits - (alarms * t) / (1 - t)) / ill.length };
}

function render({ model, el }) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, class: "bm-threshold-map", role: "img", "aria-label": "tumours along their risk; click to move the threshold" });
  const says = make("div", { class: "bm-threshold-says", role: "status" });
  const [row, fields] = sliders(model, [["threshold", 0.01, 0.95, 0.01, "threshold"]]);
  el.append(make("div", { class: "bm-toy bm-threshold" }, picture, row, says));
  const floor = TALL - FOOT, half = floor / 2;

  function draw() {
    const ill = model.get("ill"), risks = model.get("risks"), t = model.get("threshold");
    const found = benefit(ill, risks, t, (p) => p >= t), all = benefit(ill, risks, t, () => true);
    const dots = ill.map((is, i) => {
      const right = (risks[i] >= t) === Boolean(is), y = (is ? 0.5 : 1.5) * half - (((i * 0.618) % 1) * 0.62 - 0.31) * half;
      return svg("circle", { cx: across(risks[i]).toFixed(1), cy: y.toFixed(1), r: 3.2, class: `${is ? "bm-ill" : "bm-well"}${right ? "" : " bm-wrong"}` });
    });
    const marks = MARKS.map((m) => svg("text", { x: across(m), y: TALL - 20, "text-anchor": "middle" }, String(m)));
    const names = [["malignant", 0.5], ["benign", 1.5]].map(([name, at]) => svg("text", { x: 4, y: at * half + 4 }, name));
    const title = svg("text", { x: (LEFT + WIDE) / 2, y: TALL - 4, "text-anchor": "middle" }, "risk that was said");
    const line = svg("line", { x1: across(t), x2: across(t), y1: 0, y2: floor, class: "bm-threshold-line" });
    picture.replaceChildren(...dots, ...marks, ...names, title, line);
    const missed = all.hits - found.hits, odds = ((1 - t) / t).toPrecision(2);
    says.textContent = `From a risk of ${t.toFixed(2)} on: ${found.hits} of ${all.hits} found, ${missed} missed, ${found.alarms} needless. ` +
      `One missed counts as ${Number(odds)} needless: net benefit ${found.worth.toFixed(3)} (everybody ${all.worth.toFixed(3)}).`;
    fields.threshold[0].value = t;
    fields.threshold[1].textContent = t.toFixed(2);
  }
  picture.onclick = (event) => {
    const box = picture.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * WIDE;
    const z = ((x - LEFT) / (WIDE - LEFT - RIGHT)) * 2 * EDGE - EDGE;
    model.set("threshold", Math.min(0.95, Math.max(0.01, Math.round(100 / (1 + Math.exp(-z))) / 100)));
    model.save_changes();
  };
  const names = ["threshold", "risks", "ill"].map((name) => `change:${name}`);
  names.forEach((name) => model.on(name, draw));
  draw();
  return () => names.forEach((name) => model.off(name, draw));
}

export default { render };
