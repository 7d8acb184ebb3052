// The garden of futures: a tree of next tokens, pruned by the sliders; a click writes, the kernel grows what is missing.
// Everything is drawn from what the kernel sends; nothing is fetched from anywhere.

const FUTURES = 10, DEPTH = 5, WIDE = 990, COLUMN = 174, ROW = 36; // in the units of the picture
const SVG = "http://www.w3.org/2000/svg";
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);
const key = (way) => way.join(".");
const seen = (name) => (SIGNS[name] ?? name).replaceAll("\n", "⏎");

// What is left of a place's candidates after temperature and top-p; the same as `shares` in Python.
function shares(node, temperature, topP) {
  if (temperature === 0) return node.logs.map((_, i) => (i ? 0 : 1));
  const total = node.sums[Math.round(temperature * 10) - 1];
  let likelier = 0;
  const kept = node.logs.map((log, i) => {
    const chance = likelier < topP - 1e-5 || i === 0 ? Math.exp(log / temperature - total) : 0;
    likelier += chance;
    return chance;
  });
  const whole = topP >= 1 ? 1 : Math.max(likelier, topP);
  return kept.map((chance) => chance / whole);
}

function follow(root, way) {
  return way.reduce((node, i) => node?.next[i], root);
}

// Likely ways of DEPTH tokens, {way, p}, as a beam of FUTURES finds them; a way ends where the tree does.
function ways(root, temperature, topP) {
  let found = [{ way: [], p: 1 }];
  for (let depth = 0; depth < DEPTH; depth += 1) {
    const longer = found.flatMap(({ way, p }) => {
      const node = follow(root, way);
      if (!node) return [{ way, p }];
      return shares(node, temperature, topP).map((s, i) => ({ way: [...way, i], p: p * s })).filter((w) => w.p > 0);
    });
    found = longer.sort((a, b) => b.p - a.p).slice(0, FUTURES);
  }
  return found;
}

const byPlace = (a, b) => {
  const at = a.way.findIndex((step, i) => step !== b.way[i]);
  return at < 0 ? 0 : a.way[at] - b.way[at];
};

function render({ model, el }) {
  let count = 0;
  const wish = (what) => {
    count += 1;
    model.set("ask", { ...what, count });
    model.save_changes();
  };
  const button = (label, says, act) => {
    const node = make("button", { type: "button", title: says }, label);
    node.onclick = act;
    return node;
  };
  const slider = (name, trait, low, high, step) => {
    const input = make("input", { type: "range", min: low, max: high, step, "aria-label": name });
    const shown = make("output");
    input.oninput = () => {
      model.set(trait, Number(input.value));
      draw();
    };
    input.onchange = () => model.save_changes();
    const put = () => {
      input.value = model.get(trait);
      shown.textContent = Number(model.get(trait)).toFixed(trait === "top_p" ? 2 : 1);
    };
    return [make("label", {}, name, input, shown), put];
  };
  const text = make("div", { class: "bm-garden-text", role: "log", "aria-label": "the text so far" });
  const [heat, putHeat] = slider("temperature", "temperature", 0, 1.6, 0.1);
  const [cut, putCut] = slider("top-p", "top_p", 0.05, 1, 0.05);
  const word = button("one word", "let the model draw one token", () => wish({ do: "word" }));
  const sentence = button("one sentence", "let the model draw to the end of a sentence", () => wish({ do: "draw" }));
  const again = button("again", "take back what the model drew last, and draw anew", () => wish({ do: "again" }));
  const undo = button("undo", "take back the last step", () => wish({ do: "undo" }));
  const start = make("input", { type: "text", "aria-label": "another beginning", placeholder: "another beginning, then Enter" });
  start.onkeydown = (event) => {
    event.stopPropagation(); // Lab's own keys
    if (event.key === "Enter" && start.value.trim()) wish({ do: "begin", text: start.value });
  };
  const next = make("div", { class: "bm-garden-next", role: "group", "aria-label": "candidates for the next token" });
  const tree = make("div", { class: "bm-garden-tree" });
  const says = make("div", { class: "bm-garden-says", role: "status", "aria-live": "polite" });
  el.append(make("div", { class: "bm-toy bm-garden" }, text,
    make("div", { class: "bm-garden-row" }, heat, cut, word, sentence, again, undo), next, tree, says,
    make("div", { class: "bm-garden-row" }, start)));

  const settings = () => [model.get("temperature"), model.get("top_p")];
  const percent = (p) => `${(100 * p).toFixed(p < 0.001 ? 2 : p < 0.095 ? 1 : 0)} %`;
  const odds = (p) => (p >= 0.095 ? percent(p) : `1 in ${Math.round(1 / p).toLocaleString("en")}`);
  const words = (way) => way.map((i, depth) => follow(model.get("tree"), way.slice(0, depth)).names[i]).join("");
  const write = (way) => wish({ do: "write", way });

  function drawText() {
    text.replaceChildren(make("b", {}, model.get("prompt")));
    const written = model.get("written");
    for (const step of written) text.append(make("span", step.drawn ? { class: "bm-garden-drawn" } : {}, step.text));
    undo.disabled = !written.length;
    again.disabled = !written.at(-1)?.drawn;
  }
  function drawNext() {
    const root = model.get("tree"), left = shares(root, ...settings());
    next.replaceChildren(...root.names.slice(0, 10).map((name, i) => {
      const chip = button(seen(name), `write “${seen(name)}”`, () => write([i]));
      chip.append(make("em", {}, left[i] ? percent(left[i]) : "cut"));
      chip.classList.toggle("bm-garden-cut", !left[i]);
      return chip;
    }));
  }
  function drawTree() {
    const root = model.get("tree"), found = ways(root, ...settings()).sort(byPlace), height = ROW * Math.max(found.length, 2);
    const rows = { "": [0, found.length - 1] }, share = {}, chance = {}, all = [];
    found.forEach(({ way }, row) => way.forEach((_, depth) => {
      const part = way.slice(0, depth + 1), name = key(part);
      if (!rows[name]) {
        rows[name] = [];
        const before = depth ? chance[key(way.slice(0, depth))] : 1;
        share[name] = shares(follow(root, way.slice(0, depth)), ...settings())[way[depth]];
        chance[name] = before * share[name];
        all.push(part);
      }
      rows[name].push(row);
    }));
    const y = (way) => ROW * ((rows[key(way)][0] + rows[key(way)].at(-1)) / 2 + 0.5);
    const picture = svg("svg", { viewBox: `-30 -10 ${WIDE} ${height + 10}`, role: "group", "aria-label": "likely futures" });
    const drawn = {};
    for (const way of all) {
      const x = 6 + COLUMN * (way.length - 1), from = y(way.slice(0, -1)), to = y(way);
      const line = `M ${x - 34} ${from} C ${x - 10} ${from} ${x - 24} ${to} ${x} ${to} H ${x + COLUMN - 34}`;
      const label = `write “${words(way)}”, probability ${odds(chance[key(way)])}`;
      const name = seen(follow(root, way.slice(0, -1)).names[way.at(-1)]);
      const wide = 1.5 + 26 * share[key(way)];
      const branch = svg("g", { role: "button", tabindex: 0, "aria-label": label, "data-way": key(way) },
        svg("title", {}, label),
        svg("path", { d: line, "stroke-width": wide.toFixed(2) }),
        svg("rect", { x, y: to - 20, width: COLUMN - 40, height: 26 }), // makes the word's surroundings clickable
        svg("text", { x: x + 4, y: wide > 18 ? to + 5.5 : to - 4 - wide / 2 }, name)); // on a wide branch, else above
      branch.onclick = () => write(way);
      branch.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        write(way);
      };
      branch.onmouseenter = () => light(way, true);
      branch.onmouseleave = () => light(way, false);
      drawn[key(way)] = branch;
      picture.append(branch);
    }
    function light(way, on) {
      way.forEach((_, depth) => drawn[key(way.slice(0, depth + 1))].classList.toggle("bm-garden-lit", on));
    }
    found.forEach(({ way, p }, row) =>
      picture.append(svg("text", { class: "bm-garden-p", x: COLUMN * way.length - 22, y: ROW * (row + 0.5) + 4 }, odds(p))));
    tree.replaceChildren(picture);
    const whole = found.reduce((sum, { p }) => sum + p, 0);
    const cost = model.get("written").reduce((sum, step) => sum - step.log, 0);
    const futures = found.length === 1 ? "One future is left" : `These ${found.length} futures`;
    says.textContent = `${futures}${found.length === 1 ? "." : ` have ${percent(whole)} of the probability; a branch is as wide as its token is likely there.`}` +
      (cost ? ` At temperature 1, with nothing cut, what you’ve written had a probability of 1 in ${Math.round(Math.exp(cost)).toLocaleString("en")}.` : "");
  }
  function draw() {
    putHeat();
    putCut();
    drawText();
    drawNext();
    drawTree();
  }
  const traits = ["tree", "written", "prompt", "temperature", "top_p"].map((name) => `change:${name}`);
  for (const name of traits) model.on(name, draw);
  draw();
  return () => { for (const name of traits) model.off(name, draw); };
}

export default { render };
