// The chat: a story and a question to change by hand, three buttons, and what two models said, side by side.
// The kernel computes all replies; what is typed travels with the button that is pressed.

const TASKS = [["question", "ask"], ["summary", "summarise"], ["chinese", "translate"]];

function render({ model, el }) {
  let presses = 0;
  const story = make("textarea", { rows: 4, "aria-label": "the story", spellcheck: "false" });
  const question = make("input", { type: "text", "aria-label": "your question", spellcheck: "false" });
  const says = make("div", { class: "bm-chat-says", role: "status", "aria-live": "polite" });
  const turns = make("div", { class: "bm-chat-turns", role: "log", "aria-label": "what was asked and said", tabindex: "0" });
  const row = make("div", { class: "bm-chat-row" }, question);
  const buttons = TASKS.map(([task, words]) => {
    const button = make("button", { type: "button" }, words);
    button.onclick = () => press(task);
    row.append(button);
    return button;
  });
  const form = deafen(make("div", { class: "bm-chat-form" }, make("label", {}, "The story, yours to change", story), row));
  el.append(make("div", { class: "bm-toy bm-chat" }, form, says, turns));

  function press(task) {
    says.textContent = "Both models are reading …";
    buttons.forEach((button) => { button.disabled = true; });
    presses += 1;
    model.set("wish", { do: task, story: story.value, question: question.value, press: presses });
    model.save_changes();
  }
  question.onkeydown = (event) => { if (event.key === "Enter" && !buttons[0].disabled) press("question"); };

  function bubble(name, { read, said }, colour) {
    const words = make("p", {}, said || "(nothing)");
    const details = make("details", {}, make("summary", {}, "what it read"), read);
    return make("div", { class: `bm-chat-bubble ${colour}` }, make("small", {}, name), words, details);
  }
  function ready() {
    buttons.forEach((button) => { button.disabled = false; });
  }
  function drawTurns() {
    const all = model.get("turns").map((turn) => make("div", { class: "bm-chat-turn" }, make("p", { class: "bm-chat-you" }, `You: ${turn.asked}`),
      make("div", { class: "bm-chat-pair" }, bubble("before fine-tuning", turn.before, "bm-chat-before"), bubble("after fine-tuning", turn.after, "bm-chat-after"))));
    turns.replaceChildren(...all);
    turns.scrollTop = turns.scrollHeight;
    says.textContent = "";
    ready();
  }
  function drawTrouble() {
    if (!model.get("trouble")) return;
    says.textContent = model.get("trouble");
    ready();
  }
  function drawForm() {
    story.value = model.get("story");
    question.value = model.get("question");
  }
  model.on("change:turns", drawTurns);
  model.on("change:trouble", drawTrouble);
  drawForm();
  drawTurns();
  return () => {
    model.off("change:turns", drawTurns);
    model.off("change:trouble", drawTrouble);
  };
}

export default { render };
