// A training to scrub through: sample, losses, attention map and next words of one frame, all from the film's numbers.
// Nothing is fetched from anywhere.

const SVG = "http://www.w3.org/2000/svg";
const PAUSE = 900; // ms between two frames of the play button
const WIDE = 420, HIGH = 130, EDGE = 12; // the chart's view box

const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const duration = (s) => (s < 120 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`);
const percent = (share) => (share === null ? "none opened" : `${Math.round(100 * share)} %`);

function render({ model, el }) {
  let timer = 0;
  const film = model.get("film"), frames = film.frames, last = frames.length - 1;
  const at = () => Math.min(model.get("frame"), last);
  const button = (label, act, attributes = {}) => {
    const node = make("button", { type: "button", ...attributes }, label);
    node.onclick = act;
    return node;
  };
  const set = (values) => {
    Object.entries(values).forEach(([name, value]) => model.set(name, value));
    model.save_changes();
  };
  const go = (frame) => set({ frame: Math.max(0, Math.min(frame, last)) });

  const marks = make("div", { class: "bm-grow-marks" }, "jump to: ");
  for (const [name, frame, prompt] of film.bookmarks) {
    marks.append(button(name, () => { pause(); set({ frame, prompt }); }));
  }
  const play = button("▶ play", () => (timer ? pause() : start()), { "aria-label": "play or pause" });
  const slider = make("input", { type: "range", min: 0, max: last, "aria-label": "moment of the training" });
  slider.oninput = () => { pause(); go(Number(slider.value)); };
  const says = make("div", { class: "bm-grow-says", role: "status" });
  const choice = (name, labels, title) => {
    const row = make("div", { class: "bm-grow-choice", role: "radiogroup", "aria-label": title });
    labels.forEach((label, i) => row.append(button(label, () => set({ [name]: i }), { role: "radio" })));
    return row;
  };
  const prompts = choice("prompt", film.prompts, "prompt");
  const sentences = choice("sentence", film.sentences.map((words) => words.join("")), "sentence of the map");
  const sample = make("div", { class: "bm-grow-sample" });
  const chart = draw("svg", { class: "bm-grow-chart", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
  const map = make("table", { class: "bm-grow-map" });
  const asks = make("div", { class: "bm-grow-asks" });
  const bars = make("div", { class: "bm-grow-bars" });
  el.append(make("div", { class: "bm-toy bm-grow" },
    marks, make("div", { class: "bm-grow-row" }, play, slider), says,
    make("div", { class: "bm-grow-panes" },
      make("div", {}, prompts, sample),
      make("div", {}, chart, make("div", { class: "bm-grow-key" },
        make("span", { class: "bm-grow-loss" }, "● loss on new text"),
        make("span", { class: "bm-grow-quotes" }, "■ quotations closed")))),
    make("div", { class: "bm-grow-panes" },
      make("div", {}, sentences, map), make("div", {}, asks, bars))));

  function pause() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "▶ play";
  }
  function start() {
    if (at() === last) go(0);
    play.textContent = "❚❚ pause";
    timer = setInterval(() => (at() < last ? go(at() + 1) : pause()), PAUSE);
  }

  function drawSample() { // every quotation mark says whether it has a partner in its paragraph
    sample.replaceChildren(make("b", {}, film.prompts[model.get("prompt")]));
    frames[at()].samples[model.get("prompt")].split("\n").forEach((paragraph, i) => {
      const parts = paragraph.split('"');
      if (i) sample.append("\n");
      parts.forEach((part, j) => {
        if (j) {
          const lonely = parts.length % 2 === 0 && j === parts.length - 1;
          sample.append(make("span", { class: lonely ? "bm-grow-open" : "bm-grow-closed" }, '"'));
        }
        sample.append(part);
      });
    });
  }
  const x = (i) => EDGE + (WIDE - 2 * EDGE) * (last ? i / last : 0);
  function drawLine(values, mark) {
    const known = values.map((v, i) => [v, i]).filter(([v]) => v !== null);
    const most = Math.max(...known.map(([v]) => v), 1e-9);
    const y = (v) => HIGH - EDGE - (HIGH - 2 * EDGE) * (v / most);
    chart.append(draw("polyline", { class: mark, points: known.map(([v, i]) => `${x(i)},${y(v)}`).join(" ") }));
    for (const [v, i] of known) {
      const size = i === at() ? 6 : 3;
      chart.append(mark === "bm-grow-loss"
        ? draw("circle", { class: mark, cx: x(i), cy: y(v), r: size })
        : draw("rect", { class: mark, x: x(i) - size, y: y(v) - size, width: 2 * size, height: 2 * size }));
    }
  }
  function drawChart() {
    chart.replaceChildren(draw("line", { class: "bm-grow-now", x1: x(at()), x2: x(at()), y1: 0, y2: HIGH }));
    drawLine(frames.map((f) => f.val_nats_per_char), "bm-grow-loss");
    drawLine(frames.map((f) => f.closed_quotes), "bm-grow-quotes");
    chart.setAttribute("aria-label", "loss on new text, and the share of quotations that are closed, frame by frame");
  }
  chart.onclick = (event) => {
    const box = chart.getBoundingClientRect();
    pause();
    go(Math.round(last * ((WIDE * (event.clientX - box.left)) / box.width - EDGE) / (WIDE - 2 * EDGE)));
  };
  function drawMap() {
    const words = film.sentences[model.get("sentence")], rows = frames[at()].maps[model.get("sentence")];
    const head = make("tr", {}, make("td"), ...words.map((w) => make("th", {}, make("span", {}, w.trim()))));
    map.replaceChildren(head, ...rows.map((row, i) => {
      const cells = row.map((w, j) => {
        const cell = make("td", { title: `${words[i].trim()} looks at ${words[j].trim()}: ${w.toFixed(2)}` });
        cell.style.setProperty("--w", Math.sqrt(w).toFixed(3));
        return cell;
      });
      return make("tr", {}, make("th", {}, words[i].trim()), ...cells);
    }));
  }
  function drawBars() { // the longest bar is the largest chance of the whole film
    const [prompt, words] = film.next[model.get("sentence")];
    const most = Math.max(...frames.flatMap((f) => f.next[model.get("sentence")]), 1e-9);
    asks.textContent = `What comes after “${prompt}”?`;
    if (bars.childElementCount !== words.length) {
      bars.replaceChildren(...words.map(() => make("div", {}, make("span"), make("i", {}, make("b")), make("em"))));
    }
    [...bars.children].forEach((bar, i) => {
      const p = frames[at()].next[model.get("sentence")][i], [label, track, number] = bar.children;
      label.textContent = SIGNS[words[i]] ?? words[i].trim();
      track.firstChild.style.width = `${(100 * p) / most}%`;
      number.textContent = p.toFixed(2);
    });
  }
  function drawAll() {
    const frame = frames[at()];
    slider.value = at();
    slider.setAttribute("aria-valuetext", `after ${duration(frame.seconds)}`);
    says.textContent = `After ${duration(frame.seconds)} and ${frame.tokens.toLocaleString("en")} tokens: ` +
      `${frame.val_nats_per_char.toFixed(2)} nats per character, real words ${percent(frame.real_words)}, ` +
      `quotations closed: ${percent(frame.closed_quotes)}.`;
    for (const [row, name] of [[prompts, "prompt"], [sentences, "sentence"]]) {
      [...row.children].forEach((node, i) => node.setAttribute("aria-checked", i === model.get(name)));
    }
    drawSample();
    drawChart();
    drawMap();
    drawBars();
  }
  const watched = ["frame", "prompt", "sentence"].map((name) => `change:${name}`);
  watched.forEach((name) => model.on(name, drawAll));
  drawAll();
  return () => {
    pause();
    watched.forEach((name) => model.off(name, drawAll));
  };
}

export default { render };
