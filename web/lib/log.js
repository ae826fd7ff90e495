// A log as it is written: read from a stream, a bounded number of lines kept, drawn once a frame.

import {Ansi} from './ansi.js';
import {logAddress} from './api.js';
import {number} from './format.js';

const kLines = 5000;        // kept
const kTail = 256 << 10;    // bytes to begin with
const kWaits = [1, 2, 4, 8];  // seconds before the next try

export class LogView {
  /** tell(status): {text, lines, missed, over}, called when it changes. */
  constructor(pre, tell) {
    this.pre_ = pre;
    this.tell_ = tell;
    this.lines_ = [];       // not drawn yet
    this.paused = false;
    this.missed_ = 0;       // lines that came while paused
    this.count_ = 0;
    this.follow_ = true;    // the end is in sight
    pre.addEventListener('scroll', () => {
      this.follow_ = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 30;
    });
    this.seen_ = () => this.visible_();
    document.addEventListener('visibilitychange', this.seen_);
  }

  /** Shows this log from its last part on, and what comes. source: {id, attempt, rank}. */
  show(source) {
    this.source = source;
    this.begin_();
  }

  begin_() {
    this.stop_();
    this.failures_ = 0;
    this.stopper_ = new AbortController();
    this.read_(this.stopper_.signal);
  }

  stop_() {
    if (this.stopper_) this.stopper_.abort();
    this.stopper_ = null;
    clearTimeout(this.again_);
  }

  end() {
    this.stop_();
    document.removeEventListener('visibilitychange', this.seen_);
  }

  pause(on) {
    this.paused = on;
    if (!on && this.stale_) this.begin_();  // it was given up while the page was hidden
    this.missed_ = 0;
    this.status_();
    this.later_();
    if (!on) this.bottom_();
  }

  // A hidden page does not hold a connection: browsers have few of them for all pages together.
  visible_() {
    clearTimeout(this.hide_);
    if (document.hidden) {
      this.hide_ = setTimeout(() => {
        if (!this.over_ && this.stopper_) this.stop_(), this.stale_ = true;
      }, 10000);
    } else if (this.stale_ && !this.paused) {
      this.begin_();
    }
  }

  clear_() {
    this.pre_.replaceChildren();
    this.lines_ = [], this.fresh_ = false;
    this.count_ = 0, this.missed_ = 0, this.follow_ = true;
  }

  async read_(signal) {
    this.over_ = false, this.stale_ = false;
    const ansi = new Ansi(), decoder = new TextDecoder();
    try {
      const {id, attempt, rank} = this.source;
      this.state_ = 'connecting …';
      this.status_();
      const response = await fetch(logAddress(id, {attempt, rank, tail: kTail, follow: 1}),
                                   {signal, cache: 'no-store', credentials: 'same-origin'});
      if (!response.ok) throw await this.failure_(response);
      if (this.paused) this.lines_ = [], this.fresh_ = true;  // what is read stands until it goes on
      else this.clear_();
      this.failures_ = 0;
      this.state_ = 'following';
      this.status_();
      const reader = response.body.getReader();
      for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        this.add_(ansi.push(decoder.decode(value, {stream: true})));
      }
      const rest = ansi.end();
      if (rest) this.add_([rest]);
      this.over_ = true;
      this.state_ = 'the end';
      this.status_();
    } catch (e) {
      if (signal.aborted) return;
      const seconds = kWaits[Math.min(this.failures_++, kWaits.length - 1)];
      this.state_ = e.said ? e.message : `connection lost; trying again in ${seconds} s`;
      this.status_();
      if (!e.said || e.status >= 500) this.again_ = setTimeout(() => this.read_(signal), seconds * 1000);
    }
  }

  async failure_(response) {
    const text = await response.text();
    let message = `status ${response.status}`;
    try {
      message = JSON.parse(text).error.message;
    } catch { /* the status alone */ }
    if (response.status === 401) window.dispatchEvent(new CustomEvent('session-over', {detail: message}));
    return Object.assign(new Error(message), {said: true, status: response.status});
  }

  add_(lines) {
    if (!lines.length) return;
    for (const line of lines) this.lines_.push(line);
    if (this.lines_.length > 2 * kLines) this.lines_.splice(0, this.lines_.length - kLines);
    this.count_ += lines.length;
    if (this.paused) this.missed_ += lines.length;
    this.later_();
  }

  later_() {
    if (this.asked_) return;
    this.asked_ = true;
    setTimeout(() => {
      this.asked_ = false;
      this.draw_();
    }, 60);
  }

  draw_() {
    this.status_();
    if (this.paused || !this.lines_.length) return;
    if (this.fresh_) this.pre_.replaceChildren(), this.fresh_ = false;
    const lines = this.lines_.length > kLines ? this.lines_.slice(-kLines) : this.lines_;
    this.lines_ = [];
    const part = document.createDocumentFragment();
    for (const pieces of lines) {
      const line = document.createElement('span');
      line.className = 'line';
      for (const [name, text] of pieces) {
        if (name) {
          const piece = document.createElement('span');
          piece.className = name;
          piece.textContent = text;
          line.append(piece);
        } else {
          line.append(text);
        }
      }
      line.append('\n');
      part.append(line);
    }
    const before = this.pre_.scrollHeight;
    this.pre_.append(part);
    let gone = this.pre_.childElementCount - kLines;
    const top = this.pre_.scrollTop, high = this.pre_.scrollHeight;
    while (gone-- > 0) this.pre_.firstElementChild.remove();
    if (this.follow_) this.bottom_();
    else if (this.pre_.scrollHeight < high) this.pre_.scrollTop = Math.max(0, top - (high - this.pre_.scrollHeight));
    if (before === 0) this.bottom_();
  }

  bottom_() {
    this.pre_.scrollTop = this.pre_.scrollHeight;
    this.follow_ = true;
  }

  status_() {
    const text = this.paused ? `paused${this.missed_ ? `; ${number(this.missed_)} more lines have come` : ''}`
      : this.over_ && !this.count_ ? 'it wrote nothing' : this.state_;
    const key = `${text}|${this.paused}`;
    if (key === this.told_) return;
    this.told_ = key;
    this.tell_({text, paused: this.paused});
  }
}
