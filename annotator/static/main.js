// The page: what it shows of the state, and what its controls do.
import { Store } from "./api.js";
import { Cursor } from "./cursor.js";
import { Frames } from "./frames.js";
import { listenToKeys } from "./keyboard.js";
import { packed } from "./masks.js";
import { element, note, showObjects, showRun, showSuggested, showTools, showTransport } from "./panel.js";
import { listen } from "./pointer.js";
import { Timeline } from "./timeline.js";
import { makeTools, TOOLS } from "./tools.js";
import { View } from "./view.js";

const store = new Store();
const own = { frame: 0, object: 1, tool: "positive", suggested: [], isPlaying: false, isFollowing: false, added: null };
let view, frames, tools, cursor, timeline;
let asked = 0; // number of the latest request for a frame; older ones are not shown any more

const state = () => store.state;

// Frames

function go(frame) {
  own.frame = Math.max(0, Math.min(state().frame_count - 1, frame));
  own.isFollowing = false;
  for (const tool of Object.values(tools)) tool.stop();
  showState();
  return showFrame();
}

async function showFrame() {
  const mine = ++asked;
  const { frame } = own;
  const { revision } = state();
  try {
    const [image, labels] = await Promise.all([frames.image(frame), frames.labels(frame, revision)]);
    if (mine !== asked) return;
    view.show(image, labels);
    document.body.dataset.shown = `${frame} ${revision}`;
  } catch (error) {
    if (mine === asked) note(error.message, true);
  }
}

async function play() {
  own.isPlaying = !own.isPlaying;
  if (own.isPlaying && own.frame === state().frame_count - 1) own.frame = -1;
  showState();
  while (own.isPlaying && own.frame < state().frame_count - 1) {
    const due = performance.now() + 1000 / state().frames_per_second;
    const ahead = Math.min(own.frame + 4, state().frame_count - 1);
    frames.image(ahead).catch(() => {});
    frames.labels(ahead, state().revision).catch(() => {});
    await go(own.frame + 1);
    await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
  }
  own.isPlaying = false;
  showState();
}

function goToAnnotated(direction) {
  const given = Object.keys(state().annotations).map(Number);
  const there = given.filter((frame) => (frame - own.frame) * direction > 0);
  if (there.length) go(direction > 0 ? Math.min(...there) : Math.max(...there));
}

// Changes

async function post(path, body) {
  try {
    return await store.post(path, body);
  } catch (error) {
    note(error.message, true);
    return null;
  }
}

// Changes are made one after another, each on what the one before gave.
let latest = Promise.resolve();
function change(path, body) {
  return inTurn(() => post(path, body));
}

function inTurn(make) {
  document.body.classList.add("busy");
  const mine = latest.then(make).catch((error) => {
    note(error.message, true);
    return null;
  });
  latest = mine;
  mine.then(() => { if (latest === mine) document.body.classList.remove("busy"); });
  return mine;
}

const work = {
  object: () => own.object,
  size: () => Number(element("size").value),
  draw: (values) => change("draw", { frame: own.frame, object: own.object, strokes: [], ...values }),
  paint(drawn, isAdded) {
    const { frame, object } = own;
    return inTurn(async () => {
      const labels = await frames.labels(frame, state().revision);
      return post(`masks/${frame}/${object}`, packed(drawn, labels, object, isAdded));
    });
  },
};

const undo = () => change("undo");
const redo = () => change("redo");
const propagate = () => post("propagate");
const cancel = () => post("cancel");
const removeAnnotation = () => change("remove_annotation", { frame: own.frame });

async function suggest() {
  const answer = await change("suggest", { by: element("suggest_by").value, count: 3 });
  if (!answer) return;
  own.suggested = answer.suggested;
  if (!own.suggested.length) note("all frames are annotated");
  showState();
}

async function exportResults() {
  note("exporting…");
  const answer = await change("export", { overlay: element("with_overlay").checked });
  if (answer) note(`exported to ${answer.exported}`);
}

// Objects

function addObject() {
  const used = new Set(state().object_ids);
  let id = 1;
  while (used.has(id)) id++;
  if (id > 255) return note("there are 255 objects already", true);
  own.added = own.object = id;
  own.isAutomatic = false;
  showState();
}

function chooseObject(id) {
  own.object = id;
  showState();
}

function toggleObject(id) {
  view.hidden.has(id) ? view.hidden.delete(id) : view.hidden.add(id);
  showState();
  view.paint();
}

function removeObject(id) {
  if (state().object_ids.includes(id)) change("remove_object", { object: id });
  else own.added = null;
  showState();
}

function chooseTool(name) {
  for (const tool of Object.values(tools)) tool.stop();
  cursor.isPressed = false;
  own.tool = name;
  showState();
}

// What is shown

function showState() {
  const { object_ids: known, annotations, propagation, pending, frame_count: count } = state();
  if (known.includes(own.added) || (own.isAutomatic && known.length)) own.added = null;
  const ids = [...new Set([...known, ...(own.added ? [own.added] : [])])].sort((a, b) => a - b);
  if (!ids.length) {
    ids.push((own.added = 1));
    own.isAutomatic = true;
  }
  if (!ids.includes(own.object)) own.object = ids[ids.length - 1];
  showTools(own.tool, chooseTool);
  showObjects(ids, own.object, known, view.hidden, { choose: chooseObject, toggle: toggleObject, remove: removeObject });
  showSuggested(own.suggested, go);
  showRun(propagation, pending);
  element("undo").disabled = !state().can_undo;
  element("redo").disabled = !state().can_redo;
  element("export").disabled = propagation.running || !known.length || pending.length > 0;
  element("suggest").disabled = propagation.running || !known.length;
  element("remove_annotation").disabled = !(own.frame in annotations);
  element("position").textContent = `${own.frame} / ${count - 1}`;
  showTransport(own.isPlaying);
  element("hint").textContent = TOOLS.find(({ name }) => name === own.tool).hint;
  timeline.show(state(), own.frame, own.suggested);
}

let lastError = null;
let wasRunning = false;
function onChange() {
  const { propagation, annotations } = state();
  own.suggested = own.suggested.filter((frame) => !(frame in annotations));
  if (propagation.error && propagation.error !== lastError) note(propagation.error, true);
  lastError = propagation.error;
  const { running, frame } = propagation;
  if (running && !wasRunning) own.isFollowing = element("follow").checked; // until the user moves
  wasRunning = running;
  if (running && own.isFollowing && frame !== null) own.frame = frame;
  showState();
  showFrame();
}

// Start

function keys() {
  const at = (dx, dy) => () => cursor.move(dx, dy);
  const range = (id, by) => () => {
    element(id).value = Number(element(id).value) + by;
    element(id).dispatchEvent(new Event("input"));
  };
  const finish = () => { if (!tools.polygon.finish()) propagate(); };
  const stop = () => {
    for (const tool of Object.values(tools)) tool.stop();
    cursor.release();
    own.isPlaying = false;
    if (state().propagation.running) cancel();
  };
  const row = (shown, does, keys, act) => ({ shown, does, keys, act });
  const byNumber = (event) => {
    const id = Number(event.key);
    if (state().object_ids.includes(id)) chooseObject(id);
  };
  return [
    row("← →", "previous, next frame; with Shift ten frames", ["ArrowLeft", "ArrowRight", "Shift+ArrowLeft", "Shift+ArrowRight"],
      (e) => go(own.frame + (e.key === "ArrowLeft" ? -1 : 1) * (e.shiftKey ? 10 : 1))),
    row("Home End", "first, last frame", ["Home", "End"], (e) => go(e.key === "Home" ? 0 : Infinity)),
    row(", .", "previous, next annotated frame", [",", "."], (e) => goToAnnotated(e.key === "," ? -1 : 1)),
    row("Space", "play, pause", [" "], play),
    ...TOOLS.map(({ key, title, hint }) => row(key.toUpperCase(), `${title}: ${hint}`, [key], () => chooseTool(TOOLS.find((t) => t.key === key).name))),
    row("W A S D", "move a cross over the frame", ["w", "a", "s", "d"],
      (e) => at(...{ w: [0, -1], a: [-1, 0], s: [0, 1], d: [1, 0] }[e.key.toLowerCase()])()),
    row("F", "use the tool at the cross; brush, eraser and box until the next F", ["f"],
      () => {
        own.isFollowing = false;
        cursor.press(["box", "brush", "eraser"].includes(own.tool));
      }),
    row("[ ]", "smaller, larger brush", ["[", "]"], (e) => range("size", e.key === "[" ? -2 : 2)()),
    row("Enter", "close the polygon, or propagate", ["Enter"], finish),
    row("Escape", "leave off drawing, playing and propagating", ["Escape"], stop),
    row("Ctrl+Z", "undo", ["Ctrl+z"], undo),
    row("Ctrl+Shift+Z Ctrl+Y", "redo", ["Ctrl+Shift+z", "Ctrl+y"], redo),
    row("1 … 9", "choose an object", [..."123456789"], byNumber),
    row("N", "new object", ["n"], addObject),
    row("V", "hide or show the object", ["v"], () => toggleObject(own.object)),
    row("Shift+Delete", "delete the object in all frames", ["Shift+Delete"], () => removeObject(own.object)),
    row("Delete", "remove the annotation of this frame", ["Delete"], removeAnnotation),
    row("+ −", "zoom", ["+", "=", "-"], (e) => view.zoom(e.key === "-" ? 0.8 : 1.25)),
    row("0", "the whole frame", ["0"], () => view.fit()),
    row("O Shift+O", "more, less opacity", ["o", "Shift+o"], (e) => range("opacity", e.shiftKey ? -10 : 10)()),
    row("G", "suggest frames to annotate", ["g"], suggest),
    row("Ctrl+S", "export", ["Ctrl+s"], exportResults),
    row("?", "this list", ["?"], () => element("help").showModal()),
  ];
}

function connect() {
  const clicks = {
    undo, redo, propagate, cancel, suggest, play, export: exportResults,
    add_object: addObject, remove_annotation: removeAnnotation,
    first: () => go(0), back: () => go(own.frame - 1),
    forward: () => go(own.frame + 1), last: () => go(Infinity),
    help_button: () => element("help").showModal(), close_help: () => element("help").close(),
  };
  for (const [id, act] of Object.entries(clicks)) element(id).addEventListener("click", () => act());
  const shown = () => {
    view.opacity = Number(element("opacity").value) / 100;
    view.outline = element("outline").checked;
    element("opacity_value").textContent = `${element("opacity").value}%`;
    element("size_value").textContent = element("size").value;
    view.paint();
  };
  for (const id of ["opacity", "outline", "size"]) element(id).addEventListener("input", shown);
  shown();
  listenToKeys(keys(), element("help"));
}

function start() {
  const { width, height, name } = state();
  document.title = element("name").textContent = name;
  element("name").title = state().folder;
  frames = new Frames(width, height);
  view = new View(element("view"), width, height);
  work.view = view;
  tools = makeTools(work);
  const tool = () => tools[own.tool];
  cursor = new Cursor(view, tool);
  view.preview = (context, pixel) => {
    tool().preview(context, pixel);
    cursor.draw(context, pixel);
  };
  timeline = new Timeline(element("timeline"), go);
  listen(view, tool, () => own.tool === "hand", () => tools.negative);
  element("view").addEventListener("pointerdown", () => { own.isFollowing = false; });
  connect();
  store.addEventListener("change", onChange);
  onChange();
}

store.addEventListener("change", start, { once: true });
store.follow(
  () => note("the server does not answer; start it again, and open the address that it prints", true),
  () => note("the server answers again"),
);
