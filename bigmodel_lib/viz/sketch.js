// A sheet to draw on; the kernel reads it and sends back bars, the image that was read with its attention maps, or
// drawings. Pointing at a patch needs no kernel. Nothing is fetched from anywhere.

const SIDE = 28, CELL = 9, PEN = 1.3;

// Ink of a line from a to b on the sheet, as `stroke` has it in Python.
function line(ink, [ax, ay], [bx, by]) {
  const long = (bx - ax) ** 2 + (by - ay) ** 2;
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      const t = long ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / long)) : 0;
      const far = Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)), dark = Math.min(1, Math.max(0, PEN + 0.5 - far));
      ink[y * SIDE + x] = Math.max(ink[y * SIDE + x], Math.round(255 * dark));
    }
  }
}

function render({ model, el }) {
  let ink = asBytes(model.get("pixels")), last = null, timer = 0;
  const sheet = make("canvas", { class: "bm-sketch-sheet", role: "img", "aria-label": "a sheet to draw on" });
  const look = make("canvas", { class: "bm-sketch-seen", tabindex: 0, role: "img", "aria-label": "what the model reads; point at a patch, or move with the arrow keys" });
  const bars = make("div", { class: "bm-sketch-bars", role: "status" }), drawn = make("div", { class: "bm-sketch-drawn" });
  const clear = make("button", { type: "button" }, "clear the sheet"), heads = make("select", { "aria-label": "layer and head" });
  const right = deafen(make("div", {}, look, heads)), says = make("div", { class: "bm-sketch-says" });
  const root = make("div", { class: "bm-toy bm-sketch" }, make("div", {}, sheet, clear), right, bars, drawn, says);
  el.append(root);

  const place = (event) => {
    const box = sheet.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE - 0.5, ((event.clientY - box.top) / box.height) * SIDE - 0.5];
  };
  const drawSheet = () => paint(sheet, ink, SIDE, SIDE * CELL);
  function send() {
    clearTimeout(timer);
    timer = 0;
    model.set("pixels", new DataView(ink.slice().buffer));
    model.save_changes();
  }
  sheet.onpointerdown = (event) => {
    event.preventDefault();
    sheet.setPointerCapture?.(event.pointerId);
    last = place(event);
    line(ink, last, last);
    drawSheet();
  };
  sheet.onpointermove = (event) => {
    if (!last) return;
    const now = place(event);
    line(ink, last, now);
    last = now;
    drawSheet();
    timer = timer || setTimeout(send, 200);
  };
  sheet.onpointerup = sheet.onpointercancel = () => { if (last) send(); last = null; };
  clear.onclick = () => { ink = new Uint8Array(SIDE * SIDE); drawSheet(); send(); };

  function drawLook() {
    const seen = asBytes(model.get("seen")), maps = asBytes(model.get("maps")), [layers, many, side] = model.get("grid");
    right.hidden = !seen.length;
    if (!seen.length) return;
    const [layer, head, patch] = model.get("point"), [pen, step] = paint(look, seen, SIDE, SIDE * CELL);
    const p = (SIDE / side) * step, n = side * side;
    pen.strokeStyle = getComputedStyle(root).getPropertyValue("--bm-line");
    for (let i = 1; i < side; i += 1) { pen.strokeRect(i * p, -1, 0, side * p + 2); pen.strokeRect(-1, i * p, side * p + 2, 0); }
    if (patch >= 0) {
      const row = maps.subarray(((layer * many + head) * n + patch) * n, ((layer * many + head) * n + patch + 1) * n), top = Math.max(1, ...row);
      pen.fillStyle = "#d55e00";
      row.forEach((value, i) => { pen.globalAlpha = 0.75 * Math.sqrt(value / top); pen.fillRect((i % side) * p, Math.floor(i / side) * p, p, p); });
      pen.globalAlpha = 1;
      pen.lineWidth = 3;
      pen.strokeStyle = "#e69f00";
      pen.strokeRect((patch % side) * p, Math.floor(patch / side) * p, p, p);
    }
    if (heads.length !== layers * many) {
      heads.replaceChildren(...Array.from({ length: layers * many }, (_, i) => make("option", { value: i }, `layer ${Math.floor(i / many)}, head ${i % many}`)));
    }
    heads.value = layer * many + head;
    says.textContent = patch < 0 ? "Point at a patch of the right image to see where it looks." : `Row ${Math.floor(patch / side)}, column ${patch % side}: the redder, the more it looks there.`;
  }
  const point = (change) => { model.set("point", change); model.save_changes(); };
  look.onpointermove = (event) => {
    const box = look.getBoundingClientRect(), side = model.get("grid")[2], [layer, head, before] = model.get("point");
    const cell = (at, from, size) => Math.min(side - 1, Math.max(0, Math.floor(((at - from) / size) * side)));
    const patch = cell(event.clientY, box.top, box.height) * side + cell(event.clientX, box.left, box.width);
    if (patch !== before) point([layer, head, patch]);
  };
  look.onkeydown = (event) => {
    const side = model.get("grid")[2], [layer, head, before] = model.get("point");
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -side, ArrowDown: side }[event.key];
    if (!step) return;
    event.preventDefault();
    point([layer, head, before < 0 ? 0 : (before + step + side * side) % (side * side)]);
  };
  heads.onchange = () => {
    const many = model.get("grid")[1], i = Number(heads.value), patch = model.get("point")[2];
    point([Math.floor(i / many), i % many, patch]);
  };

  function drawBars() {
    bars.replaceChildren(...model.get("bars").map(([name, share]) => {
      const bar = make("i");
      bar.style.width = `${Math.round(160 * share)}px`;
      return make("div", {}, make("b", {}, name), bar, make("span", {}, `${(100 * share).toFixed(0)} %`));
    }));
  }
  function drawDrawn() {
    const all = asBytes(model.get("drawn")), side = model.get("drawn_side"), n = all.length / (side * side);
    drawn.replaceChildren(...Array.from({ length: n }, () => make("canvas", { role: "img", "aria-label": "a drawing of the model's" })));
    [...drawn.children].forEach((canvas, i) => paint(canvas, all.subarray(i * side * side, (i + 1) * side * side), side, 80));
  }
  function again() { drawSheet(); drawLook(); drawBars(); drawDrawn(); }
  const drawing = () => { if (!last) { ink = asBytes(model.get("pixels")).slice(); drawSheet(); } };
  const parts = [["pixels", drawing], ["bars", drawBars], ["drawn", drawDrawn], ["seen", drawLook], ["maps", drawLook], ["point", drawLook]];
  parts.forEach(([name, act]) => model.on(`change:${name}`, act));
  ink = ink.slice();
  const watch = new ResizeObserver(again); // colours are known once it's in the page
  watch.observe(root);
  again();
  return () => {
    watch.disconnect();
    parts.forEach(([name, act]) => model.off(`change:${name}`, act));
  };
}

export default { render };
