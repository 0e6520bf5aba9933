// What keys do. A row: keys as shown, what they do, the event's key (or keys), and the action.

export function listenToKeys(rows, dialog) {
  const list = document.getElementById("keys");
  for (const { shown, does } of rows) {
    const term = document.createElement("dt");
    for (const name of shown.split(" ")) {
      const key = document.createElement("kbd");
      key.textContent = name;
      term.append(key, " ");
    }
    const text = document.createElement("dd");
    text.textContent = does;
    list.append(term, text);
  }
  const actions = new Map(rows.flatMap(({ keys, act }) => keys.map((key) => [key, act])));
  document.addEventListener("keydown", (event) => {
    if (dialog.open || event.isComposing) return;
    const target = event.target;
    const isControl = target.matches("input, select, button");
    const name = nameOf(event);
    // a control that has the focus keeps the keys that work it
    if (isControl && [" ", "Enter", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
      if (target.matches("input, select") || event.key === " " || event.key === "Enter") return;
    }
    const act = actions.get(name);
    if (!act) return;
    event.preventDefault();
    act(event);
  });
}

function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const isLetter = key.length > 1 || (key.toLowerCase() !== key.toUpperCase());
  const shift = event.shiftKey && isLetter ? "Shift+" : "";
  return (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + shift + key;
}
