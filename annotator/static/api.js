// Requests to the server, and the state that all tabs share. Addresses are relative to the page's,
// whose path holds the token.

async function answer(response) {
  if (response.ok) return response;
  let text = `the server answers ${response.status}`;
  try {
    text = (await response.json()).error ?? text;
  } catch { /* not of our making: the status says enough */ }
  throw new Error(text);
}

export async function get(path) {
  return answer(await fetch(`api/${path}`));
}

export class Store extends EventTarget {
  state = null;

  // Show a state, unless it is older than the one that is shown.
  take(state) {
    if (this.state && state.revision < this.state.revision) return;
    this.state = { ...state };
    this.dispatchEvent(new Event("change"));
  }

  // Make a change; the answer holds the state after it. body: bytes, or values.
  async post(path, body = {}) {
    const content = body instanceof Uint8Array ? body : JSON.stringify(body);
    const response = await answer(await fetch(`api/${path}`, { method: "POST", body: content }));
    const state = await response.json();
    this.take(state);
    return state;
  }

  // Follow the state for good. lost, found: called when the server cannot be reached, and again.
  async follow(lost, found) {
    let isLost = false;
    for (;;) {
      if (document.hidden) {
        await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
      }
      try {
        const after = this.state && !isLost ? `?after=${this.state.revision}` : "";
        const state = await (await get(`state${after}`)).json();
        if (isLost) this.state = null;
        if (isLost) found();
        isLost = false;
        this.take(state);
      } catch (error) {
        if (!isLost) lost(error);
        isLost = true;
        await new Promise((done) => setTimeout(done, 1500));
      }
    }
  }
}
