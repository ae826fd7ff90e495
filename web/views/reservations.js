// Nodes that are kept for one team for a while: a part of the page of nodes.

import {h} from '../lib/dom.js';
import {at, now} from '../lib/format.js';
import {table} from '../lib/table.js';

const kHours = 8;

// Seconds as a field of the type datetime-local has them, and back.
const asField = (time) => new Date((time - new Date(time * 1000).getTimezoneOffset() * 60) * 1000).toISOString().slice(0, 16);
const ofField = (text) => new Date(text).getTime() / 1000;

const stateOf = (r) => (r.until <= now() ? 'over' : r.from > now() ? 'to come' : 'now');
const teamOf = (r) => r.team || 'another team';

function make(data, ctx) {
  const begin = Math.floor(now() / 60) * 60;
  ctx.act({title: 'New reservation', action: 'Reserve', method: 'PUT', done: 'The node is reserved', pathOf: (v) => `/reservations/${encodeURIComponent(v.name)}`,
    text: 'The node takes jobs of this team alone. What runs there goes on.',
    fields: [
      {name: 'name', label: 'Name', attributes: {required: true}},
      {name: 'node', label: 'Node', type: 'select', value: data.nodes[0].name, options: data.nodes.map((n) => [n.name, n.name])},
      {name: 'team', label: 'Team', type: 'select', value: data.teams[0], options: data.teams.map((t) => [t, t])},
      {name: 'from', label: 'From', type: 'datetime-local', value: asField(begin), attributes: {required: true}, hint: 'Jobs of other teams that might still run then do not start there before.'},
      {name: 'until', label: 'Until', type: 'datetime-local', value: asField(begin + kHours * 3600), attributes: {required: true}},
      {name: 'note', label: 'Note', value: ''}],
    body: (v) => {
      if (data.reservations.some((r) => r.id === v.name)) throw new Error(`There is a reservation ${v.name} already: remove it, or choose another name.`);
      return {node: v.node, team: v.team, note: v.note, from: ofField(v.from), until: ofField(v.until)};
    }});
}

const remove = (r, ctx) => h('button', {type: 'button', class: 'danger', 'aria-label': `Remove reservation ${r.id}`, on: {click: () => ctx.act({
  title: `Remove reservation ${r.id}?`, text: `${r.node} takes jobs of all teams again.`, danger: true, action: 'Remove', method: 'DELETE',
  path: `/reservations/${encodeURIComponent(r.id)}`, done: 'The reservation is removed'})}}, 'Remove');

/** A line below a node's name: whom it is kept for now. */
export function reserved(node, data) {
  return data.reservations.filter((r) => r.node === node.name && stateOf(r) === 'now').map((r) =>
    h('span', {key: `r-${r.id}`, class: 'sub'}, `reserved for ${teamOf(r)} until `, at(r.until)));
}

/** The list of them; for others than administrators only when there are some. */
export function reservations(data, ctx) {
  if (!ctx.admin && !data.reservations.length) return null;
  return h('section', {key: 'reservations', class: 'panel', 'aria-label': 'Reservations'}, table({name: 'reservations', ctx, cards: true, title: 'Reservations', rows: data.reservations, key: (r) => r.id,
    sort: {by: 'From', down: false}, rowClass: (r) => (stateOf(r) === 'over' ? 'old' : ''), empty: 'No node is reserved.',
    columns: [
      {title: 'Reservation', header: true, width: '24%', sort: (r) => r.id, cell: (r) => [h('b', {}, r.id), h('span', {class: 'sub', title: r.note}, r.note || '')]},
      {title: 'Node', width: '18%', sort: (r) => r.node, cell: (r) => r.node},
      {title: 'For team', sort: teamOf, cell: teamOf},
      {title: 'From', sort: (r) => r.from, cell: (r) => at(r.from)},
      {title: 'Until', sort: (r) => r.until, cell: (r) => at(r.until)},
      {title: 'State', width: '9%', cell: stateOf},
      ...(ctx.admin ? [{title: 'Change', hidden: true, class: 'num', width: '7rem', cell: (r) => remove(r, ctx)}] : [])]}),
    ctx.admin && data.nodes.length ? h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => make(data, ctx)}}, 'New reservation')) : null);
}
