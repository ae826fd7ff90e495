// What happened, the newest first.

import {api, query} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {at} from '../lib/format.js';
import {choice, filter, jobLink, pages} from '../lib/parts.js';
import {table} from '../lib/table.js';

const kPage = 100;
const kKinds = [['', 'all'], ['job', 'job'], ['attempt', 'attempt'], ['node', 'node'], ['cluster', 'cluster']];

export default {
  label: 'Events',
  async load(ctx) {
    const {kind, text, before} = ctx.route.query;
    return api(`/events${query({kind, text, before, limit: kPage})}`);
  },
  render(data, ctx) {
    const {kind = '', text = ''} = ctx.route.query;
    const rows = data.events;
    const last = rows.length === kPage ? rows[kPage - 1].number : null;
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Events'),
      h('form', {key: 'tools', class: 'tools', role: 'search', on: {submit: (event) => event.preventDefault()}},
        filter('Text', 'text', text, ctx, 'job, node, words'), choice('Of', kind, kKinds, (event) => ctx.set({kind: event.target.value, before: null, back: null}))),
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Events'}, table({name: 'events', ctx, caption: 'Events, the newest first', rows, key: (e) => String(e.number), empty: 'No event fits.',
        columns: [
          {title: 'When', class: 'when', width: '9.5rem', sorted: 'descending', cell: (e) => at(e.at)},
          {title: 'Of', class: 'mid', width: '6rem', cell: (e) => e.kind},
          {title: 'Which', width: '22%', cell: (e) => [e.job ? jobLink(e.job) : e.node || 'cluster', e.team ? ` · ${e.team}` : null]},
          {title: 'What', cell: (e) => h('span', {class: 'reason'}, e.job && e.node ? `${e.text} (${e.node})` : e.text)}]}), pages(ctx, last, rows.length, 'events'))];
  },
};
