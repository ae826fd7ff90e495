// Pieces that several views show.

import {h} from './dom.js';
import {number} from './format.js';

/** A state in words, with a colour and a mark. */
export const badge = (state) => h('span', {class: `badge ${state}`}, h('span', {class: 'dot', 'aria-hidden': 'true'}), state);

/** A bar of shares: parts of [class, amount, word]; `all` is its whole length. */
export function bar(parts, all, label) {
  return h('span', {class: 'bar', role: 'img', 'aria-label': label || parts.map(([, n, word]) => `${number(n)} ${word}`).join(', ')},
           parts.filter(([, n]) => n > 0).map(([name, n]) => h('span', {key: name, class: name, style: {width: `${all ? 100 * n / all : 0}%`}})));
}

/** A link to a job: its number. */
export const jobLink = (id, text) => h('a', {href: `#/jobs/${encodeURIComponent(id)}`}, text || `#${id}`);

/** A job's number and name as one link. */
export const jobName = (job) => h('a', {class: 'job', href: `#/jobs/${encodeURIComponent(job.id)}`, title: job.name}, h('span', {}, `#${job.id}`), ` ${job.name}`);

/** How an array stands: a bar and a line. */
export function arrayBar(array) {
  const n = (state) => array[state] || 0;
  const running = n('running') + n('starting') + n('stopping'), waiting = n('queued') + n('held');
  return [h('span', {key: 'array-bar', class: 'array-bar'}, bar([['ok', n('succeeded'), 'succeeded'], ['failed', n('failed'), 'failed'], ['gone', n('cancelled'), 'cancelled'], ['held', running, 'running'],
               ['wait', waiting, 'waiting']], array.elements)),
          h('span', {key: 'array-text', class: 'sub'}, [`${number(array.elements)} elements`, running && `${number(running)} running`, waiting && `${number(waiting)} waiting`,
            n('succeeded') && `${number(n('succeeded'))} succeeded`, n('failed') && `${number(n('failed'))} failed`, n('cancelled') && `${number(n('cancelled'))} cancelled`]
            .filter(Boolean).join(' · '))];
}

/** A select with a label before it. */
export function choice(label, value, options, change) {
  return h('label', {class: 'choice', key: label}, h('span', {}, label),
           h('select', {value, on: {change}, update: (el) => { if (el.value !== value && document.activeElement !== el) el.value = value; }},
             options.map(([v, text]) => h('option', {key: `o${v}`, value: v}, text ?? v))));
}

const timers = new Map();

/** A text field that filters as one types; `/` brings the focus here. */
export function filter(label, name, value, ctx, placeholder = '') {
  const input = (event) => {
    const text = event.target.value.trim();
    clearTimeout(timers.get(name));
    timers.set(name, setTimeout(() => ctx.set({[name]: text, before: null, back: null}), 250));
  };
  return h('label', {class: 'choice', key: label}, h('span', {}, label),
           h('input', {type: 'search', value: value || '', placeholder, 'data-filter': true, autocomplete: 'off', spellcheck: 'false', on: {input}}));
}

/** Buttons from page to page of what the API gives from the newest on. */
export function pages(ctx, next, shown, what) {
  const before = ctx.route.query.before;
  const back = (ctx.route.query.back || '').split('.').filter(Boolean);
  return h('div', {class: 'pages', key: 'pages'},
    h('span', {}, shown ? `${before ? 'older ' : ''}${what}: ${number(shown)} shown` : ''),
    h('button', {type: 'button', disabled: !before, on: {click: () => ctx.set({before: null, back: null}, true)}}, 'Newest'),
    h('button', {type: 'button', disabled: !before, on: {click: () => ctx.set({before: back[back.length - 1] === '0' ? null : back[back.length - 1], back: back.slice(0, -1).join('.')}, true)}}, 'Newer'),
    h('button', {type: 'button', disabled: !next, on: {click: () => ctx.set({before: next, back: [...back, before || '0'].slice(-40).join('.')}, true)}}, 'Older'));
}
