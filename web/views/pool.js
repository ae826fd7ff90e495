// The first page: what runs, what waits and why; the devices by chip, and where they are.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {ago, asked, count, duration, now, number, took} from '../lib/format.js';
import {arrayBar, badge, bar, jobName} from '../lib/parts.js';
import {table} from '../lib/table.js';

const kRows = 12, kNodes = 48, kSquares = 64;

function figureBox(label, value, of, extra, href) {
  return h('div', {class: 'figure', key: label}, h('span', {class: 'label'}, href ? h('a', {href}, label) : label),
           h('span', {class: 'value'}, number(value), of === null ? null : h('span', {class: 'of'}, ` of ${number(of)}`)), extra);
}

function running(data, ctx) {
  return table({name: 'running', ctx, title: 'Running', rows: data.running.jobs, key: (j) => j.id, empty: 'Nothing runs.',
    columns: [
      {title: 'Job', header: true, width: '44%', cell: (j) => [h('span', {class: 'name'}, jobName(j)),
        j.array ? arrayBar(j.array) : h('span', {class: 'sub'}, asked(j))]},
      {title: 'Team', class: 'mid', width: '18%', cell: (j) => [j.team, h('span', {class: 'sub'}, j.user)]},
      {title: 'On', class: 'mid', width: '18%', cell: (j) => (j.on ? h('span', {title: j.on.join(', ')}, j.on.slice(0, 2).join(', ') + (j.on.length > 2 ? ` +${j.on.length - 2}` : '')) : '–')},
      {title: 'For', class: 'num', width: '20%', cell: (j) => (j.state === 'running' ? duration(took(j)) : badge(j.state))}]});
}

function waiting(data, ctx) {
  return table({name: 'waiting', ctx, title: 'Waiting, the oldest first', rows: data.waiting.jobs, key: (j) => j.id, empty: 'Nothing waits.',
    columns: [
      {title: 'Job', header: true, width: '38%', cell: (j) => [h('span', {class: 'name'}, jobName(j)),
        h('span', {class: 'sub'}, `${j.team} · ${asked(j)}`)]},
      {title: 'Why', width: '44%', cell: (j) => [h('span', {class: 'reason'}, j.reason || 'it was just submitted'),
        j.expected && j.expected > now() ? h('span', {class: 'sub'}, 'starts in ', duration(j.expected - now()), ' at the latest') : null]},
      {title: 'Since', class: 'num', width: '18%', cell: (j) => ago(j.submitted)}]});
}

function reasons(cluster, data) {
  if (!data.waiting.after) return null;  // all are seen above
  return h('div', {key: 'reasons', class: 'panel'}, h('h2', {}, 'What most wait for'),
    h('ul', {class: 'reasons'}, cluster.waits.map((w) => h('li', {key: w.reason}, h('b', {class: 'num'}, number(w.jobs)), ' ', w.reason))));
}

function chips(cluster, nodes, ctx) {
  const on = (chip) => nodes.filter((n) => n.devices.some((d) => d.chip === chip)).length;
  return table({name: 'chips', ctx, title: 'Devices by chip', rows: cluster.pool, key: (c) => c.chip, empty: 'No node has joined yet.',
    columns: [
      {title: 'Chip', header: true, width: '24%', sort: (c) => c.chip, cell: (c) => h('b', {}, c.chip)},
      {title: 'In use', width: '34%', cell: (c) => bar([['held', c.held, 'in use'], ['free', Math.max(0, c.usable - c.held), 'free'], ['gone', c.all - Math.max(c.usable, c.held), 'out of service']], c.all)},
      {title: 'Held', class: 'num', sort: (c) => c.held, cell: (c) => number(c.held)},
      {title: 'Free', class: 'num', sort: (c) => c.usable - c.held, cell: (c) => h('b', {}, number(Math.max(0, c.usable - c.held)))},
      {title: 'Out', class: 'num', sort: (c) => c.all - c.usable, cell: (c) => number(c.all - Math.max(c.usable, c.held))},
      {title: 'All', class: 'num', sort: (c) => c.all, cell: (c) => number(c.all)},
      {title: 'Nodes', class: 'num mid', sort: (c) => on(c.chip), cell: (c) => number(on(c.chip))}]});
}

function tile(node) {
  return h('li', {key: node.name, class: `tile ${node.state}`},
    h('span', {class: 'tile-name', title: node.name}, node.name, node.state === 'up' ? null : h('span', {class: 'sub'}, node.state)),
    node.devices.map((d) => h('span', {key: d.chip, class: 'tile-chip'},
      h('span', {class: 'squares', role: 'img', 'aria-label': `${d.chip}: ${d.held} of ${d.all} in use`},
        d.all <= kSquares ? Array.from({length: d.all}, (_, i) => h('i', {class: i < d.held ? 'held' : 'free'})) : bar([['held', d.held, 'in use']], d.all)),
      h('span', {class: 'sub', 'aria-hidden': 'true'}, `${d.held}/${d.all} ${d.chip}`))));
}

export default {
  label: 'Pool',
  every: () => 10,
  async load(ctx) {
    const [cluster, nodes, run, wait] = await Promise.all([ctx.clusterOf(0.5), api('/nodes'),
      api(`/jobs?state=starting,running,stopping&limit=${kRows}`), api(`/jobs?state=queued,held&order=oldest&limit=${kRows}`)]);
    return {cluster, nodes: nodes.nodes, running: run, waiting: wait};
  },
  render(data, ctx) {
    const {cluster, nodes} = data;
    const sum = (field) => cluster.pool.reduce((n, c) => n + c[field], 0);
    const jobs = (...states) => states.reduce((n, s) => n + (cluster.jobs[s] || 0), 0);
    const all = sum('all'), held = sum('held'), usable = sum('usable');
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Pool'),
      h('div', {key: 'figures', class: 'figures'},
        figureBox('Devices in use', held, all, bar([['held', held, 'in use'], ['free', Math.max(0, usable - held), 'free'], ['gone', all - Math.max(usable, held), 'out of service']], all)),
        figureBox('Running', jobs('starting', 'running', 'stopping'), null, h('span', {class: 'sub'}, jobs('stopping') ? `${number(jobs('stopping'))} stopping` : 'jobs and elements'), '#/jobs?state=running'),
        figureBox('Waiting', jobs('queued', 'held'), null, h('span', {class: 'sub'}, jobs('held') ? `${number(jobs('held'))} of them held` : 'jobs and elements'), '#/jobs?state=queued'),
        figureBox('Nodes up', cluster.nodes.up, cluster.nodes.all, h('span', {class: 'sub'}, cluster.nodes.up < cluster.nodes.all
          ? `${count(cluster.nodes.all - cluster.nodes.up, 'is', 'are')} out of service` : 'all in service'), '#/nodes')),
      h('div', {key: 'two', class: 'two'},
        h('section', {class: 'panel', 'aria-label': 'Running'}, running(data, ctx),
          data.running.before ? h('p', {class: 'more'}, h('a', {href: '#/jobs?state=running'}, 'All that run')) : null),
        h('div', {class: 'stack'},
          h('section', {key: 'waiting', class: 'panel', 'aria-label': 'Waiting'}, waiting(data, ctx),
            data.waiting.after ? h('p', {class: 'more'}, h('a', {href: '#/jobs?state=queued'}, 'All that wait')) : null),
          reasons(cluster, data))),
      h('section', {key: 'chips', class: 'panel', 'aria-label': 'Devices by chip'}, chips(cluster, nodes, ctx)),
      h('section', {key: 'map', class: 'panel'}, h('h2', {}, 'Where they are'),
        h('ul', {class: 'tiles'}, nodes.slice(0, kNodes).map(tile)),
        nodes.length > kNodes ? h('p', {class: 'more'}, h('a', {href: '#/nodes'}, `All ${number(nodes.length)} nodes`)) : null)];
  },
};
