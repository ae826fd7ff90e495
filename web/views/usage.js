// Device-hours by month, team, user, project and chip.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {number} from '../lib/format.js';
import {bar, choice} from '../lib/parts.js';
import {table} from '../lib/table.js';

const hours = (n) => number(n, n < 100 ? 2 : 0);
const kGroups = ['team', 'user', 'project', 'chip'];

function grouped(rows, by) {
  if (!by) return rows;
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row[by]) || {[by]: row[by], device_hours: 0, attempts: 0};
    sum.device_hours += row.device_hours, sum.attempts += row.attempts;
    sums.set(row[by], sum);
  }
  return [...sums.values()];
}

export default {
  label: 'Usage',
  every: () => 30,
  async load() {
    return api('/usage');
  },
  render(data, ctx) {
    const months = [...new Set(data.usage.map((u) => u.month))].sort().reverse();
    const {month = months[0] || '', by = ''} = ctx.route.query;
    const keys = kGroups.filter((key) => key !== 'project' || by === key || data.usage.some((u) => u.project));  // not where none is used
    const rows = grouped(data.usage.filter((u) => u.month === month), by);
    const total = rows.reduce((n, u) => n + u.device_hours, 0), most = Math.max(0, ...rows.map((u) => u.device_hours));
    const set = (key) => (event) => ctx.set({[key]: event.target.value});
    const [first, ...more] = by ? [by] : keys;
    const titled = (key) => ({title: key[0].toUpperCase() + key.slice(1), sort: (u) => u[key]});
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Usage'),
      h('div', {key: 'tools', class: 'tools'}, choice('Month', month, months.length ? months.map((m) => [m, m]) : [['', '–']], set('month')), choice('By', by, [['', keys.join(', ')], ...keys.map((key) => [key, key])], set('by')),
        h('p', {class: 'total'}, h('b', {}, hours(total)), ' device-hours in all')),
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Usage'}, table({name: `usage-${by}`, ctx, caption: `Usage of ${month}`, rows, key: (u) => `${u.team}/${u.user}/${u.project}/${u.chip}`, sort: {by: 'Device-hours', down: true},
        empty: 'Nothing has run in this month.',
        columns: [{...titled(first), header: true, cell: (u) => [u[first] || '–', h('span', {class: 'sub phone'}, more.map((key) => u[key]).filter(Boolean).join(' · '))]},
          ...more.map((key) => ({...titled(key), class: 'mid', cell: (u) => u[key] || '–'})),
          
          {title: 'Share', class: 'mid', width: '24%', cell: (u) => bar([['held', u.device_hours, 'device-hours']], most, `${hours(u.device_hours)} device-hours`)},
          {title: 'Device-hours', class: 'num hours', width: '9.5rem', sort: (u) => u.device_hours, cell: (u) => hours(u.device_hours)},
          {title: 'Attempts', class: 'num mid', sort: (u) => u.attempts, cell: (u) => number(u.attempts)}]}))];
  },
};
