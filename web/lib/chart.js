// One curve over steps: SVG, drawn for its width, with a readout by mouse and by arrow keys.

import {say} from './dom.js';
import {figure, number} from './format.js';

const kSvg = 'http://www.w3.org/2000/svg';
const kHeight = 190, kLeft = 52, kRight = 12, kTop = 10, kBottom = 24;

function svg(tag, attributes, parent, text) {
  const el = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  if (text !== undefined) el.textContent = text;
  if (parent) parent.append(el);
  return el;
}

/** Round numbers from low to high, about so many. */
export function ticks(low, high, about) {
  if (!(high > low)) return [low];
  const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough) || rough;
  const out = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; ++n) out.push(n * step);
  return out;
}

const short = (v) => (Math.abs(v) >= 1e6 ? `${figure(v / 1e6)}M` : Math.abs(v) >= 1e4 ? `${figure(v / 1e3)}k` : figure(v));

/**
 * What counts of a run's lines, oldest first: an attempt that goes back to a checkpoint rolls back
 * what was recorded after it.
 */
export function liveCurve(points) {
  const out = [];
  for (const point of points) {
    if (!Number.isFinite(point.step)) continue;
    const again = point.loss === undefined ? 0 : 1;  // held out of a step comes after its loss
    while (out.length && out[out.length - 1].step + again > point.step) out.pop();
    out.push(point);
  }
  return out;
}

export class Chart {
  /** series: [{key, label, dots}] of the points' fields. */
  constructor(el, title, series) {
    this.title_ = title;
    this.series_ = series;
    this.points_ = [];
    this.at_ = null;
    this.head_ = document.createElement('figcaption');
    this.name_ = document.createElement('span');
    this.name_.textContent = title;
    this.read_ = document.createElement('span');
    this.head_.append(this.name_, this.read_);
    this.svg_ = svg('svg', {role: 'img', height: kHeight});
    el.append(this.head_, this.svg_);
    el.tabIndex = 0;
    el.addEventListener('keydown', (event) => {
      const n = this.points_.length;
      if (!n || !['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key)) return;
      event.preventDefault();
      const step = Math.max(1, Math.round(n / 50)), from = this.at_ ?? n - 1;
      this.mark_(event.key === 'Home' ? 0 : event.key === 'End' ? n - 1
        : Math.min(n - 1, Math.max(0, from + (event.key === 'ArrowLeft' ? -step : step))));
      say(this.read_.textContent);
    });
    el.addEventListener('blur', () => this.mark_(null));
    this.svg_.addEventListener('pointermove', (event) => this.point_(event));
    this.svg_.addEventListener('pointerleave', () => this.mark_(null));
    this.watch_ = new ResizeObserver(() => this.draw_());
    this.watch_.observe(el);
    this.el_ = el;
  }

  end() {
    this.watch_.disconnect();
  }

  set(points) {
    const wanted = points.filter((p) => this.series_.some((s) => Number.isFinite(p[s.key])));
    const last = wanted[wanted.length - 1];
    const key = `${wanted.length} ${last ? `${last.step} ${last.time} ${last[this.series_[0].key]}` : ''}`;
    if (key === this.key_) return;
    this.key_ = key;
    this.points_ = wanted;
    if (this.at_ !== null && this.at_ >= wanted.length) this.at_ = null;
    this.draw_();
  }

  draw_() {
    const width = Math.floor(this.el_.clientWidth);
    if (width < 80) return;
    this.svg_.setAttribute('viewBox', `0 0 ${width} ${kHeight}`);
    this.svg_.setAttribute('width', width);
    this.svg_.replaceChildren();
    const points = this.points_;
    if (!points.length) return;
    const values = points.flatMap((p) => this.series_.map((s) => p[s.key]).filter(Number.isFinite));
    let low = Math.min(...values), high = Math.max(...values);
    // The first steps of a loss may be far above all others: the middle of the curve counts.
    const sorted = [...values].sort((a, b) => a - b), most = sorted[Math.floor(sorted.length * 0.98)];
    if (sorted.length > 50 && high - most > 2 * (most - low)) high = most + 0.3 * (most - low);
    const pad = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    low = low >= 0 ? Math.max(0, low - pad) : low - pad, high += pad;
    let first = points[0].step, last = points[points.length - 1].step;
    if (first === last) first -= 1, last += 1;
    const x = (step) => kLeft + (width - kLeft - kRight) * (step - first) / (last - first);
    const y = (v) => kHeight - kBottom - (kHeight - kTop - kBottom) * (Math.min(v, high) - low) / (high - low);
    const grid = svg('g', {class: 'grid'}, this.svg_);
    for (const v of ticks(low, high, 4)) {
      svg('path', {d: `M${kLeft} ${y(v)}H${width - kRight}`}, grid);
      svg('text', {x: kLeft - 8, y: y(v) + 4, 'text-anchor': 'end'}, grid, short(v));
    }
    for (const v of ticks(first, last, Math.max(4, Math.floor(width / 90)))) {
      if (v !== Math.round(v)) continue;
      svg('text', {x: x(v), y: kHeight - 6, 'text-anchor': x(v) > width - 40 ? 'end' : 'middle'}, grid, short(v));
    }
    this.series_.forEach((s, i) => {
      const there = points.filter((p) => Number.isFinite(p[s.key]));
      if (s.dots) {
        for (const p of there) svg('circle', {class: `dots s${i}`, cx: x(p.step), cy: y(p[s.key]), r: 3}, this.svg_);
      } else if (there.length) {
        svg('path', {class: `curve s${i}`, d: there.map((p, n) => `${n ? 'L' : 'M'}${x(p.step).toFixed(1)} ${y(p[s.key]).toFixed(1)}`).join('')}, this.svg_);
        if (there.length === 1) svg('circle', {class: `dots s${i}`, cx: x(there[0].step), cy: y(there[0][s.key]), r: 3}, this.svg_);
      }
    });
    this.cross_ = svg('path', {class: 'cross', d: ''}, this.svg_);
    this.x_ = x;
    const end = points[points.length - 1];
    this.svg_.setAttribute('aria-label', `${this.title_} over ${number(end.step)} steps: ${this.text_(end)}, `
      + `least ${figure(sorted[0])}, most ${figure(sorted[sorted.length - 1])}`);
    this.mark_(this.at_);
  }

  text_(point) {
    if (this.series_.length === 1) return figure(point[this.series_[0].key]);
    return this.series_.filter((s) => Number.isFinite(point[s.key])).map((s) => `${s.label} ${figure(point[s.key])}`).join(', ');
  }

  point_(event) {
    if (!this.points_.length || !this.x_) return;
    const at = event.clientX - this.svg_.getBoundingClientRect().left;
    let best = 0;
    this.points_.forEach((p, i) => {
      if (Math.abs(this.x_(p.step) - at) < Math.abs(this.x_(this.points_[best].step) - at)) best = i;
    });
    this.mark_(best);
  }

  mark_(at) {
    this.at_ = at;
    const point = this.points_[at ?? this.points_.length - 1];
    if (!point) return;
    this.read_.textContent = `step ${number(point.step)}: ${this.text_(point)}`;
    if (this.cross_) this.cross_.setAttribute('d', at === null ? '' : `M${this.x_(point.step)} ${kTop}V${kHeight - kBottom}`);
  }
}
