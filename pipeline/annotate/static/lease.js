// What the page holds while a person draws: the episode's lease, kept alive, and the time that was really spent.

const RENEWALS = 3; // a lease's life: one may be lost on the way, the next still comes in time
const AGAIN_MS = 4000; // until the next try while the server does not answer
const IDLE_MS = 60_000; // without pointer, keys or film, until the time stops

/** Keeps a lease alive while somebody works on the episode. */
export class LeaseKeeper {
  #timer = 0;
  #over = false;

  /**
   * @param {object} api the server
   * @param {object} lease {lease_id, episode_id, seconds}
   * @param {object} hooks `isActive()`: whether anybody works here; `onLost(error)`: it is somebody else's now;
   *   `onTrouble(error)`: it can't be renewed at the moment, or null: it can again
   */
  constructor(api, lease, { isActive, onLost, onTrouble }) {
    Object.assign(this, { api, lease, isActive, onLost, onTrouble, troubled: false });
    this.#later((lease.seconds * 1000) / RENEWALS);
  }

  get id() {
    return this.lease.lease_id;
  }

  /** Renews it now. */
  async renew() {
    if (this.#over) return;
    let wait = (this.lease.seconds * 1000) / RENEWALS;
    try {
      // Whoever walked away leaves the episode to others; an expired lease that nobody took can still be renewed.
      if (this.isActive() || this.troubled) await this.api.put(`/leases/${this.id}`);
      if (this.troubled && !this.#over) this.onTrouble(null);
      this.troubled = false;
    } catch (error) {
      if (this.#over) return;
      if (error.code === "stale_lease") {
        this.#over = true;
        return this.onLost(error);
      }
      this.troubled = true;
      wait = AGAIN_MS;
      this.onTrouble(error);
    }
    if (!this.#over) this.#later(wait);
  }

  /** Stops renewing; the server has consumed it, or somebody else has it. */
  stop() {
    this.#over = true;
    clearTimeout(this.#timer);
  }

  /** Gives the episode back. */
  release() {
    if (this.#over) return;
    this.stop();
    this.api.delete(`/leases/${this.id}`).catch(() => {}); // it expires by itself
  }

  #later(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.renew(), ms);
  }
}

/** Seconds of work: they stop while the page is hidden, and a minute after the last sign of life. */
export class Activity {
  #total = 0; // ms
  #last = performance.now();
  #stopping = new AbortController();

  constructor(seconds = 0) {
    this.#total = seconds * 1000;
    const options = { capture: true, passive: true, signal: this.#stopping.signal };
    for (const type of ["pointermove", "pointerdown", "keydown", "wheel"]) document.addEventListener(type, () => this.touch(), options);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.touch() : (this.#last = performance.now())), options);
  }

  get seconds() {
    return (this.#total + this.#since()) / 1000;
  }

  get active() {
    return !document.hidden && performance.now() - this.#last < IDLE_MS;
  }

  /** A sign of life. */
  touch() {
    this.#total += this.#since();
    this.#last = performance.now();
  }

  stop() {
    this.touch();
    this.#stopping.abort();
  }

  #since() {
    return document.hidden ? 0 : Math.min(performance.now() - this.#last, IDLE_MS);
  }
}
