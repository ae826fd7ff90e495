// Keeps what is shown true: waits for changes of the cluster's state by a long poll and says when
// to load again. Slows down in a hidden page; tells when the controller cannot be reached.

import {api, query} from './api.js';

const kLeast = 1000;         // ms between two loads
const kHidden = 60000;       // ms between two loads of a hidden page
const kRetry = [1, 2, 4, 8, 15];  // seconds

/**
 * load(): loads and shows, throws ApiError. changed(): called when `lost` changes.
 * lost: null, or {since, next} in ms while the controller cannot be reached.
 */
export class Live {
  constructor(load, changed) {
    this.load_ = load;
    this.changed_ = changed;
    this.lost = null;
    this.every = 15;  // seconds between loads without a change
    this.version_ = null;
    this.newest_ = 0;
    this.wake_ = () => {};
    this.stop_ = null;
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) {
        if (this.stop_) this.stop_.abort();
      } else {
        this.again();
      }
    });
    window.addEventListener('online', () => this.again());
  }

  start() {
    this.end();
    this.version_ = null;
    const run = this.run_ = {over: false};
    this.loop_(run);
  }

  end() {
    if (this.run_) this.run_.over = true;
    if (this.stop_) this.stop_.abort();
    this.wake_();
    this.lost = null;
  }

  /** Loads now. */
  again() {
    this.asked_ = true;
    if (this.stop_) this.stop_.abort();
    this.wake_();
  }

  async loop_(run) {
    let failures = 0;
    let soon = 0;  // loads that follow a change: reasons are found a moment after it
    while (!run.over) {
      const begin = Date.now();
      this.asked_ = false;
      try {
        if (this.version_ === null) await this.change_(0);  // what changes from here on is seen
        if (run.over) return;
        await this.load_();
        if (run.over) return;
        failures = 0;
        if (this.lost) this.lost = null, this.changed_();
        const cost = Date.now() - begin;
        if (this.asked_) continue;
        if (!document.hidden) {
          const changed = await this.change_(soon ? 2 : this.every);
          soon = changed ? 1 : 0;
          if (!this.asked_) await this.sleep_(Math.max(0, Math.max(kLeast, 3 * cost) - (Date.now() - begin)));
        }
        if (document.hidden && !this.asked_) await this.sleep_(kHidden);
      } catch (e) {
        if (run.over) return;
        if (e.status === 401) return;  // the login page has taken over
        if (this.asked_ && !(e.status === 0 || e.status >= 500)) continue;
        const seconds = kRetry[Math.min(failures++, kRetry.length - 1)];
        this.version_ = null;
        this.lost = {since: this.lost ? this.lost.since : Date.now(), next: Date.now() + seconds * 1000, error: e};
        this.changed_();
        await this.sleep_(seconds * 1000);
      }
    }
  }

  /** Waits for a change, at most so many seconds; whether there was one. */
  async change_(seconds) {
    const stop = this.stop_ = new AbortController();
    const before = this.version_;
    try {
      const answer = await api(`/events${query({after: this.newest_ || null, limit: 1, seen: before, wait: before === null ? 0 : seconds})}`,
                               {signal: stop.signal, seconds: seconds + 15});
      if (answer.events.length) this.newest_ = answer.events[0].number;
      this.version_ = answer.version;
      return answer.version !== before;
    } catch (e) {
      if (stop.signal.aborted) return false;
      throw e;
    } finally {
      this.stop_ = null;
    }
  }

  sleep_(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake_ = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
