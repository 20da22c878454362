// Unfinished drawings, kept in this browser until the server has them: one a task, episode and annotator.

const EVERY_MS = 250; // while a stroke goes on: little to lose, and writing a few kilobytes takes less than a millisecond
const FORMAT = 1;

const keyOf = ({ task_id, user }, episodeId) => ["armchair:draft", task_id, user, episodeId].map(encodeURIComponent).join("/");

export class Draft {
  #key;
  #timer = 0;
  #latest = null; // () => content that is not written yet

  /**
   * @param {object} session Session of the server's API
   * @param {string} episodeId
   * @param {(message: string) => void} onProblem the browser refuses to keep it
   */
  constructor(session, episodeId, onProblem = () => {}) {
    this.#key = keyOf(session, episodeId);
    this.onProblem = onProblem;
  }

  /** What was kept, {curve, comment, seconds, savedAt (Unix ms)}, or null. */
  load() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key));
      return kept?.format === FORMAT ? kept : null;
    } catch {
      return null;
    }
  }

  /** Keeps what `content()` gives, within a quarter of a second: it is asked then, and once for many calls. */
  soon(content) {
    this.#latest = content;
    this.#timer ||= setTimeout(() => this.flush(), EVERY_MS);
  }

  /** Writes what `soon` put off, now. */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (!this.#latest) return;
    const content = this.#latest();
    this.#latest = null;
    try {
      localStorage.setItem(this.#key, JSON.stringify({ format: FORMAT, savedAt: Date.now(), ...content }));
    } catch {
      this.onProblem("This browser keeps no drafts (its storage is full or off): save before you close the page.");
    }
  }

  /** The server has it, or nobody wants it: nothing is kept any more. */
  remove() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#latest = null;
    localStorage.removeItem(this.#key);
  }
}
