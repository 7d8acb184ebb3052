// The company's view: cash over 24 months on a canvas, a slider for each number of the plan.
// The arithmetic is that of company.py; nothing is fetched from anywhere.

const MONTHS = 24;
const COUNTED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FIELDS = [ // name, low, high, step, words, how it is said
  ["price", 0, 0.12, 0.001, "price of a request", (x) => `$${x.toFixed(3)}`],
  ["requests", 0, 2e6, 10000, "requests, first month", (x) => COUNTED.format(x)],
  ["growth", 0, 0.2, 0.002, "growth a month", (x) => `${(100 * x).toFixed(1)} %`],
  ["fall", 0, 0.08, 0.002, "prices fall a month", (x) => `${(100 * x).toFixed(1)} %`],
  ["cost", 0, 0.06, 0.00005, "cost of a request", (x) => `$${x.toFixed(4)}`],
  ["fixed", 0, 150000, 500, "fixed costs a month", (x) => `$${COUNTED.format(x)}`],
  ["one_off", 0, 4e6, 5000, "paid at the start", (x) => `$${COUNTED.format(x)}`],
];

function cash(plan) {
  const line = [-plan.one_off];
  for (let m = 0; m < MONTHS; m++) {
    const n = plan.requests * (1 + plan.growth) ** m, margin = (plan.price - plan.cost) * (1 - plan.fall) ** m;
    line.push(line[m] + n * margin - plan.fixed);
  }
  return line;
}
function money(dollars) {
  const large = Math.abs(dollars) >= 999500, size = large ? 1e6 : 1e3;
  return `${dollars <= (-0.5 * size) / 10 ? "−" : ""}$${(Math.abs(dollars) / size).toFixed(large ? 1 : 0)}${large ? "M" : "k"}`;
}

function render({ model, el }) {
  const ways = make("div", { class: "bm-company-ways", role: "group", "aria-label": "the way to run it" });
  const canvas = make("canvas", { class: "bm-company-map", role: "img", "aria-label": "cash over 24 months" });
  const says = make("div", { class: "bm-company-says", role: "status" });
  const [row, fields] = sliders(model, FIELDS);
  const root = make("div", { class: "bm-toy bm-company" }, ways, canvas, says, row);
  el.append(root);
  const buttons = Object.entries(model.get("ways")).map(([way, plan]) => {
    const button = make("button", { type: "button" }, way);
    button.onclick = () => {
      model.set("way", way);
      FIELDS.forEach(([name]) => model.set(name, plan[name]));
      model.save_changes();
    };
    ways.append(button);
    return [way, button];
  });

  function draw() {
    const plan = Object.fromEntries(FIELDS.map(([name]) => [name, model.get(name)]));
    const now = cash(plan), before = cash(model.get("ways")[model.get("way")]);
    const width = root.clientWidth ? Math.min(root.clientWidth - 30, 740) : 660, tall = Math.max(200, width * 0.4), ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = tall * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    const pen = canvas.getContext("2d"), style = getComputedStyle(root), dark = style.getPropertyValue("--bm-dark").trim() === "1";
    pen.scale(ratio, ratio);
    const all = [...now, ...before, 0], top = Math.max(...all), low = Math.min(...all), room = (top - low || 1) * 0.08;
    const left = 62, bottom = 30, along = (m) => left + (m / MONTHS) * (width - left - 12);
    const up = (d) => 8 + ((top + room - d) / (top - low + 2 * room || 1)) * (tall - bottom - 8);
    pen.font = "12px system-ui, sans-serif";
    pen.fillStyle = style.getPropertyValue("--bm-dim");
    pen.strokeStyle = style.getPropertyValue("--bm-line");
    pen.textAlign = "center";
    for (let m = 0; m <= MONTHS; m += 6) pen.fillText(String(m), along(m), tall - 16);
    pen.fillText("month", along(MONTHS / 2), tall - 2);
    pen.textAlign = "right";
    for (const d of new Set([0, top, low])) {
      if (d && Math.abs(up(d) - up(0)) < 14) continue;
      pen.beginPath(); pen.moveTo(left, up(d)); pen.lineTo(along(MONTHS), up(d)); pen.stroke();
      pen.fillText(d ? money(d) : "$0", left - 6, up(d) + 4);
    }
    const trace = (line, colour, thick) => {
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.beginPath();
      line.forEach((d, m) => pen.lineTo(along(m), up(d)));
      pen.stroke();
    };
    trace(before, style.getPropertyValue("--bm-dim"), 1.2);
    const profit = now[MONTHS] >= 0, colour = profit ? (dark ? "#56b4e9" : "#0072b2") : dark ? "#e69f00" : "#d55e00";
    trace(now, colour, 3);
    const lowest = now.indexOf(Math.min(...now));
    pen.fillStyle = colour;
    pen.beginPath(); pen.arc(along(lowest), up(now[lowest]), 5, 0, 7); pen.fill();
    const margin = plan.price - plan.cost, end = make("b", {}, `${profit ? "Profit" : "Loss"} after two years: ${money(now[MONTHS])}.`);
    end.style.color = colour;
    const needs = margin > 0 ? `In the first month it would break even with ${COUNTED.format(Math.ceil(plan.fixed / margin))} requests.` : "Each request loses money: no volume helps.";
    says.replaceChildren(end, ` It needs ${money(-now[lowest])} before it pays back (month ${lowest}). ${needs}`);
    for (const [name, , , , , say] of FIELDS) {
      const [field, number] = fields[name];
      field.value = plan[name];
      number.textContent = say(Number(plan[name]));
    }
    buttons.forEach(([way, button]) => button.setAttribute("aria-pressed", String(way === model.get("way"))));
  }
  const names = ["way", ...FIELDS.map(([name]) => name)].map((name) => `change:${name}`);
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
