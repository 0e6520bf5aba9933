// Masks as the brush and the polygon make them: drawn on a canvas, then read as bits.

export class MaskCanvas {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.canvas = new OffscreenCanvas(width, height);
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context.translate(0.5, 0.5); // points are centres of pixels
  }

  clear() {
    this.context.clearRect(-1, -1, this.width + 2, this.height + 2);
  }

  line(points, radius, colour) {
    const { context } = this;
    context.strokeStyle = context.fillStyle = colour;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * radius;
    context.beginPath();
    points.forEach(([x, y]) => context.lineTo(x, y));
    if (points.length === 1) context.arc(...points[0], radius, 0, 2 * Math.PI);
    points.length === 1 ? context.fill() : context.stroke();
  }

  polygon(points) {
    const { context } = this;
    context.fillStyle = "#fff";
    context.beginPath();
    points.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.fill();
  }

  // What is drawn: the alpha of pixel i is at 4 * i + 3.
  read() {
    return this.context.getImageData(0, 0, this.width, this.height).data;
  }
}

// The bits of an object's mask after what is drawn was added to it, or taken from it.
export function packed(drawn, labels, id, isAdded) {
  const bits = new Uint8Array(Math.ceil(labels.length / 8));
  for (let at = 0; at < labels.length; at++) {
    const isDrawn = drawn[4 * at + 3] >= 128;
    const isInside = isDrawn ? isAdded : labels[at] === id;
    if (isInside) bits[at >> 3] |= 128 >> (at & 7);
  }
  return bits;
}
