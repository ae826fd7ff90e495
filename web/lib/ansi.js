// Terminal output to plain pieces: colours become class names, everything else that a terminal
// would obey is left out. Nothing of a log can become markup: pieces are texts.

const kNames = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];
const kMostLine = 4000;  // characters of a line that are shown

// ESC [ ... letter; ESC ] ... BEL or ESC \; other escapes of two characters.
const kEscape = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/g;
const kControl = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;  // also what turns the direction of text

/** Cuts a stream of text into lines of [class, text] pieces; colours go on over line ends. */
export class Ansi {
  constructor() {
    this.reset_();
    this.rest_ = '';
  }

  reset_() {
    this.color_ = '', this.bold_ = false, this.dim_ = false, this.underline_ = false;
  }

  /** Whole lines that have come to an end; what is left waits for more. */
  push(text) {
    const lines = (this.rest_ + text).split('\n');
    this.rest_ = lines.pop();
    if (this.rest_.length > 4 * kMostLine) lines.push(this.rest_), this.rest_ = '';
    return lines.map((line) => this.line_(line));
  }

  /** The unfinished last line, or null. */
  end() {
    const rest = this.rest_;
    this.rest_ = '';
    return rest ? this.line_(rest) : null;
  }

  line_(line) {
    // A carriage return begins the line anew: progress bars.
    const text = line.endsWith('\r') ? line.slice(0, -1) : line;
    let shown = text.slice(text.lastIndexOf('\r') + 1);
    let cut = 0;
    if (shown.length > kMostLine) cut = shown.length - kMostLine, shown = shown.slice(0, kMostLine);
    const pieces = [];
    let from = 0;
    const add = (piece) => {
      const clean = piece.replace(kControl, '');
      if (clean) pieces.push([this.class_(), clean]);
    };
    for (const match of shown.matchAll(kEscape)) {
      add(shown.slice(from, match.index));
      from = match.index + match[0].length;
      if (match[2] === 'm') this.style_(match[1]);
    }
    add(shown.slice(from));
    if (cut) pieces.push(['cut', ` … ${cut} more characters`]);
    return pieces;
  }

  class_() {
    return [this.color_ && `ansi-${this.color_}`, this.bold_ && 'bold', this.dim_ && 'dim', this.underline_ && 'underline'].filter(Boolean).join(' ');
  }

  style_(text) {
    const codes = (text || '0').split(/[;:]/).map(Number);
    for (let i = 0; i < codes.length; ++i) {
      const n = codes[i];
      if (n === 0) this.reset_();
      else if (n === 1) this.bold_ = true;
      else if (n === 2) this.dim_ = true;
      else if (n === 4) this.underline_ = true;
      else if (n === 22) this.bold_ = this.dim_ = false;
      else if (n === 24) this.underline_ = false;
      else if (n === 39) this.color_ = '';
      else if (n >= 30 && n < 38) this.color_ = kNames[n - 30];
      else if (n >= 90 && n < 98) this.color_ = kNames[n - 90];
      else if (n === 38 || n === 48) i += codes[i + 1] === 5 ? 2 : codes[i + 1] === 2 ? 4 : 0;  // no place for those here
    }
  }
}
