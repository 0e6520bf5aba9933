// What the pointer does on the frame. A tool has down, move and up, which get points of the frame,
// and preview, which draws what is not done yet.
import { cssOf } from "./colours.js";
import { MaskCanvas } from "./masks.js";

const ICONS = {
  hand: "M8 11V5.5a1.5 1.5 0 0 1 3 0V10m0-5.5a1.5 1.5 0 0 1 3 0V10m0-4a1.5 1.5 0 0 1 3 0v8a6 6 0 0 1-6 6c-3 0-4-2-6-6-1-2 1-3 3 0",
  positive: "M12 4v16M4 12h16",
  negative: "M4 12h16",
  box: "M5 5h14v14H5z",
  brush: "M19 4 10 13M9 14c-3 0-3 5-6 5 4 2 9 1 9-3z",
  eraser: "M14 5 20 11 12 19H8L4 15zM9 10l6 6M12 19h8",
  polygon: "M12 3 21 10 17 20H7L3 10z",
  shown: "M2 12c4-8 16-8 20 0-4 8-16 8-20 0zM12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  hidden: "M2 12c4-8 16-8 20 0-4 8-16 8-20 0zM4 20 20 4",
  remove: "M6 6l12 12M18 6 6 18",
  first: "M6 5v14M19 5 9 12l10 7z",
  back: "M16 5 6 12l10 7z",
  play: "M7 4 20 12 7 20z",
  pause: "M8 5v14M16 5v14",
  forward: "M8 5l10 7-10 7z",
  last: "M18 5v14M5 5l10 7-10 7z",
};

export const TOOLS = [
  { name: "positive", key: "c", title: "Include", hint: "click or scribble on the object" },
  { name: "negative", key: "x", title: "Exclude", hint: "click or scribble beside the object" },
  { name: "box", key: "b", title: "Box", hint: "drag a box around the object" },
  { name: "brush", key: "r", title: "Brush", hint: "paint the object" },
  { name: "eraser", key: "e", title: "Eraser", hint: "wipe off the object" },
  { name: "polygon", key: "p", title: "Polygon", hint: "click corners; Enter or a click on the first one closes it" },
  { name: "hand", key: "h", title: "Move", hint: "drag to move, wheel to zoom" },
];

export function iconOf(name) {
  const space = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(space, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  icon.append(path);
  return icon;
}

// work: { view, object(), size(), draw(values), paint(drawn, isAdded) }
export function makeTools(work) {
  const { view } = work;
  const scratch = new MaskCanvas(view.width, view.height);
  const strokeRadius = Math.max(1, Math.min(6, Math.min(view.width, view.height) / 160));
  let points = [];

  const ended = () => {
    const done = points;
    points = [];
    view.draw();
    return done;
  };
  const dragged = {
    down: (point) => { points = [point]; view.draw(); },
    move: (point) => { if (points.length) { points.push(point); view.draw(); } },
    stop: () => { ended(); },
  };
  const outlined = (context, pixel, colour, width) => {
    context.lineWidth = width;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = colour;
    context.beginPath();
    points.forEach(([x, y]) => context.lineTo(x, y));
    if (points.length === 1) context.lineTo(points[0][0] + pixel / 10, points[0][1]);
    context.stroke();
  };

  const scribble = (isPositive) => ({
    ...dragged,
    up() {
      const done = ended();
      const apart = done.filter((p, i) => !i || i === done.length - 1 || i % 2 === 0);
      if (done.length) work.draw({ strokes: [{ points: apart, positive: isPositive, radius: strokeRadius }] });
    },
    preview(context, pixel) {
      const width = Math.max(2 * strokeRadius, 3 * pixel);
      outlined(context, pixel, "#fff", width + 2 * pixel);
      outlined(context, pixel, isPositive ? cssOf(work.object()) : "#111", width);
    },
  });

  const painting = (isAdded) => ({
    ...dragged,
    up() {
      const done = ended();
      if (!done.length) return;
      scratch.clear();
      scratch.line(done, work.size() / 2, "#fff");
      work.paint(scratch.read(), isAdded);
    },
    preview(context, pixel) {
      context.globalAlpha = 0.6;
      outlined(context, pixel, isAdded ? cssOf(work.object()) : "#fff", work.size());
      context.globalAlpha = 1;
    },
  });

  const box = {
    ...dragged,
    up() {
      const done = ended();
      const [first, last] = [done[0], done[done.length - 1]];
      if (first && Math.hypot(last[0] - first[0], last[1] - first[1]) > 2) work.draw({ box: [...first, ...last] });
    },
    preview(context, pixel) {
      if (points.length < 2) return;
      const [[x0, y0], [x1, y1]] = [points[0], points[points.length - 1]];
      for (const [colour, width] of [["#fff", 4], [cssOf(work.object()), 2]]) {
        context.lineWidth = width * pixel;
        context.strokeStyle = colour;
        context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
    },
  };

  const polygon = {
    down(point) {
      const near = 10 / view.scale;
      const [x, y] = points[0] ?? [];
      if (points.length > 2 && Math.hypot(point[0] - x, point[1] - y) < near) this.finish();
      else points.push(point);
      view.draw();
    },
    move() {},
    up() {},
    stop() { ended(); },
    // Whether there was a polygon to close.
    finish() {
      const done = ended();
      if (done.length < 3) return done.length > 0;
      scratch.clear();
      scratch.polygon(done);
      work.paint(scratch.read(), true);
      return true;
    },
    preview(context, pixel) {
      outlined(context, pixel, "#fff", 4 * pixel);
      outlined(context, pixel, cssOf(work.object()), 2 * pixel);
      context.fillStyle = "#fff";
      for (const [x, y] of points) context.fillRect(x - 3 * pixel, y - 3 * pixel, 6 * pixel, 6 * pixel);
    },
  };

  const hand = { down() {}, move() {}, up() {}, stop() {}, preview() {} };
  return {
    positive: scribble(true), negative: scribble(false), box,
    brush: painting(true), eraser: painting(false), polygon, hand,
  };
}
