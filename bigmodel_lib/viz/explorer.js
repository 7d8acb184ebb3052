// The explorer's view: all heads as thumbnails, one map large, the text itself shaded by where a token looks.
// Everything is drawn from numbers that the kernel sends; nothing is fetched from anywhere.

// A root is 65,535 times the root of a weight: colours grow with it, up to the largest of a map.
const FULL = 65535, weight = (root) => (root / FULL) ** 2;
// cividis (Nuñez, Anderton & Renslow 2018) at nine places, the scale of the course's maps
const SCALE = [[0, 34, 78], [18, 53, 112], [59, 73, 108], [87, 93, 109], [112, 113, 115], [138, 134, 120],
  [165, 156, 116], [195, 179, 105], [225, 204, 85], [254, 232, 56]];
const COLOURS = new Uint8ClampedArray(256 * 4);
for (let i = 0; i < 256; i++) {
  const at = (i / 255) * (SCALE.length - 1), k = Math.min(SCALE.length - 2, Math.floor(at));
  for (let c = 0; c < 3; c++) COLOURS[4 * i + c] = SCALE[k][c] + (at - k) * (SCALE[k + 1][c] - SCALE[k][c]);
  COLOURS[4 * i + 3] = 255;
}
const METHODS = ["weights", "rollout", "gradient", "knockout"];
const ROWS = 12; // the rows that matter: those furthest from an even look, as attention.py has it
const shown = (token) => SIGNS[token] ?? (token.trim() || token);

function render({ model, el }) {
  const began = performance.now();
  let first = true, pinned = null, timer = 0;
  const root = make("div", { class: "bm-toy bm-explorer" });

  // a saved page has no kernel: it holds the maps of some methods
  const alone = Object.keys(model.get("kept")).length > 0;
  function unpack([shape, maps]) {
    model.set("grid", shape);
    model.set("maps", new DataView(Uint8Array.from(atob(maps), (c) => c.charCodeAt(0)).buffer));
  }
  if (alone) unpack(model.get("kept")[model.get("method")]);

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
  const tool = (name, words, label) => {
    const button = make("button", { type: "button", "data-tool": name, title: words, "aria-label": words }, label);
    button.onclick = () => tools[name]();
    return button;
  };
  const only = make("input", { type: "checkbox", "aria-label": "only the rows that matter" });
  only.onchange = () => choose("only", only.checked);
  const bar = make("div", { class: "bm-tools" }, tool("in", "zoom in", "+"), tool("out", "zoom out", "−"),
    make("label", { title: "the rows that are furthest from looking evenly" }, only, " only the rows that matter"), make("span", { class: "bm-gap" }),
    make("span", {}, "save: "), tool("png", "save as a picture (PNG)", "PNG"), tool("svg", "save as a picture (SVG)", "SVG"));
  if (model.send) bar.append(tool("html", "save as a page that works offline (HTML)", "HTML"));
  if (!alone) root.append(make("div", { class: "bm-bar" }, stories, field));
  root.append(methods, message);

  // the text, the thumbnails, the map
  const text = make("div", { class: "bm-text", role: "listbox", tabindex: "-1", "aria-label": "tokens: choose one to see where it looks" });
  const says = make("div", { class: "bm-says", role: "status", "aria-live": "polite" });
  const wall = make("div", { class: "bm-wall", role: "radiogroup", "aria-label": "layers and heads" });
  const canvas = make("canvas", { class: "bm-map", role: "img" });
  const legend = make("div", { class: "bm-legend", "aria-hidden": "true" }, make("span", {}, "0"), make("i"), make("span", { class: "bm-most" }), make("em"));
  const figure = make("div", { class: "bm-figure" }, make("div", { class: "bm-name" }), canvas, legend, bar);
  root.append(text, says, make("div", { class: "bm-panes" }, wall, figure));
  el.append(root);

  const tokens = () => model.get("tokens");
  const query = () => Math.min(model.get("query"), tokens().length - 1);

  let last = null, read = new Uint16Array(0);
  function roots() { // what the kernel sent last, as numbers
    const view = model.get("maps");
    if (view !== last) {
      last = view;
      read = new Uint16Array((view.buffer ?? view).slice(view.byteOffset ?? 0, (view.byteOffset ?? 0) + view.byteLength));
    }
    return read;
  }
  const grid = () => model.get("grid"); // [rows, columns] of maps that this method has
  function chosen() { // which of the maps is shown large: a method without heads or layers has fewer
    const [rows, columns] = grid();
    return [Math.min(model.get("layer"), rows - 1), Math.min(model.get("head"), columns - 1)];
  }
  function mapOf(row, column) {
    const n = tokens().length, start = (row * grid()[1] + column) * n * n;
    return roots().subarray(start, start + n * n);
  }
  const nameOf = (row, column) => {
    const [rows, columns] = grid();
    if (rows === 1 && columns === 1) return "the whole model";
    return columns === 1 ? `up to layer ${row}` : `layer ${row}, head ${column}`;
  };

  function choose(name, value) {
    const kept = name === "method" && model.get("kept")[value];
    if (kept) unpack(kept);
    model.set(name, value);
    if (kept) draw();
    clearTimeout(timer);
    timer = setTimeout(() => model.save_changes(), name === "query" ? 60 : 0); // a hover is sent when it rests
  }

  function paint(target, map, n) {
    const picture = new ImageData(n, n), pixels = new Uint32Array(picture.data.buffer), palette = new Uint32Array(COLOURS.buffer);
    const most = mostOf(map);
    for (let i = 0; i < n * n; i++) pixels[i] = palette[Math.round((255 * map[i]) / most)];
    target.width = target.height = n;
    target.getContext("2d").putImageData(picture, 0, 0);
  }

  const mostOf = (map) => map.reduce((most, root) => Math.max(most, root), 1);
  function rowsThatMatter(map, n) { // ln(i + 1) less the entropy of row i
    const far = tokens().map((_, i) => {
      let entropy = 0;
      for (let j = 0; j < n; j++) { const w = weight(map[i * n + j]); if (w > 0) entropy -= w * Math.log(w); }
      return Math.log(i + 1) - entropy;
    });
    const rows = [...far.keys()].sort((a, b) => far[b] - far[a]).slice(0, ROWS);
    return [...new Set([...rows, query()])].sort((a, b) => a - b);
  }
  const view = { left: 0, top: 0, size: 1 }; // what is seen of the map: from which key, from which row, how many of all
  function inView() { // [the rows seen, the first key seen, how many keys]
    const n = tokens().length, all = model.get("only") ? rowsThatMatter(mapOf(...chosen()), n) : [...tokens().keys()];
    const wide = Math.max(2, Math.round(n * view.size)), tall = Math.max(2, Math.round(all.length * view.size));
    view.left = Math.max(0, Math.min(view.left, n - wide));
    view.top = Math.max(0, Math.min(view.top, all.length - tall));
    return [all.slice(Math.round(view.top), Math.round(view.top) + tall), Math.round(view.left), wide];
  }
  function zoom(factor, across = 0.5, down = 0.5) { // about a point of the map, as shares of what is seen
    const n = tokens().length, before = view.size;
    view.size = Math.min(1, Math.max(4 / n, before * factor));
    view.left += across * n * (before - view.size);
    view.top += down * n * (before - view.size);
    frameMap();
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
  const edge = { left: 0, top: 0, wide: 0, tall: 0, rows: [], from: 0 };
  function frameMap() {
    const all = tokens(), q = query(), [rows, from, n] = inView();
    const width = Math.max(220, Math.min(figure.clientWidth || 460, 620));
    const style = getComputedStyle(root), ink = style.color, dim = style.getPropertyValue("--bm-dim");
    const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    const size = Math.max(6, Math.min(12, (width - 70) / n - 1)), labelled = size >= 6.5;
    pen.font = `${size}px system-ui, sans-serif`;
    const longest = Math.max(...all.map((t) => pen.measureText(shown(t)).width));
    Object.assign(edge, { rows, from });
    edge.left = edge.top = labelled ? Math.min(longest + 20, width * 0.3) : 22;
    edge.wide = (width - edge.left - 2) / n;
    edge.tall = Math.max(edge.wide, rows.length < n ? Math.min(18, 4 * edge.wide) : 0);
    const height = edge.top + edge.tall * rows.length + 2;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.width = `${width}px`; canvas.style.height = `${height}px`;
    pen.scale(ratio, ratio);
    pen.imageSmoothingEnabled = false;
    rows.forEach((row, i) => pen.drawImage(large, from, row, n, 1, edge.left, edge.top + i * edge.tall, edge.wide * n, edge.tall));
    pen.textBaseline = "middle";
    pen.font = `${size}px system-ui, sans-serif`;
    const named = labelled || edge.tall >= 8;
    if (named) rows.forEach((row, i) => {
      pen.fillStyle = row === q ? ink : dim;
      pen.textAlign = "right";
      if (labelled) pen.fillText(shown(all[row]), edge.left - 4, edge.top + (i + 0.5) * edge.tall);
    });
    if (labelled) for (let k = 0; k < n; k++) {
      pen.save();
      pen.translate(edge.left + (k + 0.5) * edge.wide, edge.top - 4);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "left";
      pen.fillStyle = dim;
      pen.fillText(shown(all[from + k]), 0, 0);
      pen.restore();
    }
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
    const at = rows.indexOf(q);
    if (at >= 0) {
      pen.strokeStyle = style.getPropertyValue("--bm-mark");
      pen.lineWidth = 2;
      pen.strokeRect(edge.left, edge.top + at * edge.tall, edge.wide * n, Math.max(edge.tall, 2));
    }
    canvas.dataset.seen = `${rows.length} × ${n}`;
    legend.querySelector(".bm-most").textContent = weight(mostOf(mapOf(...chosen()))).toFixed(2);
  }

  // saving
  function keep(name, type, content) {
    const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
    root.append(link); // some browsers download only from a link that stands in the page
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
  function svg() {
    const all = tokens(), map = mapOf(...chosen()), most = mostOf(map), [rows, from, n] = inView();
    const cell = 16, left = 90, top = 100, text = (t) => shown(t).replace(/&/g, "&amp;").replace(/</g, "&lt;");
    const colour = (root) => { const c = 4 * Math.round((255 * root) / most); return `rgb(${COLOURS[c]},${COLOURS[c + 1]},${COLOURS[c + 2]})`; };
    const parts = [`<text x="4" y="18" font-size="13">${text(figure.firstChild.textContent)}</text>`];
    rows.forEach((row, i) => {
      parts.push(`<text x="${left - 4}" y="${top + (i + 0.75) * cell}" text-anchor="end">${text(all[row])}</text>`);
      for (let k = 0; k < n; k++) parts.push(`<rect x="${left + k * cell}" y="${top + i * cell}" width="${cell}" height="${cell}" fill="${colour(map[row * all.length + from + k])}">` +
        `<title>${text(all[row])} → ${text(all[from + k])}: ${weight(map[row * all.length + from + k]).toFixed(3)}</title></rect>`);
    });
    for (let k = 0; k < n; k++) parts.push(`<text transform="translate(${left + (k + 0.75) * cell} ${top - 4}) rotate(-90)">${text(all[from + k])}</text>`);
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + n * cell + 8}" height="${top + rows.length * cell + 8}" font-family="system-ui, sans-serif" font-size="11">` +
      `<rect width="100%" height="100%" fill="white"/>${parts.join("")}</svg>`;
  }
  function png() { // what is seen, under its name, on the page's own paper
    const ratio = window.devicePixelRatio || 1, style = getComputedStyle(root), whole = make("canvas"), pen = whole.getContext("2d");
    whole.width = canvas.width; whole.height = canvas.height + 26 * ratio;
    pen.fillStyle = style.getPropertyValue("--bm-paper"); pen.fillRect(0, 0, whole.width, whole.height);
    pen.fillStyle = style.color; pen.font = `${13 * ratio}px system-ui, sans-serif`;
    pen.fillText(figure.firstChild.textContent, 4 * ratio, 17 * ratio);
    pen.drawImage(canvas, 0, 26 * ratio);
    whole.toBlob((blob) => keep("attention.png", "image/png", blob));
  }
  const tools = {
    in: () => zoom(0.6), out: () => zoom(1 / 0.6), png,
    svg: () => keep("attention.svg", "image/svg+xml", svg()),
    html: () => model.send({ wanted: "page" }),
  };
  const arrived = (content) => { if (content.page) keep("attention.html", "text/html", content.page); };

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
      span.style.setProperty("--w", (row[i] / FULL).toFixed(3)); // the root, as in the map
      span.classList.toggle("bm-strong", row[i] / 257 > turn);
      span.setAttribute("aria-selected", i === q);
      span.tabIndex = i === q ? 0 : -1;
    });
    const best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, 3).filter((i) => weight(row[i]) > 0.005);
    const verb = { weights: "looks at", rollout: "may hold", gradient: "leans on", knockout: "misses" }[model.get("method")];
    const unit = model.get("method") === "knockout" ? " nats" : "";
    says.textContent = `“${shown(names[q])}” ${verb} ` + (best.map((i) => `“${shown(names[i])}” ${weight(row[i]).toFixed(2)}${unit}`).join(", ") || "nothing in particular");
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
  let drag = null; // where the mouse went down, and what was seen then
  canvas.addEventListener("mousedown", (event) => { drag = { x: event.offsetX, y: event.offsetY, left: view.left, top: view.top, moved: false }; });
  const drop = () => { drag = null; };
  window.addEventListener("mouseup", drop);
  canvas.addEventListener("mousemove", (event) => {
    if (drag && view.size < 1) {
      view.left = drag.left - (event.offsetX - drag.x) / edge.wide;
      view.top = drag.top - (event.offsetY - drag.y) / edge.tall;
      drag.moved = true;
      frameMap();
      return;
    }
    const row = edge.rows[Math.floor((event.offsetY - edge.top) / edge.tall)];
    if (row !== undefined) look(row);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls; with Ctrl, or two fingers, the map zooms
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, (event.offsetX - edge.left) / (canvas.clientWidth - edge.left), (event.offsetY - edge.top) / (canvas.clientHeight - edge.top));
  }, { passive: false });
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
    only.checked = model.get("only");
    for (const button of methods.children) {
      button.hidden = alone && !model.get("kept")[button.dataset.method];
      const on = button.dataset.method === model.get("method");
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
    legend.lastChild.textContent = { weights: "weight", rollout: "share", gradient: "share of the row", knockout: "nats, 1 or more" }[model.get("method")] + " (colours: its square root)";
    message.textContent = model.get("message");
  }
  function draw() {
    if (!tokens().length || roots().length !== grid()[0] * grid()[1] * tokens().length ** 2) return; // half has come
    drawBar();
    if (text.dataset.tokens !== tokens().join("\u0001")) {
      text.dataset.tokens = tokens().join("\u0001");
      pinned = null;
      Object.assign(view, { left: 0, top: 0, size: 1 });
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
    "change:message": drawBar, "change:story": drawBar, "change:query": () => { shade(); frameMap(); }, "change:only": () => { drawBar(); frameMap(); } };
  for (const [name, what] of Object.entries(listen)) model.on(name, what);
  model.on("msg:custom", arrived);
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
    model.off("msg:custom", arrived);
    window.removeEventListener("mouseup", drop);
  };
}

export default { render };
