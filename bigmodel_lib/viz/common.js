// What the scripts of all widgets share; it comes before each of them. Nothing is fetched from anywhere.

const SIGNS = { " ": "␣", "\n": "⏎", "\t": "⇥" }; // how a token that can't be seen is shown

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

