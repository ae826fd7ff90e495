// Machines: what they have, what runs there, how it is contained.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {duration, megabytes, number} from '../lib/format.js';
import {badge, bar, jobLink} from '../lib/parts.js';
import {table} from '../lib/table.js';
import {reservations, reserved} from './reservations.js';

const kJobs = 6, kMounts = 3;

function actions(node, ctx) {
  const path = (verb) => `/nodes/${encodeURIComponent(node.name)}/${verb}`;
  const button = (label, question) => h('button', {key: label, type: 'button', class: question.danger ? 'danger' : '', 'aria-label': `${label}: node ${node.name}`,
    on: {click: () => ctx.act({action: label, ...question})}}, label);
  return h('span', {class: 'actions'},
    node.state === 'drained' ? button('Resume', {title: `Resume ${node.name}?`, text: 'It takes jobs again.', path: path('resume'), done: `${node.name} takes jobs again`})
      : node.state === 'lost' ? null
      : button('Drain', {title: `Drain ${node.name}?`, danger: true, path: path('drain'), done: `${node.name} is being drained`,
          text: 'Its jobs are ended (they can write a checkpoint) and run elsewhere; it gets no more.', fields: [{name: 'note', label: 'Why', value: ''}], body: (v) => ({note: v.note})}),
    node.state === 'silent' ? button('Give up', {title: `Give ${node.name} up?`, danger: true, path: path('lost'), done: `${node.name} is given up`,
      text: 'Only when it will not come back: its jobs run elsewhere at once.'}) : null,
    ['lost', 'drained', 'silent'].includes(node.state) && !node.jobs.length ? button('Forget', {title: `Forget ${node.name}?`, danger: true, method: 'DELETE', path: `/nodes/${encodeURIComponent(node.name)}`,
      text: 'It has to join again to come back.', done: `${node.name} is forgotten`}) : null);
}

function trust(node) {
  if (node.single_trust) return h('span', {class: 'tag warn', title: 'All teams’ jobs run with the rights of one user'}, 'single trust');
  if (node.only_team) return h('span', {class: 'tag'}, `team ${node.only_team} only`);
  return node.executor === 'nodes' && node.switches_users ? h('span', {class: 'sub'}, 'teams are separate users') : null;
}

// "cgroup2; memory by cgroup v1; cores by cgroup v1": what ends attempts, then what limits them.
function containment(node) {
  const [means, ...limits] = (node.containment || '–').split(';').map((part) => part.trim());
  const by = new Map();
  for (const limit of limits) {
    const [what, how = ''] = limit.split(' by ');
    by.set(how, [...(by.get(how) || []), what]);
  }
  return [means, ...[...by].map(([how, what]) => h('span', {key: how, class: 'sub'}, what.join(', '), how ? ` by ${how}` : ''))];
}

// Folders that jobs may ask for.
function mounts({mounts: all = []}) {
  if (all.length <= kMounts) return all.length ? h('span', {key: 'mounts', class: 'sub'}, `mounts: ${all.join(', ')}`) : null;
  return h('details', {key: 'mounts', class: 'sub'}, h('summary', {}, `${number(all.length)} mounts`), all.join(', '));
}

export default {
  label: 'Nodes',
  every: () => 10,
  async load(ctx) {
    const [nodes, kept, teams] = await Promise.all([api('/nodes'), api('/reservations'), ctx.admin ? api('/teams') : {teams: []}]);
    return {nodes: nodes.nodes, reservations: kept.reservations, teams: teams.teams.map((t) => t.name)};
  },
  render(data, ctx) {
    const single = data.nodes.filter((n) => n.single_trust);
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Nodes'),
      single.length ? h('div', {key: 'single', class: 'banner warn'}, h('span', {}, h('b', {}, 'Single trust: '), `on ${single.length === data.nodes.length ? 'every node' : single.map((n) => n.name).join(', ')} the jobs of all teams run `
        + 'with the rights of one user. Who may submit there can read and end what others run.')) : null,
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Nodes'}, table({name: 'nodes', ctx, cards: true, caption: 'Nodes', rows: data.nodes, key: (n) => n.name, sort: {by: 'Node', down: false},
        empty: ['No node has joined. On a machine: ', h('code', {}, 'wellspring cluster node --controller … --join …')],
        columns: [
          {title: 'Node', header: true, width: '20%', sort: (n) => n.name, cell: (n) => [h('b', {title: n.name}, n.name), h('span', {class: 'sub'}, [n.executor === 'nodes' ? '' : n.executor, n.pool === 'shared' ? '' : `pool ${n.pool}`, n.version && `version ${n.version}`].filter(Boolean).join(' · ')), trust(n), reserved(n, data), mounts(n)]},
          {title: 'State', width: '13%', class: 'state-column', sort: (n) => n.state, cell: (n) => [badge(n.state), n.note ? h('span', {class: 'sub reason'}, n.note) : null, ['silent', 'lost'].includes(n.state) && n.silence !== undefined ? h('span', {class: 'sub'}, `no word for ${duration(n.silence)}`) : null]},
          {title: 'Devices', width: '22%', sort: (n) => n.devices.reduce((sum, d) => sum + d.all, 0), cell: (n) => n.devices.map((d) => h('span', {key: d.chip, class: 'device'},
            bar([['held', d.held, 'in use'], [n.state === 'up' || n.executor !== 'nodes' ? 'free' : 'gone', d.all - d.held, 'free']], d.all, `${d.chip}: ${d.held} of ${d.all} in use`), h('span', {class: 'sub'}, `${number(d.held)} of ${number(d.all)} ${d.chip}`)))},
          {title: 'Jobs', class: 'mid', width: '13%', sort: (n) => n.jobs.length, cell: (n) => (n.jobs.length ? [h('span', {}, n.jobs.slice(0, kJobs).map((id) => [h('span', {key: id}, jobLink(id)), ' '])), n.jobs.length > kJobs ? h('span', {class: 'sub'}, `and ${number(n.jobs.length - kJobs)} more`) : null] : '–')},
          {title: 'Containment', class: 'mid', width: '17%', cell: containment},
          {title: 'Memory', class: 'num wide', width: '9%', sort: (n) => n.memory_mb, cell: (n) => megabytes(n.memory_mb)},
          ...(ctx.admin ? [{title: 'Change', hidden: true, class: 'num', width: '7rem', cell: (n) => actions(n, ctx)}] : [])]})),
      reservations(data, ctx)];
  },
};
