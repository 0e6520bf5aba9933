// Mouse, pen and fingers on the frame: the tool's drag, moving, the wheel, and two fingers.

// tool: gives the tool in use. isHand: whether it only moves the view.
export function listen(view, tool, isHand, negative) {
  const { canvas } = view;
  const fingers = new Map();
  let inUse = null; // the tool of the drag that is under way
  let isMoving = false;

  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2, size: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
  };

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    fingers.set(event.pointerId, event);
    if (fingers.size > 1) {
      inUse?.stop();
      inUse = null;
      return;
    }
    isMoving = isHand() || event.button === 1;
    if (isMoving) return;
    inUse = event.button === 2 || event.altKey ? negative() : tool();
    inUse.down(view.toFrame(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) {
      const old = spread();
      fingers.set(event.pointerId, event);
      const now = spread();
      const place = canvas.getBoundingClientRect();
      view.pan(now.x - old.x, now.y - old.y);
      view.zoom(now.size / Math.max(old.size, 1), now.x - place.left, now.y - place.top);
      return;
    }
    fingers.set(event.pointerId, event);
    if (isMoving) view.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    else inUse?.move(view.toFrame(event));
  });
  const lift = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    if (event.type === "pointercancel") inUse?.stop();
    else if (!isMoving) inUse?.up(view.toFrame(event));
    if (!fingers.size) {
      inUse = null;
      isMoving = false;
    }
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const place = canvas.getBoundingClientRect();
    view.zoom(Math.exp(-event.deltaY / 400), event.clientX - place.left, event.clientY - place.top);
  }, { passive: false });
}
