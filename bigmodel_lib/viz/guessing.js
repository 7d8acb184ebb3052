// The guessing game: bet on the next word of a story. A click doubles a word's odds; what is revealed goes to the kernel.

const MOST = 12; // clicks on one word: 4096 to 1 is sure enough

const shares = (clicks) => {
  const weights = clicks.map((n) => 2 ** n);
  const total = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / total);
};
const bits = (share) => -Math.log2(share);
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
const average = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;

function render({ model, el }) {
  let story = 0, turn = 0, clicks = [], open = false; // open: what came is shown
  const root = make("div", { class: "bm-toy bm-game" });
  const told = make("p", { class: "bm-told" });
  const rows = make("div", { class: "bm-rows", role: "group", "aria-label": "words to bet on" });
  const says = make("div", { class: "bm-verdict", role: "status", "aria-live": "polite" });
  const reveal = make("button", { type: "button", class: "bm-go" });
  const again = make("button", { type: "button" }, "even odds");
  const scores = make("div", { class: "bm-scores", "aria-label": "scores in bits per word" });
  const receipt = make("div", { class: "bm-receipt", "aria-label": "what each word cost" });
  root.append(told, rows, make("div", { class: "bm-do" }, reveal, again), says, receipt, scores);
  el.append(root);

  const stories = () => model.get("stories");
  const now = () => stories()[story].turns[turn];

  function begin() {
    clicks = now().words.map(() => 0);
    open = false;
    draw();
  }

  function bet(place, step) {
    clicks[place] = Math.max(-MOST, Math.min(MOST, clicks[place] + step));
    draw();
    rows.querySelectorAll(".bm-word")[place].focus({ preventScroll: true });
  }

  function row(word, place, q) {
    const { p, came } = now();
    const button = make("button", { type: "button", class: "bm-word", "aria-label": `double the odds of ${word}, now ${percent(q)}` }, word);
    const less = make("button", { type: "button", class: "bm-less", "aria-label": `halve the odds of ${word}` }, "−");
    const bars = make("span", { class: "bm-bars" }, make("i", { class: "bm-yours", style: `width:${100 * q}%` }));
    const numbers = make("span", { class: "bm-percent" }, percent(q));
    button.onclick = () => bet(place, 1);
    less.onclick = () => bet(place, -1);
    button.disabled = less.disabled = open;
    if (open) {
      bars.append(make("i", { class: "bm-best", style: `width:${100 * p[place]}%` }));
      numbers.append(make("em", {}, ` ${percent(p[place])}`));
    }
    const line = make("div", { class: "bm-row" }, button, less, bars, numbers);
    if (open && place === came) line.classList.add("bm-came");
    return line;
  }

  function bar(name, kind, value, longest) {
    const length = `width:${(100 * value) / longest}%`;
    return make("div", { class: "bm-score" }, make("span", {}, name),
      make("span", { class: "bm-bars" }, make("i", { class: kind, style: length })), make("b", {}, value.toFixed(2)));
  }

  function drawScores() {
    const bets = model.get("bets");
    if (!bets.length) { scores.replaceChildren(); return; }
    const played = bets.map(([s, t]) => stories()[s].turns[t]);
    const yours = average(bets.map(([, , n], i) => bits(shares(n)[played[i].came])));
    const best = average(played.map((t) => bits(t.p[t.came])));
    const even = average(played.map((t) => bits(1 / t.words.length)));
    const longest = Math.max(yours, best, even);
    scores.replaceChildren(make("div", { class: "bm-head" }, `bits per word after ${bets.length} ${bets.length > 1 ? "bets" : "bet"} (fewer is better)`),
      bar("you", "bm-yours", yours, longest), bar("perfection", "bm-best", best, longest), bar("no clicks", "bm-even", even, longest));
  }

  // The story once it's told: under each word that was bet on, your surprise beside perfection's.
  function drawReceipt(whole) {
    receipt.replaceChildren();
    if (!whole) return;
    const { text, turns } = stories()[story];
    const paid = new Map(model.get("bets").filter(([s]) => s === story).map(([, t, n]) => [t, bits(shares(n)[turns[t].came])]));
    const line = make("p", { class: "bm-line" });
    let at = 0, worst = { more: 0 }, best = { more: 0 };
    turns.forEach(({ before, words, came, p }, t) => {
      if (!paid.has(t)) return;
      const start = before.length + (text[before.length] === " " ? 1 : 0);
      const word = words[came], yours = paid.get(t), theirs = bits(p[came]), more = yours - theirs;
      if (more > worst.more) worst = { more, word };
      if (more < best.more) best = { more, word };
      const says = `${word}: you ${yours.toFixed(1)}, perfection ${theirs.toFixed(1)} bits`;
      line.append(...text.slice(at, start).split(/(?<= )/), make("span", { class: "bm-paid", title: says }, word,
        make("span", { class: "bm-towers", role: "img", "aria-label": says },
          make("i", { class: "bm-best", style: `height:${10 * Math.min(theirs, 7)}px` }), make("i", { class: "bm-yours", style: `height:${10 * Math.min(yours, 7)}px` })),
        make("small", {}, `${more < 0 ? "−" : "+"}${Math.abs(more).toFixed(1)}`)));
      at = start + word.length;
    });
    line.append(text.slice(at));
    const gap = [...paid].reduce((sum, [t, yours]) => sum + yours - bits(turns[t].p[turns[t].came]), 0);
    receipt.append(make("div", { class: "bm-head" }, "what each word cost: perfection (blue), you (orange), and the difference in bits"), line,
      make("p", {}, `All together ${gap < 0 ? "you paid" : "your beliefs cost"} ${Math.abs(gap).toFixed(1)} bits ${gap < 0 ? "less than perfection: luck, on this story" : "on top of perfection's"}.`
        + (worst.word ? ` The word that cost you most was “${worst.word}” (+${worst.more.toFixed(1)}).` : "")
        + (best.word ? ` On “${best.word}” you were bolder than the odds, and lucky (−${Math.abs(best.more).toFixed(1)}).` : "")));
  }

  function draw() {
    const { before, words, came, p } = now();
    const q = shares(clicks);
    told.replaceChildren(before + " ", make("b", {}, open ? words[came] : "…?"));
    rows.replaceChildren(...words.map((name, place) => row(name, place, q[place])));
    const last = turn + 1 === stories()[story].turns.length;
    reveal.textContent = !open ? "reveal" : last ? "another story" : "next word";
    again.disabled = open;
    says.textContent = !open ? "Each click doubles a word's odds. What comes next?"
      : `It was “${words[came]}”. Surprise: yours ${bits(q[came]).toFixed(2)} bits, perfection's ${bits(p[came]).toFixed(2)}.`;
    drawReceipt(open && last);
    drawScores();
  }

  reveal.onclick = () => {
    if (!open) {
      open = true;
      const kept = model.get("bets").filter(([s, t]) => s !== story || t !== turn);
      model.set("bets", [...kept, [story, turn, [...clicks]]]);
      model.save_changes();
      draw();
      return;
    }
    turn += 1;
    if (turn === stories()[story].turns.length) {
      turn = 0;
      story = (story + 1) % stories().length;
    }
    begin();
  };
  again.onclick = () => { clicks = clicks.map(() => 0); draw(); };
  model.on("change:bets", drawScores);
  begin();
  return () => { model.off("change:bets", drawScores); root.remove(); };
}

export default { render };
