// Device-hours by month, team, user, project and chip.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {number} from '../lib/format.js';
import {bar, choice} from '../lib/parts.js';
import {table} from '../lib/table.js';

const hours = (n) => number(n, n < 100 ? 2 : 0);
const kGroups = [['', 'team, user, project and chip'], ['team', 'team'], ['project', 'project'], ['chip', 'chip'], ['user', 'user']];

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
    const rows = grouped(data.usage.filter((u) => u.month === month), by);
    const total = rows.reduce((n, u) => n + u.device_hours, 0), most = Math.max(0, ...rows.map((u) => u.device_hours));
    const set = (key) => (event) => ctx.set({[key]: event.target.value});
    const name = (title, key) => (by && by !== key ? [] : [{title, header: key === (by || 'team'), sort: (u) => u[key], cell: (u) => u[key] || '–'}]);
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Usage'),
      h('div', {key: 'tools', class: 'tools'}, choice('Month', month, months.length ? months.map((m) => [m, m]) : [['', '–']], set('month')), choice('By', by, kGroups, set('by')),
        h('p', {class: 'total'}, h('b', {}, hours(total)), ' device-hours in all')),
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Usage'}, table({name: `usage-${by}`, ctx, caption: `Usage of ${month}`, rows, key: (u) => `${u.team}/${u.user}/${u.project}/${u.chip}`, sort: {by: 'Device-hours', down: true},
        empty: 'Nothing has run in this month.',
        columns: [...name('Team', 'team'), ...name('User', 'user'), ...name('Project', 'project'), ...name('Chip', 'chip'),
          {title: 'Share', class: 'mid', width: '24%', cell: (u) => bar([['held', u.device_hours, 'device-hours']], most, `${hours(u.device_hours)} device-hours`)},
          {title: 'Device-hours', class: 'num', sort: (u) => u.device_hours, cell: (u) => hours(u.device_hours)},
          {title: 'Attempts', class: 'num mid', sort: (u) => u.attempts, cell: (u) => number(u.attempts)}]}))];
  },
};
