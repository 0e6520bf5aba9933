// The strip of all frames: annotated, with results, pending, suggested; a click goes there.

export class Timeline {
  constructor(canvas, go) {
    this.canvas = canvas;
    this.state = null;
    this.frame = 0;
    this.suggested = [];
    const seek = (event) => {
      if (!this.state || !(event.buttons & 1)) return;
      const place = canvas.getBoundingClientRect();
      const share = (event.clientX - place.left) / place.width;
      go(Math.floor(share * this.state.frame_count));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    });
    canvas.addEventListener("pointermove", seek);
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(state, frame, suggested) {
    Object.assign(this, { state, frame, suggested });
    this.draw();
  }

  draw() {
    const { canvas, state } = this;
    if (!state) return;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    canvas.setAttribute("aria-valuemin", "0");
    canvas.setAttribute("aria-valuemax", String(state.frame_count - 1));
    canvas.setAttribute("aria-valuenow", String(this.frame));
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const styles = getComputedStyle(document.documentElement);
    const colour = (name) => styles.getPropertyValue(name).trim();
    const step = w / state.frame_count;
    const strip = (start, stop, name, top, height) => {
      context.fillStyle = colour(name);
      context.fillRect(start * step, top, Math.max((stop - start) * step, 1), height);
    };
    strip(0, state.frame_count, "--ground", 0, h);
    strip(0, state.frame_count, "--line", 15, h - 21);
    for (const [start, stop] of state.with_results) strip(start, stop, "--done", 15, h - 21);
    for (const [start, stop] of state.pending) strip(start, stop, "--pending", 15, h - 21);
    const { running, frame } = state.propagation;
    const marker = (at, name) => {
      const x = (Number(at) + 0.5) * step;
      context.fillStyle = colour(name);
      context.beginPath();
      context.roundRect(x - Math.max(step / 2 - 0.5, 3), 3, Math.max(step - 1, 6), h - 9, 3);
      context.fill();
    };
    this.suggested.forEach((at) => marker(at, "--suggested"));
    Object.keys(state.annotations).forEach((at) => marker(at, "--given"));
    if (running && frame !== null) strip(frame, frame + 1, "--accent", 12, h - 15);
    const x = (this.frame + 0.5) * step;
    context.strokeStyle = colour("--text");
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, h);
    context.stroke();
  }
}
