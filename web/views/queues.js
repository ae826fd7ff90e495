// Queues, and what each team may hold of each chip.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {number} from '../lib/format.js';
import {bar} from '../lib/parts.js';
import {table} from '../lib/table.js';

function editQueue(queue, ctx) {
  const made = !queue;
  const q = queue || {name: '', priority: 0, open: true, teams: []};
  ctx.act({title: made ? 'New queue' : `Queue ${q.name}`, action: made ? 'Make' : 'Save', method: 'PUT', done: made ? 'The queue is made' : `Queue ${q.name} is changed`,
    path: `/queues/${encodeURIComponent(q.name)}`,
    fields: [
      ...(made ? [{name: 'name', label: 'Name', attributes: {required: true}}] : []),
      {name: 'priority', label: 'Priority', type: 'number', value: q.priority || 0, hint: 'Added to that of its jobs; a greater one goes first and may preempt.'},
      {name: 'teams', label: 'Teams', value: (q.teams || []).join(', '), hint: 'Names with commas between; empty: all teams.'},
      {name: 'open', label: 'Open: its jobs may start', type: 'checkbox', value: q.open}],
    body: (v) => ({priority: Number(v.priority), open: v.open, teams: v.teams.split(',').map((t) => t.trim()).filter(Boolean)}),
    pathOf: made ? (v) => `/queues/${encodeURIComponent(v.name)}` : null});
}

function editQuota(row, ctx) {
  const made = !row.chip;
  ctx.act({title: made ? 'New quota' : `Quota of ${row.team}: ${row.chip}`, action: 'Save', method: 'PUT', done: 'The quota is set', path: `/teams/${encodeURIComponent(row.team)}`,
    fields: [
      ...(made ? [{name: 'team', label: 'Team', type: 'select', value: row.team, options: row.teams.map((t) => [t, t])},
                  {name: 'chip', label: 'Chip', value: row.chips[0] || '', attributes: {required: true}}] : []),
      {name: 'devices', label: 'Devices at once', type: 'number', value: row.devices ?? '', attributes: {min: 0}, hint: 'Empty: no limit.'},
      {name: 'hours', label: 'Device-hours in a month', type: 'number', value: row.hours ?? '', attributes: {min: 0, step: 'any'}, hint: 'Empty: no limit.'}],
    body: (v) => ({quotas: {[made ? v.chip : row.chip]: {devices: v.devices === '' ? -1 : Number(v.devices), hours: v.hours === '' ? -1 : Number(v.hours)}}}),
    pathOf: made ? (v) => `/teams/${encodeURIComponent(v.team)}` : null});
}

// What a team holds or may hold of each chip.
function quotaRows(teams) {
  return teams.flatMap((t) => [...new Set([...Object.keys(t.quotas || {}), ...Object.keys(t.held)])].sort().map((chip) => {
    const quota = (t.quotas || {})[chip] || {};
    return {team: t.name, chip, held: t.held[chip] || 0, devices: quota.devices, hours: quota.hours, used: quota.hours_used};
  }));
}

const share = (used, most, word) => [bar([[used >= most ? 'failed' : 'held', Math.min(used, most), word]], most, `${number(used, used % 1 ? 1 : 0)} of ${number(most)} ${word}`),
  h('span', {class: 'sub'}, `${number(used, used % 1 ? 1 : 0)} of ${number(most)}`)];

export default {
  label: 'Queues and quotas',
  async load(ctx) {
    const [queues, teams, cluster] = await Promise.all([api('/queues'), api('/teams'), ctx.clusterOf(10)]);
    return {queues: queues.queues, teams: teams.teams, chips: cluster.pool.map((c) => c.chip)};
  },
  render(data, ctx) {
    const edit = (cell) => (ctx.admin ? [{title: 'Change', hidden: true, class: 'num', width: '7rem', cell}] : []);
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Queues and quotas'),
      h('section', {key: 'queues', class: 'panel', 'aria-label': 'Queues'}, table({name: 'queues', ctx, cards: true, title: 'Queues', rows: data.queues, key: (q) => q.name,
        columns: [
          {title: 'Queue', header: true, width: '24%', sort: (q) => q.name, cell: (q) => [h('b', {}, q.name), q.open ? null : h('span', {class: 'tag warn'}, 'closed')]},
          {title: 'Priority', class: 'num', sort: (q) => q.priority || 0, cell: (q) => number(q.priority || 0)},
          {title: 'Running', class: 'num', sort: (q) => q.running, cell: (q) => number(q.running)},
          {title: 'Waiting', class: 'num', sort: (q) => q.waiting, cell: (q) => h('a', {href: '#/jobs?state=queued'}, number(q.waiting))},
          {title: 'For teams', class: 'mid', width: '30%', cell: (q) => ((q.teams || []).length ? q.teams.join(', ') : 'all')},
          ...edit((q) => h('button', {type: 'button', 'aria-label': `Change queue ${q.name}`, on: {click: () => editQueue(q, ctx)}}, 'Change'))]}),
        ctx.admin ? h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => editQueue(null, ctx)}}, 'New queue')) : null),
      h('section', {key: 'quotas', class: 'panel', 'aria-label': 'Quotas'}, table({name: 'quotas', ctx, cards: true, title: 'Quotas, and what is held', rows: quotaRows(data.teams), key: (r) => `${r.team}/${r.chip}`,
        empty: 'No team holds a device, and no quota is set: teams share by their weights.',
        columns: [
          {title: 'Team', header: true, width: '18%', sort: (r) => r.team, cell: (r) => h('b', {}, r.team)},
          {title: 'Chip', width: '20%', sort: (r) => r.chip, cell: (r) => r.chip},
          {title: 'Devices held', sort: (r) => r.held, cell: (r) => (r.devices === undefined ? [number(r.held), h('span', {class: 'sub'}, 'no limit')] : share(r.held, r.devices, 'devices'))},
          {title: 'Hours this month', sort: (r) => r.used || 0, cell: (r) => (r.hours === undefined ? h('span', {class: 'sub'}, r.used === undefined ? 'no limit' : `${number(r.used, 1)}, no limit`) : share(r.used || 0, r.hours, 'device-hours'))},
          ...edit((r) => h('button', {type: 'button', 'aria-label': `Change the quota of ${r.team}, ${r.chip}`, on: {click: () => editQuota(r, ctx)}}, 'Change'))]}),
        ctx.admin ? h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => editQuota({team: data.teams[0].name, teams: data.teams.map((t) => t.name), chips: data.chips}, ctx)}}, 'New quota')) : null)];
  },
};
