// The lists and buttons around the frame. All texts are set as text, never as markup.
import { cssOf } from "./colours.js";
import { iconOf, TOOLS } from "./tools.js";

export const element = (id) => document.getElementById(id);

export function make(tag, { text, title, ...rest } = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (title) {
    made.title = title;
    made.setAttribute("aria-label", title);
  }
  Object.assign(made, rest);
  made.append(...children);
  return made;
}

// Replace what an element shows, but only if it would look different: a list that is made again
// while a button is pressed swallows the click.
const shown = new Map();
function replace(id, look, makeChildren) {
  const signature = JSON.stringify(look);
  if (shown.get(id) === signature) return;
  shown.set(id, signature);
  element(id).replaceChildren(...makeChildren());
}

// Tell something for a while; the same words are not repeated.
export function note(text, isError = false) {
  const notes = element("notes");
  for (const old of notes.children) if (old.textContent === text) old.remove();
  const shown = make("div", { text, className: isError ? "error" : "" });
  notes.append(shown);
  setTimeout(() => shown.remove(), isError ? 8000 : 4000);
  return shown;
}

export function showTools(current, choose) {
  replace("tools", current, () => TOOLS.map(({ name, title, key, hint }) => {
    const button = make("button", { onclick: () => choose(name) }, iconOf(name), title);
    button.title = `${title}: ${hint} (${key.toUpperCase()})`;
    button.setAttribute("aria-pressed", String(name === current));
    button.dataset.tool = name;
    return button;
  }));
}

export function showTransport(isPlaying) {
  for (const id of ["first", "back", "forward", "last"]) replace(id, id, () => [iconOf(id)]);
  const name = isPlaying ? "pause" : "play";
  replace("play", name, () => [iconOf(name)]);
}

// ids: of objects; those not drawn yet included.
export function showObjects(ids, current, drawn, hidden, { choose, toggle, remove }) {
  replace("objects", [ids, current, drawn, [...hidden]], () => ids.map((id) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = cssOf(id);
    const label = drawn.includes(id) ? `Object ${id}` : `Object ${id} (new)`;
    const pick = make("button", { className: "choose", onclick: () => choose(id) }, swatch, label);
    const isHidden = hidden.has(id);
    const eye = make("button", {
      className: `icon${isHidden ? " off" : ""}`, onclick: () => toggle(id),
      title: `${isHidden ? "Show" : "Hide"} object ${id}`,
    }, iconOf(isHidden ? "hidden" : "shown"));
    const bin = make("button", {
      className: "icon", onclick: () => remove(id), title: `Delete object ${id} in all frames`,
    }, iconOf("remove"));
    const item = make("li", { className: id === current ? "current" : "" }, pick, eye, bin);
    item.dataset.object = id;
    return item;
  }));
}

export function showSuggested(frames, go) {
  replace("suggested", frames, () => frames.map((frame) =>
    make("button", { text: String(frame), onclick: () => go(frame), title: `Go to frame ${frame}` })));
}

export function showRun({ running, done, total, frames_per_second: pace, seconds_left: left }, pending) {
  element("propagate").hidden = running;
  element("propagate").disabled = !pending.length;
  element("cancel").hidden = element("progress").hidden = !running;
  element("progress").value = running && total ? done / total : 0;
  const waiting = pending.reduce((sum, [start, stop]) => sum + stop - start, 0);
  if (running && total) {
    element("pace").textContent = `${done} / ${total} · ${pace.toFixed(1)} frames/s · ${duration(left)} left`;
  } else if (running) {
    element("pace").textContent = "starting…";
  } else {
    element("pace").textContent = waiting ? `${waiting} frames pending` : "";
  }
}

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
