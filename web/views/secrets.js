// Names of a team's secrets. Contents go to the controller and never come back.

import {api, query} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {ago} from '../lib/format.js';
import {choice} from '../lib/parts.js';
import {table} from '../lib/table.js';

function set(data, ctx, name) {
  const path = (n) => `/secrets/${encodeURIComponent(n)}${query({team: data.team})}`;
  ctx.act({title: name ? `Replace secret ${name}` : 'New secret', action: name ? 'Replace' : 'Set', method: 'PUT', done: name ? 'The secret is replaced' : 'The secret is set',
    text: `For jobs of team ${data.team}.`, pathOf: (v) => path(name || v.name),
    fields: [
      ...(name ? [] : [{name: 'name', label: 'Name', attributes: {required: true}}]),
      {name: 'content', label: 'Content', type: 'textarea', attributes: {required: true}, hint: 'Kept exactly as it stands here, line ends too. It cannot be read again here.'}],
    content: (v) => {
      if (!name && data.secrets.some((s) => s.name === v.name)) throw new Error(`There is a secret ${v.name} already: replace that one, or choose another name.`);
      return v.content;
    }});
}

function actions(secret, data, ctx) {
  return h('span', {class: 'actions'},
    h('button', {key: 'replace', type: 'button', 'aria-label': `Replace secret ${secret.name}`, on: {click: () => set(data, ctx, secret.name)}}, 'Replace'),
    h('button', {key: 'remove', type: 'button', class: 'danger', 'aria-label': `Remove secret ${secret.name}`, on: {click: () => ctx.act({
      title: `Remove secret ${secret.name}?`, text: `Jobs of team ${data.team} that name it do not start any more.`, danger: true, action: 'Remove', method: 'DELETE',
      path: `/secrets/${encodeURIComponent(secret.name)}${query({team: data.team})}`, done: 'The secret is removed'})}}, 'Remove'));
}

export default {
  label: 'Secrets',
  member: true,
  async load(ctx) {
    const teams = ctx.admin ? (await api('/teams')).teams.map((t) => t.name) : [];
    const team = ctx.admin ? ctx.route.query.team || teams[0] : '';
    return {...await api(`/secrets${query({team})}`), teams};
  },
  render(data, ctx) {
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Secrets'),
      h('p', {key: 'what', class: 'sub'}, 'A job finds those that its job file names under ', h('code', {}, 'secrets:'), ' as files in ', h('code', {}, '$WELLSPRING_SECRETS'), '. Nobody can read them here.'),
      ctx.admin ? h('div', {key: 'tools', class: 'tools'}, choice('Team', data.team, [...new Set([...data.teams, data.team])].map((t) => [t, t]), (event) => ctx.set({team: event.target.value}))) : null,
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Secrets'}, table({name: 'secrets', ctx, cards: true, title: `Secrets of team ${data.team}`, rows: data.secrets, key: (s) => s.name,
        sort: {by: 'Name', down: false}, empty: 'This team has no secrets.',
        columns: [
          {title: 'Name', header: true, sort: (s) => s.name, cell: (s) => h('b', {}, s.name)},
          {title: 'Set', sort: (s) => s.changed, cell: (s) => ago(s.changed)},
          {title: 'Change', hidden: true, class: 'num', width: '14rem', cell: (s) => actions(s, data, ctx)}]}),
        h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => set(data, ctx, '')}}, 'New secret')))];
  },
};
