// The explorer's view: all heads as thumbnails, one map large, the text itself shaded by where a token looks.
// Everything is drawn from bytes that the kernel sends; nothing is fetched from anywhere.

// cividis (Nuñez, Anderton & Renslow 2018) at nine places, the scale of the course's maps
const SCALE = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120],
  [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];
const COLOURS = new Uint8ClampedArray(256 * 4);
for (let i = 0; i < 256; i++) {
  const at = (i / 255) * (SCALE.length - 1), k = Math.min(SCALE.length - 2, Math.floor(at));
  for (let c = 0; c < 3; c++) COLOURS[4 * i + c] = SCALE[k][c] + (at - k) * (SCALE[k + 1][c] - SCALE[k][c]);
  COLOURS[4 * i + 3] = 255;
}
const METHODS = ["weights", "rollout", "gradient × input", "ablation"];
const shown = (token) => SIGNS[token] ?? token;

function render({ model, el }) {
  const began = performance.now();
  let first = true, pinned = null, timer = 0;
  const root = make("div", { class: "bm-toy bm-explorer" });

  // what to read
  const stories = make("select", { "aria-label": "story" });
  const field = make("input", { type: "text", placeholder: "or type a text, then press Enter", "aria-label": "your own text" });
  const methods = make("div", { class: "bm-methods", role: "radiogroup", "aria-label": "method" });
  for (const name of METHODS) {
    const button = make("button", { type: "button", role: "radio", "data-method": name }, name);
    button.onclick = () => choose("method", name);
    methods.append(button);
  }
  const message = make("div", { class: "bm-message", role: "status" });
  root.append(make("div", { class: "bm-bar" }, stories, field), methods, message);

  // the text, the thumbnails, the map
  const text = make("div", { class: "bm-text", role: "listbox", tabindex: "-1", "aria-label": "tokens: choose one to see where it looks" });
  const says = make("div", { class: "bm-says", role: "status", "aria-live": "polite" });
  const wall = make("div", { class: "bm-wall", role: "radiogroup", "aria-label": "layers and heads" });
  const canvas = make("canvas", { class: "bm-map", role: "img" });
  const legend = make("div", { class: "bm-legend", "aria-hidden": "true" }, make("span", {}, "0"), make("i"), make("span", {}, "1"), make("em"));
  const figure = make("div", { class: "bm-figure" }, make("div", { class: "bm-name" }), canvas, legend);
  root.append(text, says, make("div", { class: "bm-panes" }, wall, figure));
  el.append(root);

  const tokens = () => model.get("tokens");
  const query = () => Math.min(model.get("query"), tokens().length - 1);

  function bytes() {
    const view = model.get("maps");
    return new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);
  }
  const grid = () => model.get("grid"); // [rows, columns] of maps that this method has
  function chosen() { // which of the maps is shown large: a method without heads or layers has fewer
    const [rows, columns] = grid();
    return [Math.min(model.get("layer"), rows - 1), Math.min(model.get("head"), columns - 1)];
  }
  function mapOf(row, column) {
    const n = tokens().length, start = (row * grid()[1] + column) * n * n;
    return bytes().subarray(start, start + n * n);
  }
  const nameOf = (row, column) => {
    const [rows, columns] = grid();
    if (rows === 1 && columns === 1) return "the whole model";
    return columns === 1 ? `up to layer ${row}` : `layer ${row}, head ${column}`;
  };

  function choose(name, value) {
    model.set(name, value);
    clearTimeout(timer);
    timer = setTimeout(() => model.save_changes(), name === "query" ? 60 : 0); // a hover is sent when it rests
  }

  function paint(target, map, n) {
    const picture = new ImageData(n, n), pixels = new Uint32Array(picture.data.buffer), palette = new Uint32Array(COLOURS.buffer);
    for (let i = 0; i < n * n; i++) pixels[i] = palette[map[i]];
    target.width = target.height = n;
    target.getContext("2d").putImageData(picture, 0, 0);
  }

  function drawWall() {
    const [rows, columns] = grid(), n = tokens().length, now = chosen();
    if (wall.childElementCount !== rows * columns || wall.dataset.columns !== String(columns)) {
      wall.replaceChildren();
      wall.dataset.columns = columns;
      wall.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
        const button = make("button", { type: "button", role: "radio", "data-map": `${r}.${c}`, "aria-label": nameOf(r, c), title: nameOf(r, c) },
          make("canvas", { "aria-hidden": "true" }), make("span", { "aria-hidden": "true" }, columns === 1 ? `${r}` : `${r}.${c}`));
        button.onclick = () => { model.set("layer", r); choose("head", c); };
        wall.append(button);
      }
    }
    wall.hidden = rows * columns === 1;
    [...wall.children].forEach((button, i) => {
      const r = Math.floor(i / columns), c = i % columns;
      paint(button.firstChild, mapOf(r, c), n);
    });
    markWall(now);
  }
  function markWall([row, column] = chosen()) {
    const columns = grid()[1];
    [...wall.children].forEach((button, i) => {
      const on = i === row * columns + column;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    });
    figure.firstChild.textContent = `${model.get("method")} · ${nameOf(row, column)}`;
  }

  let large = document.createElement("canvas");
  function drawMap() {
    paint(large, mapOf(...chosen()), tokens().length);
    frameMap();
  }
  const edge = { left: 0, top: 0, cell: 0 };
  function frameMap() {
    const names = tokens(), n = names.length, q = query();
    const width = Math.max(220, Math.min(figure.clientWidth || 460, 620));
    const style = getComputedStyle(root), ink = style.color, dim = style.getPropertyValue("--bm-dim");
    const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    const size = Math.max(6, Math.min(12, (width - 70) / n - 1)), labelled = size >= 6.5;
    pen.font = `${size}px system-ui, sans-serif`;
    const longest = Math.max(...names.map((t) => pen.measureText(shown(t)).width));
    edge.left = edge.top = labelled ? Math.min(longest + 20, width * 0.3) : 22;
    edge.cell = (width - edge.left - 2) / n;
    const height = edge.top + edge.cell * n + 2;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(large, edge.left, edge.top, edge.cell * n, edge.cell * n);
    pen.textBaseline = "middle";
    pen.font = `${size}px system-ui, sans-serif`;
    if (labelled) names.forEach((token, i) => {
      const middle = (i + 0.5) * edge.cell, strong = i === q;
      pen.fillStyle = strong ? ink : dim;
      pen.textAlign = "right";
      pen.fillText(shown(token), edge.left - 4, edge.top + middle);
      pen.save();
      pen.translate(edge.left + middle, edge.top - 4);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "left";
      pen.fillStyle = dim;
      pen.fillText(shown(token), 0, 0);
      pen.restore();
    });
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = ink;
    pen.textAlign = "left";
    pen.fillText("key →", edge.left, 7);
    pen.save();
    pen.translate(7, edge.top);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "right";
    pen.fillText("← query", 0, 0);
    pen.restore();
    pen.strokeStyle = style.getPropertyValue("--bm-mark");
    pen.lineWidth = 2;
    pen.strokeRect(edge.left, edge.top + q * edge.cell, edge.cell * n, Math.max(edge.cell, 2));
  }

  function drawText() {
    const names = tokens();
    text.replaceChildren(...names.map((token, i) =>
      make("span", { role: "option", "data-token": i }, shown(token))));
  }
  function shade() {
    const names = tokens(), n = names.length, q = query();
    const row = mapOf(...chosen()).subarray(q * n, (q + 1) * n);
    const turn = +getComputedStyle(root).getPropertyValue("--bm-turn") || 256; // from here on words need the other colour
    [...text.children].forEach((span, i) => {
      span.style.setProperty("--w", (row[i] / 255).toFixed(3));
      span.classList.toggle("bm-strong", row[i] > turn);
      span.setAttribute("aria-selected", i === q);
      span.tabIndex = i === q ? 0 : -1;
    });
    const best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3).filter((i) => row[i] > 2);
    const verb = { weights: "looks at", rollout: "may hold", "gradient × input": "leans on", ablation: "misses" }[model.get("method")];
    const unit = model.get("method") === "ablation" ? " nats" : "";
    says.textContent = `“${shown(names[q])}” ${verb} ` + (best.map((i) => `“${shown(names[i])}” ${(row[i] / 255).toFixed(2)}${unit}`).join(", ") || "nothing in particular");
    canvas.setAttribute("aria-label", `${figure.firstChild.textContent}: a map of ${n} by ${n} tokens. ${says.textContent}`);
  }

  function look(place, pin = false) {
    const start = performance.now();
    if (place === query() && !pin) return;
    if (pin) pinned = place;
    choose("query", place);
    shade();
    frameMap();
    el.dataset.hoverMs = (performance.now() - start).toFixed(2);
  }

  // hands: mouse and keyboard
  const tokenOf = (event) => event.target.closest?.("[data-token]");
  text.addEventListener("mouseover", (event) => { const t = tokenOf(event); if (t) look(+t.dataset.token); });
  text.addEventListener("click", (event) => { const t = tokenOf(event); if (t) { look(+t.dataset.token, true); t.focus(); } });
  text.addEventListener("mouseleave", () => { if (pinned !== null) look(Math.min(pinned, tokens().length - 1)); });
  function move(children, key, columns) {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -1e9, End: 1e9 }[key];
    if (step === undefined) return null;
    const now = children.indexOf(document.activeElement.getRootNode().activeElement ?? document.activeElement);
    const at = children.findIndex((child) => child.tabIndex === 0);
    return Math.max(0, Math.min(children.length - 1, (now >= 0 ? now : at) + step));
  }
  text.addEventListener("keydown", (event) => {
    const to = move([...text.children], event.key, 1);
    if (to === null) return;
    event.preventDefault(); event.stopPropagation();
    look(to, true);
    text.children[to].focus();
  });
  wall.addEventListener("keydown", (event) => {
    const columns = grid()[1], to = move([...wall.children], event.key, columns);
    if (to === null) return;
    event.preventDefault(); event.stopPropagation();
    wall.children[to].click();
    wall.children[to].focus();
  });
  methods.addEventListener("keydown", (event) => {
    const to = move([...methods.children], event.key, 1);
    if (to === null) return;
    event.preventDefault(); event.stopPropagation();
    methods.children[to].click();
    methods.children[to].focus();
  });
  canvas.addEventListener("mousemove", (event) => {
    const place = Math.floor((event.offsetY - edge.top) / edge.cell);
    if (place >= 0 && place < tokens().length) look(place);
  });
  canvas.addEventListener("click", () => { pinned = query(); });
  stories.onchange = () => choose("story", stories.selectedIndex);
  field.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has shortcuts of its own
    if (event.key === "Enter" && field.value.trim()) choose("text", field.value);
  });

  // what the kernel changes
  function drawBar() {
    const titles = model.get("titles");
    stories.replaceChildren(...titles.map((title) => make("option", {}, title)));
    stories.selectedIndex = model.get("story");
    for (const button of methods.children) {
      const on = button.dataset.method === model.get("method");
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
    legend.lastChild.textContent = { weights: "weight", rollout: "share", "gradient × input": "share of the row", ablation: "nats, 1 or more" }[model.get("method")];
    message.textContent = model.get("message");
  }
  function draw() {
    if (!tokens().length || bytes().length !== grid()[0] * grid()[1] * tokens().length ** 2) return; // half has come
    drawBar();
    if (text.dataset.tokens !== tokens().join("\u0001")) {
      text.dataset.tokens = tokens().join("\u0001");
      pinned = null;
      drawText();
    }
    drawWall();
    drawMap();
    shade();
    if (first) {
      first = false;
      el.dataset.firstMs = (performance.now() - began).toFixed(2);
    }
  }
  const pick = () => { markWall(); drawMap(); shade(); };
  const listen = { "change:maps": draw, "change:method": drawBar, "change:layer": pick, "change:head": pick,
    "change:message": drawBar, "change:story": drawBar, "change:query": () => { shade(); frameMap(); } };
  for (const [name, what] of Object.entries(listen)) model.on(name, what);
  const watcher = new ResizeObserver(() => { // also when it comes to stand in a page: only then has it colours
    if (!tokens().length) return;
    frameMap();
    shade();
  });
  watcher.observe(figure);
  draw();
  return () => {
    watcher.disconnect();
    clearTimeout(timer);
    for (const [name, what] of Object.entries(listen)) model.off(name, what);
  };
}

export default { render };
