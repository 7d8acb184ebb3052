// The stepper's view: a text whose surprising tokens are shaded, and the candidates at one of its places as bars.
// Everything is drawn from what the kernel sends; nothing is fetched from anywhere.

const PAUSE = 700; // ms between two steps of the play button

function render({ model, el }) {
  let timer = 0;
  const button = (label, says, act) => {
    const node = make("button", { type: "button", "aria-label": says, title: says }, label);
    node.onclick = act;
    return node;
  };
  const back = button("◀", "one token back", () => { pause(); go(place() - 1); });
  const play = button("▶ play", "play or pause", () => (timer ? pause() : start()));
  const next = button("▶|", "one token on", () => { pause(); go(place() + 1); });
  const slider = deafen(make("input", { type: "range", min: 0, "aria-label": "place in the text" }));
  const text = make("div", { class: "bm-stepper-text", role: "listbox", "aria-label": "what the model wrote" });
  const says = make("div", { class: "bm-stepper-says", role: "status" });
  const bars = make("div", { class: "bm-stepper-bars" });
  const root = make("div", { class: "bm-toy bm-stepper", tabindex: "0" },
    text, make("div", { class: "bm-stepper-row" }, back, play, next, slider), says, bars);
  el.append(root);

  const steps = () => model.get("steps");
  const place = () => Math.min(model.get("position"), steps().length - 1);
  function go(position) {
    model.set("position", Math.max(0, Math.min(position, steps().length - 1)));
    model.save_changes();
  }
  function pause() {
    clearInterval(timer);
    timer = 0;
    play.textContent = "▶ play";
  }
  function start() {
    if (place() === steps().length - 1) go(0);
    play.textContent = "❚❚ pause";
    timer = setInterval(() => (place() < steps().length - 1 ? go(place() + 1) : pause()), PAUSE);
  }
  slider.oninput = () => { pause(); go(Number(slider.value)); };
  root.onkeydown = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    pause();
    go(place() + by);
  };

  function drawText() {
    text.replaceChildren(make("span", { class: "bm-stepper-prompt" }, model.get("prompt")));
    steps().forEach((step, i) => {
      const span = make("span", { role: "option", "data-place": i, title: `probability ${step.p.toFixed(2)}` }, step.text);
      span.style.setProperty("--surprise", Math.min(1, -Math.log2(step.p) / 6).toFixed(2));
      span.onclick = () => { pause(); go(i); };
      text.append(span);
    });
    slider.max = steps().length - 1;
  }
  function drawPlace() {
    const now = place(), step = steps()[now];
    [...text.children].slice(1).forEach((span, i) => {
      span.classList.toggle("bm-stepper-later", i > now);
      span.setAttribute("aria-selected", i === now);
    });
    slider.value = now;
    const name = SIGNS[step.text] ?? step.text;
    says.textContent = `Token ${now + 1} of ${steps().length}. It drew “${name}”, which had probability ${step.p.toFixed(2)}.`;
    while (bars.childElementCount < step.names.length) bars.append(row(bars.childElementCount));
    [...bars.children].forEach((bar, i) => {
      bar.hidden = i >= step.names.length;
      if (bar.hidden) return;
      const [label, track, number] = bar.children;
      label.textContent = SIGNS[step.names[i]] ?? step.names[i];
      track.firstChild.style.width = `${100 * step.ps[i]}%`;
      number.textContent = step.ps[i].toFixed(2);
      bar.classList.toggle("bm-stepper-drawn", step.names[i] === step.text);
      bar.setAttribute("aria-label", `write “${label.textContent}” here instead, probability ${number.textContent}`);
    });
  }
  function row(candidate) {
    const bar = make("button", { type: "button" }, make("span"), make("i", {}, make("b")), make("em"));
    bar.onclick = () => {
      pause();
      model.set("choice", [place(), candidate]);
      model.save_changes();
    };
    return bar;
  }
  function draw() {
    drawText();
    drawPlace();
  }
  model.on("change:steps", draw);
  model.on("change:position", drawPlace);
  draw();
  return () => {
    pause();
    model.off("change:steps", draw);
    model.off("change:position", drawPlace);
  };
}

export default { render };
