// Figures as people read them. Times of the API are unix seconds.

import {h} from './dom.js';

const kDay = new Intl.DateTimeFormat(undefined, {month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
const kClock = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'});
const kFull = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'medium'});

export const now = () => Date.now() / 1000;

/** "1,234", "0.25", "12.3" */
export function number(value, digits = 0) {
  if (!Number.isFinite(value)) return '–';
  return value.toLocaleString('en-US', {minimumFractionDigits: digits, maximumFractionDigits: digits});
}

/** Four digits that count: "3.142", "0.0012", "12,300" */
export function figure(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  return value.toLocaleString('en-US', {maximumSignificantDigits: size >= 1000 ? Math.ceil(Math.log10(size + 1)) : 4});
}

/** "1 job", "2 jobs" */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** "45 s", "12 min", "3 h 05 min", "2 d 4 h" */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return '–';
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return seconds > 0 && seconds < 1 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${s} s`;
  if (s < 3600) return s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor(s / 60) % 60).padStart(2, '0')} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

export const clock = (time) => kClock.format(new Date(time * 1000));

/** A moment as an element: how long ago it was, with the full time as its title. */
export function ago(time) {
  if (!time) return '–';
  const passed = now() - time;
  const text = passed < 0 ? `in ${duration(-passed)}` : passed < 5 ? 'just now' : passed < 86400 ? `${coarse(passed)} ago` : kDay.format(new Date(time * 1000));
  return moment(time, text);
}

/** A moment as an element: its time of day, with the date when it is not today. */
export function at(time) {
  if (!time) return '–';
  const date = new Date(time * 1000);
  return moment(time, date.toDateString() === new Date().toDateString() ? clock(time) : kDay.format(date));
}

function moment(time, text) {
  const date = new Date(time * 1000);
  return h('time', {datetime: date.toISOString(), title: kFull.format(date)}, text);
}

function coarse(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round(seconds / 60) % 60} min`;
}

/** "512 MB", "22.7 GB" from 10^6 bytes */
export function megabytes(mb) {
  if (!mb) return '–';
  return mb < 1000 ? `${number(mb)} MB` : mb < 1e6 ? `${number(mb / 1000, mb < 100000 ? 1 : 0)} GB` : `${number(mb / 1e6, 1)} TB`;
}
export const bytes = (n) => (n < 1e6 ? `${number(n / 1000)} kB` : megabytes(n / 1e6));

/** What a job asks for: "8 h100", "2 × 8 a100-80" on two nodes */
export function asked(job) {
  if (!job.chip) return '–';
  const each = `${job.count ?? 1} ${job.chip}`;
  return (job.nodes ?? 1) > 1 ? `${job.nodes} × ${each}` : each;
}

/** Whether a job has ended. */
export const isOver = (state) => ['succeeded', 'failed', 'cancelled'].includes(state);
export const isActive = (state) => ['starting', 'running', 'stopping'].includes(state);

/** How long a job ran, or runs; how long it waits before that. */
export function took(job) {
  if (job.started) return (job.ended || now()) - job.started;
  return job.ended ? 0 : now() - job.submitted;
}
