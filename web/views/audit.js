// Who asked for what, and what came of it.

import {api, query} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {at} from '../lib/format.js';
import {filter, pages} from '../lib/parts.js';
import {table} from '../lib/table.js';

const kPage = 100;

export default {
  label: 'Audit',
  admin: true,
  async load(ctx) {
    const {text, before} = ctx.route.query;
    return api(`/audit${query({text, before, limit: kPage})}`);
  },
  render(data, ctx) {
    const {text = ''} = ctx.route.query;
    const rows = data.audit;
    const last = rows.length === kPage ? rows[kPage - 1].number : null;
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Audit'),
      h('form', {key: 'tools', class: 'tools', role: 'search', on: {submit: (event) => event.preventDefault()}}, filter('Text', 'text', text, ctx, 'who or what')),
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Audit'}, table({name: 'audit', ctx, caption: 'Audit log, the newest first', rows, key: (e) => String(e.number), empty: 'No entry fits.',
        columns: [
          {title: 'When', class: 'when', width: '9.5rem', sorted: 'descending', cell: (e) => at(e.at)},
          {title: 'Who', width: '16%', cell: (e) => [h('b', {}, e.who), h('span', {class: 'sub'}, e.address)]},
          {title: 'What', width: '38%', cell: (e) => h('code', {class: 'wrap'}, e.what.replace('/api/v1', ''))},
          {title: 'What came of it', class: 'mid', cell: (e) => h('span', {class: `reason ${e.outcome.startsWith('refused') ? 'bad' : ''}`}, e.outcome)}]}), pages(ctx, last, rows.length, 'entries'))];
  },
};
