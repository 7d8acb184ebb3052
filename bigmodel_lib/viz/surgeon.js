// The surgeon's view: a sentence, a grid of heads to click, and bars for the next word. All numbers come with it.

const ACTS = { silence: "silence a head", carry: "carry it over" };
const difference = (p) => Math.log(p[0] / p[1]);
const signed = (x) => (x < 0 ? "−" : "+") + Math.abs(x).toFixed(2);

function render({ model, el }) {
  const root = make("div", { class: "bm-toy bm-surgeon" });
  const text = make("div", { class: "bm-surgeon-text" });
  const table = make("div", { class: "bm-surgeon-choice", role: "group", "aria-label": "sentence on the table" });
  const acts = make("div", { class: "bm-surgeon-choice", role: "group", "aria-label": "what to do" });
  const grid = make("div", { class: "bm-surgeon-grid", role: "group", "aria-label": "layers and heads" });
  const bars = make("div", { class: "bm-surgeon-bars" });
  const says = make("div", { class: "bm-surgeon-says", role: "status", "aria-live": "polite" });
  const reveal = make("button", { type: "button", class: "bm-surgeon-reveal" });
  const back = make("button", { type: "button", class: "bm-surgeon-back" }, "put it back");
  root.append(make("div", { class: "bm-surgeon-top" }, table, acts), text,
    make("div", { class: "bm-surgeon-panes" }, make("div", {}, grid, make("div", { class: "bm-surgeon-row" }, back, reveal)), bars), says);
  el.append(root);
  const tried = new Set(); // heads that have shown what they do

  const set = (name, value) => { model.set(name, value); model.save_changes(); };
  const here = () => model.get("sentence");
  const outcomes = () => model.get("after")[here()][Object.keys(ACTS).indexOf(model.get("act"))];
  const change = (p) => difference(p) - difference(model.get("before")[here()]);

  model.get("names").forEach((name, i) => {
    const button = make("button", { type: "button", "data-sentence": i }, `the “${name}” sentence`);
    button.onclick = () => set("sentence", i);
    table.append(button);
  });
  for (const [act, words] of Object.entries(ACTS)) {
    const button = make("button", { type: "button", "data-act": act }, words);
    button.onclick = () => set("act", act);
    acts.append(button);
  }
  const [L, H] = [model.get("after")[0][0].length, model.get("after")[0][0][0].length];
  grid.style.gridTemplateColumns = `auto repeat(${H}, 1fr)`;
  for (let layer = 0; layer < L; layer++) {
    grid.append(make("span", { class: "bm-surgeon-name" }, `layer ${layer}`));
    for (let head = 0; head < H; head++) {
      const button = make("button", { type: "button", "data-head": `${layer}.${head}` });
      button.onclick = () => { set("head", String(model.get("head")) === `${layer},${head}` ? [] : [layer, head]); };
      grid.append(button);
    }
  }
  model.get("words").forEach((word) => bars.append(make("div", { class: "bm-surgeon-bar" },
    make("span", {}, word), make("i", {}, make("b", {}), make("u", {})), make("output", {}))));
  back.onclick = () => set("head", []);
  reveal.onclick = () => set("seen", !model.get("seen"));

  function draw() {
    const i = here(), [layer, head] = model.get("head"), before = model.get("before")[i];
    const now = layer === undefined ? before : outcomes()[layer][head];
    if (layer !== undefined) tried.add(`${i} ${model.get("act")} ${layer}.${head}`);
    for (const button of table.children) button.setAttribute("aria-pressed", +button.dataset.sentence === i);
    for (const button of acts.children) button.setAttribute("aria-pressed", button.dataset.act === model.get("act"));
    const tokens = model.get("tokens")[i], others = model.get("tokens")[1 - i];
    text.replaceChildren(...tokens.map((token, k) => make(token === others[k] ? "span" : "mark", {}, token)), make("em", {}, " …?"));
    const largest = Math.max(...model.get("after")[i].flat(2).map((p) => Math.abs(change(p))));
    for (const button of grid.querySelectorAll("[data-head]")) {
      const [l, h] = button.dataset.head.split(".").map(Number), moved = change(outcomes()[l][h]);
      const shown = model.get("seen") || tried.has(`${i} ${model.get("act")} ${l}.${h}`);
      button.textContent = shown ? signed(moved) : `${l}.${h}`;
      button.setAttribute("aria-label", `layer ${l}, head ${h}` + (shown ? `, change ${signed(moved)}` : ""));
      button.setAttribute("aria-pressed", l === layer && h === head);
      button.style.setProperty("--hue", moved > 0 ? "230, 97, 1" : "94, 60, 153");
      button.style.setProperty("--much", shown ? (0.65 * Math.abs(moved) / largest).toFixed(3) : 0);
    }
    const top = Math.max(...model.get("before").flat(), ...model.get("after").flat(3).flat());
    [...bars.children].forEach((row, k) => {
      row.dataset.value = now[k];
      row.querySelector("b").style.width = `${(100 * now[k]) / top}%`;
      row.querySelector("u").style.left = `${(100 * before[k]) / top}%`;
      row.querySelector("output").textContent = `${(100 * now[k]).toFixed(1)} %`;
    });
    const [right, rival] = model.get("words"), from = difference(before), to = difference(now);
    const did = layer === undefined ? "Nothing has been touched." : model.get("act") === "silence" ? `Head ${layer}.${head} is silent.`
      : `Head ${layer}.${head} brings what it brings in the “${model.get("names")[1 - i]}” sentence.`;
    says.textContent = `${did} Logit difference “${right}” minus “${rival}”: ${signed(from)}` + (layer === undefined ? "" : ` → ${signed(to)}`);
    reveal.textContent = model.get("seen") ? "hide what I haven’t tried" : "show all";
    back.disabled = layer === undefined;
  }
  const names = ["sentence", "act", "head", "seen"].map((name) => `change:${name}`);
  names.forEach((name) => model.on(name, draw));
  draw();
  return () => names.forEach((name) => model.off(name, draw));
}

export default { render };
