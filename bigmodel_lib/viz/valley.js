// The valley's view: contour lines on a canvas, and three walkers that start where the reader clicks.
// The arithmetic is that of valley.py; nothing is fetched from anywhere.

const STEEP = 20, WIDE = 5, HIGH = 3.2;
const LEVELS = [0.1, 0.5, 1.5, 4, 9, 18, 32, 50, 80];
const WALKERS = [["gradient descent", "#0072b2", "#56b4e9"], ["momentum", "#d55e00", "#e69f00"], ["Adam", "#009e73", "#2fd6a8"]];

const FIELDS = [
  ["lr", 0.002, 0.12, 0.001, "learning rate"], ["adam_lr", 0.02, 1, 0.02, "Adam’s rate"],
  ["momentum", 0, 0.98, 0.02, "momentum β"], ["tilt", 0, 0.78, 0.02, "the valley’s tilt"],
];
const turned = ([x, y], tilt) => [Math.cos(tilt) * x + Math.sin(tilt) * y, Math.cos(tilt) * y - Math.sin(tilt) * x];
function height(place, tilt) {
  const [along, across] = turned(place, tilt);
  return (along * along + STEEP * across * across) / 2;
}
function slope(place, tilt) {
  const [along, across] = turned(place, tilt);
  return turned([along, STEEP * across], -tilt);
}
const off = ([x, y]) => !(Math.abs(x) <= WIDE && Math.abs(y) <= HIGH);
function walk(kind, start, lr, momentum, steps, tilt) {
  let place = [...start], m = [0, 0], s = [0, 0];
  const places = [place];
  for (let n = 1; n <= steps; n++) {
    const g = slope(place, tilt);
    if (kind === "gradient descent") place = place.map((w, i) => w - lr * g[i]);
    else if (kind === "momentum") {
      m = m.map((v, i) => momentum * v + g[i]);
      place = place.map((w, i) => w - lr * m[i]);
    } else {
      m = m.map((v, i) => momentum * v + (1 - momentum) * g[i]);
      s = s.map((v, i) => 0.99 * v + 0.01 * g[i] * g[i]);
      place = place.map((w, i) => w - lr * (m[i] / (1 - momentum ** n)) / (Math.sqrt(s[i] / (1 - 0.99 ** n)) + 1e-8));
    }
    places.push(place);
  }
  return places;
}

function render({ model, el }) {
  let timer = 0, shown = 0;
  const canvas = make("canvas", { class: "bm-valley-map", role: "img", "aria-label": "a valley seen from above, × at its lowest point; click to start there" });
  const says = make("div", { class: "bm-valley-says", role: "status" });
  const again = make("button", { type: "button" }, "▶ walk again");
  const [row, fields] = sliders(model, FIELDS);
  const root = make("div", { class: "bm-toy bm-valley" }, canvas, says, row, again);
  el.append(root);

  function draw() {
    const width = root.clientWidth ? Math.min(root.clientWidth - 30, 700) : 640, ratio = window.devicePixelRatio || 1, tall = (width * HIGH) / WIDE;
    canvas.width = width * ratio;
    canvas.height = tall * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    const tilt = model.get("tilt"), cosine = Math.cos(tilt), sine = Math.sin(tilt);
    const pen = canvas.getContext("2d"), style = getComputedStyle(root), dark = style.getPropertyValue("--bm-dark").trim() === "1";
    pen.scale(ratio, ratio);
    const at = ([x, y]) => [((x + WIDE) / (2 * WIDE)) * width, ((HIGH - y) / (2 * HIGH)) * tall];
    pen.strokeStyle = style.getPropertyValue("--bm-line");
    for (const level of LEVELS) {
      pen.beginPath();
      for (let i = 0; i <= 90; i++) {
        const angle = (i / 90) * 2 * Math.PI, along = Math.sqrt(2 * level) * Math.cos(angle), across = Math.sqrt((2 * level) / STEEP) * Math.sin(angle);
        pen.lineTo(...at([cosine * along - sine * across, sine * along + cosine * across]));
      }
      pen.stroke();
    }
    const words = [];
    for (const [kind, light, onDark] of WALKERS) {
      const lr = model.get(kind === "Adam" ? "adam_lr" : "lr");
      const path = walk(kind, model.get("start"), lr, model.get("momentum"), model.get("steps"), tilt);
      const colour = dark ? onDark : light, now = Math.min(shown, path.length - 1);
      pen.strokeStyle = pen.fillStyle = colour;
      pen.beginPath();
      const gone = path.findIndex(([x, y]) => !(Math.hypot(x, y) < 3 * WIDE)), drawn = path.slice(0, 1 + (gone < 0 ? now : Math.min(now, gone)));
      drawn.forEach((place) => pen.lineTo(...at(place)));
      pen.stroke();
      drawn.forEach((place) => { pen.beginPath(); pen.arc(...at(place), 2.6, 0, 7); pen.fill(); });
      words.push(`${kind} ${off(path[now]) ? "has left the map" : height(path[now], tilt).toPrecision(2)}`);
    }
    const [x, y] = at([0, 0]);
    pen.strokeStyle = style.color;
    pen.lineWidth = 2;
    pen.beginPath();
    for (const side of [-5, 5]) { pen.moveTo(x - 5, y - side); pen.lineTo(x + 5, y + side); }
    pen.stroke();
    says.replaceChildren(`After ${Math.min(shown, model.get("steps"))} steps, the height is: `);
    words.forEach((word, i) => {
      const span = make("b", {}, word);
      span.style.color = dark ? WALKERS[i][2] : WALKERS[i][1];
      says.append(span, i < 2 ? " · " : "");
    });
    for (const [name, [field, number]] of Object.entries(fields)) {
      field.value = model.get(name);
      number.textContent = Number(model.get(name)).toFixed(name === "lr" ? 3 : 2);
    }
  }
  function start() {
    clearInterval(timer);
    shown = 0;
    const still = window.matchMedia?.("(prefers-reduced-motion: reduce)").matches;
    if (still) shown = model.get("steps");
    else timer = setInterval(() => { shown += 1; if (shown >= model.get("steps")) clearInterval(timer); draw(); }, 60);
    draw();
  }
  canvas.onclick = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * 2 * WIDE - WIDE, y = HIGH - ((event.clientY - box.top) / box.height) * 2 * HIGH;
    model.set("start", [x, y]);
    model.save_changes();
  };
  again.onclick = start;
  const names = ["start", "steps", ...FIELDS.map(([name]) => name)].map((name) => `change:${name}`);
  names.forEach((name) => model.on(name, start));
  const watch = new ResizeObserver(draw);
  watch.observe(root);
  start();
  return () => {
    clearInterval(timer);
    watch.disconnect();
    names.forEach((name) => model.off(name, start));
  };
}

export default { render };
