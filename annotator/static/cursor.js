// A cross that keys move over the frame, and that presses like a mouse.

export class Cursor {
  isShown = false;
  isPressed = false;

  constructor(view, tool) {
    this.view = view;
    this.tool = tool;
    this.point = [view.width / 2, view.height / 2];
  }

  move(dx, dy) {
    const step = Math.max(1, 8 / this.view.scale);
    const { width, height } = this.view;
    this.isShown = true;
    this.point = [
      Math.max(0, Math.min(width - 1, this.point[0] + dx * step)),
      Math.max(0, Math.min(height - 1, this.point[1] + dy * step)),
    ];
    if (this.isPressed) this.tool().move(this.point);
    this.view.draw();
  }

  // isDragged: the tool draws until the next press.
  press(isDragged) {
    this.isShown = true;
    if (!this.isPressed) this.tool().down(this.point);
    if (this.isPressed || !isDragged) this.tool().up(this.point);
    this.isPressed = isDragged && !this.isPressed;
    this.view.draw();
  }

  release() {
    this.isPressed = this.isShown = false;
    this.view.draw();
  }

  draw(context, pixel) {
    if (!this.isShown) return;
    const [x, y] = this.point;
    for (const [colour, width] of [["#000", 3.5], ["#fff", 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.beginPath();
      context.moveTo(x - 9 * pixel, y);
      context.lineTo(x + 9 * pixel, y);
      context.moveTo(x, y - 9 * pixel);
      context.lineTo(x, y + 9 * pixel);
      context.stroke();
    }
  }
}
