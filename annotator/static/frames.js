// Images and labels of frames, kept up to a bound in the order of use.
import { get } from "./api.js";

class Kept {
  #values = new Map();

  constructor(count, forget = () => {}) {
    this.count = count;
    this.forget = forget;
  }

  get(key, make) {
    let value = this.#values.get(key);
    if (value === undefined) {
      value = make();
      value.catch(() => this.#values.delete(key));
    }
    this.#values.delete(key);
    this.#values.set(key, value);
    while (this.#values.size > this.count) {
      const [oldest, old] = this.#values.entries().next().value;
      this.#values.delete(oldest);
      old.then(this.forget, () => {});
    }
    return value;
  }
}

export class Frames {
  constructor(width, height) {
    // about 200 MB of pixels, at least a few frames
    const count = Math.max(6, Math.min(60, Math.floor(200e6 / (4 * width * height))));
    this.images = new Kept(count);
    this.masks = new Kept(count);
  }

  image(frame) {
    return this.images.get(frame, async () => {
      const response = await get(`frames/${frame}.jpg`);
      return createImageBitmap(await response.blob());
    });
  }

  // Labels, a byte a pixel, of a state's revision.
  labels(frame, revision) {
    return this.masks.get(`${frame} ${revision}`, async () => {
      const response = await get(`labels/${frame}`);
      return new Uint8Array(await response.arrayBuffer());
    });
  }
}
