// A scene whose glyphs can be dragged; the kernel draws it again and says what a detector finds. Choosing whose look is
// shown, and how sure a box must be, needs no kernel. Nothing is fetched from anywhere.

const SIZE = 384;

function render({ model, el }) {
  let held = -1, timer = 0;
  const view = make("canvas", { class: "bm-crowd-view", tabindex: 0, role: "img", "aria-label": "a scene of glyphs; drag one, or move the chosen one with the arrow keys" });
  const which = make("select", { "aria-label": "glyph to move" }), names = make("div", { class: "bm-crowd-names" });
  const [row, fields] = sliders(model, [["threshold", 0.05, 0.95, 0.05, "score at least"]]);
  const says = make("div", { class: "bm-crowd-says", role: "status" });
  const left = deafen(make("div", {}, view, make("label", {}, "arrow keys move ", which)));
  const root = make("div", { class: "bm-toy bm-crowd" }, left, make("div", { class: "bm-crowd-right" }, row, names, says));
  el.append(root);

  function draw() {
    const side = model.get("side"), pixels = asBytes(model.get("pixels")), found = model.get("found");
    if (!pixels.length) return;
    const [pen, step] = paint(view, pixels, side, SIZE), ratio = step * side / SIZE, chosen = model.get("chosen"), style = getComputedStyle(root);
    if (chosen >= 0) {
      const all = asBytes(model.get("looks")), cells = all.length / found.length, n = Math.round(Math.sqrt(cells)), p = (step * side) / n;
      pen.fillStyle = "#d55e00";
      all.subarray(chosen * cells, (chosen + 1) * cells).forEach((value, i) => { pen.globalAlpha = 0.7 * (value / 255); pen.fillRect((i % n) * p, Math.floor(i / n) * p, p, p); });
      pen.globalAlpha = 1;
    }
    const sure = found.map((one, i) => [i, ...one]).filter((one) => one[2] >= model.get("threshold")).sort((a, b) => b[2] - a[2]);
    pen.font = `bold ${15 * ratio}px system-ui, sans-serif`;
    for (const [place, [query, name, , cx, cy, w, h]] of sure.entries()) {
      const x = (cx - w / 2) * side * step, y = (cy - h / 2) * side * step;
      pen.strokeStyle = pen.fillStyle = style.getPropertyValue(query === chosen ? "--bm-mark" : "--bm-box");
      pen.lineWidth = (query === chosen ? 4 : 2.5) * ratio;
      pen.strokeRect(x, y, w * side * step, h * side * step);
      pen.fillText(name, x, place % 2 ? y + h * side * step + 16 * ratio : Math.max(14 * ratio, y - 4 * ratio));
    }
    names.replaceChildren(...sure.map(([query, name, score]) => {
      const button = make("button", { type: "button", "aria-pressed": String(query === chosen) }, make("b", {}, name), ` ${score.toFixed(2)} · query ${query}`);
      button.onclick = () => { model.set("chosen", query === chosen ? -1 : query); model.save_changes(); };
      return button;
    }));
    const many = model.get("places").length;
    says.textContent = `${many} glyph${many === 1 ? "" : "s"} in the scene, ${sure.length} box${sure.length === 1 ? "" : "es"} shown of ${found.length} answers.` +
      (chosen >= 0 ? ` Orange: where query ${chosen} looks.` : " Click a name to see where its query looks.");
    if (which.length !== many) which.replaceChildren(...Array.from({ length: many }, (_, i) => make("option", { value: i }, `glyph ${i + 1}`)));
    fields.threshold[0].value = model.get("threshold");
    fields.threshold[1].textContent = model.get("threshold").toFixed(2);
  }
  function move(glyph, x, y, now) {
    const side = model.get("side"), inside = (v) => Math.min(side - 4, Math.max(4, v));
    model.set("places", model.get("places").map((place, i) => (i === glyph ? [inside(x), inside(y)] : place)));
    if (now) clearTimeout(timer), timer = 0, model.save_changes();
    else timer = timer || setTimeout(() => { timer = 0; model.save_changes(); }, 120);
  }
  const at = (event) => {
    const box = view.getBoundingClientRect(), side = model.get("side");
    return [((event.clientX - box.left) / box.width) * side, ((event.clientY - box.top) / box.height) * side];
  };
  view.onpointerdown = (event) => {
    const [x, y] = at(event), far = model.get("places").map(([a, b]) => Math.hypot(a - x, b - y)), near = far.indexOf(Math.min(...far));
    event.preventDefault();
    view.focus();
    if (far[near] > 12) return;
    view.setPointerCapture?.(event.pointerId);
    held = near;
    which.value = near;
  };
  view.onpointermove = (event) => { if (held >= 0) move(held, ...at(event), false); };
  view.onpointerup = view.onpointercancel = (event) => { if (held >= 0) move(held, ...model.get("places")[held], true); held = -1; };
  view.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const glyph = Number(which.value || 0), [x, y] = model.get("places")[glyph];
    move(glyph, x + step[0], y + step[1], true);
  };
  const watched = ["pixels", "found", "looks", "threshold", "chosen"].map((name) => `change:${name}`);
  watched.forEach((name) => model.on(name, draw));
  const watch = new ResizeObserver(draw); // colours are known once it's in the page
  watch.observe(root);
  draw();
  return () => {
    clearTimeout(timer);
    watch.disconnect();
    watched.forEach((name) => model.off(name, draw));
  };
}

export default { render };
