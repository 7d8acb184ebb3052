// Every matrix of a tiny transformer as a table. Point at a number: the numbers that it was made of light up, and a
// line above says how. All numbers come from the kernel as one JSON text; nothing is fetched from anywhere.

const MINUS = "−", FIRST = 4; // the first four words may be chosen

function number(v, digits = 2) {
  if (v === null) return MINUS + "∞";
  if (Number.isInteger(v)) return String(v).replace("-", MINUS);
  return v.toFixed(digits).replace(/^-0\.0+$/, "0.00").replace("-", MINUS);
}

const inBrackets = (v) => (v !== null && v >= 0 ? number(v) : `(${number(v)})`);

function render({ model, el }) {
  const data = JSON.parse(model.get("data"));
  const steps = Object.fromEntries(data.steps.map((step) => [step.name, step]));
  const words = () => model.get("sentence").split(" ");
  const values = () => data.values[model.get("sentence")];
  const matrix = (name) => data.given[name] ?? values()[name];
  const cells = {}; // name -> rows of <td>
  let shown = [];

  const root = make("div", { class: "bm-toy bm-every" });
  const bar = make("div", { class: "bm-every-bar" });
  const selects = [0, 1, 2].map((place) => {
    const select = make("select", { "aria-label": `word ${place + 1}` });
    for (const word of data.words.slice(0, FIRST)) select.append(make("option", {}, word));
    select.onchange = () => {
      model.set("sentence", selects.map((s) => s.value).join(" "));
      model.save_changes();
    };
    return select;
  });
  const guess = make("span", { class: "bm-every-guess", role: "status" });
  bar.append(...selects, guess);
  const says = make("div", { class: "bm-every-says", role: "status", "aria-live": "polite" });
  const poster = make("div", { class: "bm-every-poster" });
  root.append(bar, says, poster);
  el.append(root);

  // which numbers a number was made of: [[matrix, row, column], …]

  const row = (name, i) => matrix(name)[i].map((_, j) => [name, i, j]);
  const column = (name, j) => matrix(name).map((_, i) => [name, i, j]);
  const SOURCES = {
    given: () => [],
    embed: ([E, P], i, j) => [[E, data.words.indexOf(words()[i]), j], [P, i, j]],
    add: ([a, b], i, j) => [[a, i, j], [b, i, j]],
    relu: ([x], i, j) => [[x, i, j]],
    norm: ([x], i) => row(x, i),
    softmax: ([x], i) => row(x, i),
    matmul: ([a, b], i, j) => [...row(a, i), ...column(b, j)],
    scores: ([q, k], i, j) => (j > i ? [] : [...row(q, i), ...row(k, j)]),
  };
  const sources = (name, i, j) => SOURCES[steps[name].how](steps[name].inputs, i, j);

  // how it was computed, in words and numbers

  function sum(left, right) { // the products that are not zero
    const terms = left.map((v, i) => [v, right[i]]).filter(([a, b]) => a !== 0 && b !== 0);
    return terms.length ? terms.map(([a, b]) => `${inBrackets(a)}·${inBrackets(b)}`).join(" + ") : "0";
  }
  function normed(x, v) {
    const mean = x.reduce((a, b) => a + b) / x.length;
    const sd = Math.sqrt(x.reduce((a, b) => a + (b - mean) ** 2, 0) / x.length + 1e-5);
    return `(${number(v)} ${MINUS} mean ${number(mean)}) / standard deviation ${number(sd)}`;
  }
  const HOW = {
    given: () => "set by hand: one of the model's parameters",
    embed: ([E, P], i, j) => {
      const [a, b] = sources("x₀", i, j).map(([name, r, c]) => matrix(name)[r][c]);
      return `the row of “${words()[i]}” in E, plus place ${i + 1} in P: ${number(a)} + ${number(b)}`;
    },
    add: ([a, b], i, j) => `what was there + what is added: ${number(matrix(a)[i][j])} + ${inBrackets(matrix(b)[i][j])}`,
    relu: ([x], i, j) => `max(0, ${number(matrix(x)[i][j])})`,
    norm: ([x], i, j) => normed(matrix(x)[i], matrix(x)[i][j]),
    softmax: ([x], i, j) => `e^${number(matrix(x)[i][j])} over the row's sum of such powers`,
    matmul: ([a, b], i, j) => `row times column: ${sum(matrix(a)[i], matrix(b).map((r) => r[j]))}`,
    scores: ([q, k], i, j) => j > i ? `hidden: “${words()[j]}” comes after “${words()[i]}”`
      : `q of “${words()[i]}” times k of “${words()[j]}”, over √2: (${sum(matrix(q)[i], matrix(k)[j])}) / 1.41`,
  };

  function light(name, i, j) {
    for (const node of shown) node.classList.remove("bm-here", "bm-from");
    const of = (cell) => cells[cell[0]][cell[1]][cell[2]];
    shown = [of([name, i, j]), ...sources(name, i, j).map(of)];
    shown.forEach((node, n) => node.classList.add(n ? "bm-from" : "bm-here"));
    const result = steps[name].how === "given" ? "" : ` = ${number(matrix(name)[i][j])}`;
    const where = cells[name][i][j].title;
    says.textContent = `${steps[name].label.split(" ")[0]}, ${where}: ${HOW[steps[name].how](steps[name].inputs, i, j)}${result}`;
  }

  // the tables

  const units = (n) => Array.from({ length: n }, (_, i) => `${i + 1}`);
  function columnNames(name) {
    if (["E", "P", "x₀", "n₁", "a", "x₁", "n₂", "m", "x₂", "n₃", "W_O", "W_down"].includes(name)) return data.features;
    if (["S", "A"].includes(name)) return words();
    if (["W_out", "logits", "p"].includes(name)) return data.words;
    return units(matrix(name)[0].length);
  }
  function rowNames(name) {
    if (name === "E") return data.words;
    if (["W_Q", "W_K", "W_V", "W_up", "W_out"].includes(name)) return data.features;
    return ["W_O", "W_down"].includes(name) ? units(matrix(name).length) : words();
  }

  function table(step) {
    const { name } = step, body = make("tbody"), rows = matrix(name);
    const head = make("tr", {}, make("th"), ...rows[0].map(() => make("th", { scope: "col" })));
    cells[name] = rows.map((numbers, i) => {
      const line = make("tr", {}, make("th", { scope: "row" }));
      const made = numbers.map((_, j) => {
        const cell = make("td", { "data-at": `${name},${i},${j}`, tabindex: "-1" });
        line.append(cell);
        return cell;
      });
      body.append(line);
      return made;
    });
    const node = make("table", { class: `bm-m bm-${step.how}`, "data-name": name }, make("caption", {}, step.label),
      make("thead", {}, head), body);
    if (/Q$/.test(name)) node.classList.add("bm-q");
    if (/K$/.test(name)) node.classList.add("bm-k");
    if (/V$/.test(name)) node.classList.add("bm-v");
    if (/^x/.test(name)) node.classList.add("bm-stream");
    return node;
  }
  for (const step of data.steps) {
    while (poster.childElementCount <= step.line) poster.append(make("div", { class: "bm-line" }));
    poster.children[step.line].append(table(step));
  }

  function fill() {
    words().forEach((word, i) => { selects[i].value = word; });
    for (const { name } of data.steps) {
      const rows = rowNames(name), columns = columnNames(name);
      const head = cells[name][0][0].closest("table").querySelector("thead tr");
      columns.forEach((word, j) => { head.children[j + 1].textContent = word; });
      cells[name].forEach((line, i) => {
        line[0].parentNode.firstChild.textContent = rows[i];
        line.forEach((cell, j) => {
          const v = matrix(name)[i][j];
          cell.textContent = v === 0 ? "·" : number(v);
          cell.title = `row “${rows[i]}”, column “${columns[j]}”`;
          cell.style.setProperty("--size", v === null ? 0 : Math.min(Math.abs(v) / 4, 0.6).toFixed(3));
          cell.classList.toggle("bm-minus", v !== null && v < 0);
        });
      });
    }
    const last = values().p[2], best = last.indexOf(Math.max(...last));
    guess.textContent = ` → ${data.words[best]} (${(100 * last[best]).toFixed(0)} %)`;
    settle();
  }
  function settle() { // back to the number that is pinned, or to the answer
    const chosen = model.get("chosen"), last = values().p[2];
    light(...(chosen.length ? chosen : ["p", 2, last.indexOf(Math.max(...last))]));
  }
  const at = (event) => {
    const cell = event.target.closest?.("td[data-at]");
    if (!cell) return null;
    const [name, i, j] = cell.dataset.at.split(",");
    return [name, Number(i), Number(j)];
  };
  function choose(place) {
    const same = JSON.stringify(place) === JSON.stringify(model.get("chosen"));
    model.set("chosen", same ? [] : place);
    model.save_changes();
  }
  poster.tabIndex = 0;
  poster.setAttribute("aria-label", "matrices: walk with the arrow keys, N and P go to the next and previous matrix");
  poster.onmouseover = (event) => { const place = at(event); if (place) light(...place); };
  poster.onmouseleave = settle;
  poster.onclick = (event) => { const place = at(event); if (place) choose(place); };
  poster.onkeydown = (event) => {
    let [name, i, j] = shown[0].dataset.at.split(",");
    i = Number(i); j = Number(j);
    const names = data.steps.map((step) => step.name), hop = { n: 1, p: -1 }[event.key.toLowerCase()];
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (hop) [name, i, j] = [names[(names.indexOf(name) + hop + names.length) % names.length], 0, 0];
    else if (move) [i, j] = [i + move[0], j + move[1]];
    else return;
    event.preventDefault();
    if (cells[name][i]?.[j]) { model.set("chosen", [name, i, j]); model.save_changes(); }
  };
  model.on("change:sentence", fill);
  model.on("change:chosen", settle);
  fill();
  return () => { model.off("change:sentence", fill); model.off("change:chosen", settle); };
}

export default { render };
