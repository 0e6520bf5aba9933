// The frame with its masks: drawing, zoom and pan. Points are in pixels of the frame, with (0, 0)
// the centre of the upper left one.
import { colourOf } from "./colours.js";

export class View {
  constructor(canvas, width, height) {
    this.canvas = canvas;
    this.width = width;
    this.height = height;
    this.image = null;
    this.labels = null;
    this.hidden = new Set();
    this.opacity = 0.5;
    this.outline = true;
    this.preview = () => {};
    this.overlay = new OffscreenCanvas(width, height);
    this.isWaiting = false;
    this.fit();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.canvas.clientWidth * ratio);
    this.canvas.height = Math.round(this.canvas.clientHeight * ratio);
    if (this.isFitted) this.fit();
    this.draw();
  }

  fit() {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.scale = Math.max(1e-3, Math.min((w - 16) / this.width, (h - 16) / this.height));
    this.left = (w - this.scale * this.width) / 2;
    this.top = (h - this.scale * this.height) / 2;
    this.isFitted = true;
    this.draw();
  }

  // x, y: of the canvas, in CSS pixels, which stay where they are.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const scale = Math.max(0.05, Math.min(60, this.scale * factor));
    this.left = x - ((x - this.left) * scale) / this.scale;
    this.top = y - ((y - this.top) * scale) / this.scale;
    this.scale = scale;
    this.isFitted = false;
    this.draw();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.isFitted = false;
    this.draw();
  }

  toFrame(event) {
    const place = this.canvas.getBoundingClientRect();
    return [
      (event.clientX - place.left - this.left) / this.scale - 0.5,
      (event.clientY - place.top - this.top) / this.scale - 0.5,
    ];
  }

  show(image, labels) {
    this.image = image;
    this.labels = labels;
    this.paint();
  }

  // Colour the labels; then draw.
  paint() {
    if (!this.labels) return;
    const { width, height, labels } = this;
    const data = new ImageData(width, height);
    const words = new Uint32Array(data.data.buffer);
    const fill = new Uint32Array(256), edge = new Uint32Array(256);
    for (let id = 1; id < 256; id++) {
      if (this.hidden.has(id)) continue;
      const [r, g, b] = colourOf(id);
      const colour = (b << 16) | (g << 8) | r;
      fill[id] = ((Math.round(255 * this.opacity) << 24) | colour) >>> 0;
      edge[id] = this.outline ? ((255 << 24) | colour) >>> 0 : fill[id];
    }
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const id = labels[at];
        if (!id) continue;
        const isEdge =
          (x > 0 && labels[at - 1] !== id) || (x < width - 1 && labels[at + 1] !== id) ||
          (y > 0 && labels[at - width] !== id) || (y < height - 1 && labels[at + width] !== id);
        words[at] = isEdge ? edge[id] : fill[id];
      }
    }
    this.overlay.getContext("2d").putImageData(data, 0, 0);
    this.draw();
  }

  draw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.#drawNow();
    });
  }

  #drawNow() {
    const context = this.canvas.getContext("2d");
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const scale = this.scale * ratio;
    context.setTransform(scale, 0, 0, scale, this.left * ratio, this.top * ratio);
    if (this.image) {
      context.imageSmoothingEnabled = this.scale < 3;
      context.drawImage(this.image, 0, 0, this.width, this.height);
      context.drawImage(this.overlay, 0, 0);
    }
    context.translate(0.5, 0.5); // centres of pixels
    this.preview(context, 1 / this.scale);
  }
}
