// One job: what it does, how far it is, its curves and its log.

import {api, logAddress, query} from '../lib/api.js';
import {Chart, liveCurve} from '../lib/chart.js';
import {h} from '../lib/dom.js';
import {ago, asked, at, bytes, duration, figure, isActive, isOver, megabytes, now, number, took} from '../lib/format.js';
import {LogView} from '../lib/log.js';
import {arrayBar, badge, choice, jobLink} from '../lib/parts.js';
import {table} from '../lib/table.js';

const kElements = 100;
const panel = {id: '', attempt: '', rank: 0, wrap: true, status: {text: '', paused: false}, view: null};
const kStopped = {cancel: 'cancelled', preempt: 'preempted', drain: 'its node was drained', time_limit: 'time limit', lost: 'node lost', replaced: 'replaced',
                  failed_part: 'another part failed', node_fault: 'the node could not begin it', quota: 'device-hours used up'};

function actions(job, ctx) {
  if (!ctx.member) return null;
  const name = `job ${job.id}`;
  const button = (label, verb, question) => h('button', {key: verb, type: 'button', class: question.danger ? 'danger' : '',
    on: {click: () => ctx.act({path: `/jobs/${encodeURIComponent(job.id)}/${verb}`, action: label, ...question})}}, label);
  return h('div', {class: 'actions', key: 'actions'},
    job.state === 'held' ? button('Release', 'release', {title: `Release ${name}?`, text: 'It queues again.', done: `${name} is released`})
      : job.state === 'queued' ? button('Hold', 'hold', {title: `Hold ${name}?`, text: 'It does not start until it is released.', done: `${name} is held`}) : null,
    ['failed', 'cancelled'].includes(job.state) ? button('Retry', 'retry', {title: `Retry ${name}?`, text: 'It waits again; its count of restarts begins anew.', done: `${name} waits again`}) : null,
    isOver(job.state) ? null : button('Cancel job', 'cancel', {title: `Cancel ${name}?`, danger: true, done: `${name} is being cancelled`,
      text: isActive(job.state) ? 'Its processes get SIGTERM, then SIGKILL. A job that writes checkpoints can write a last one.' : 'It will not run.'}));
}

function progress(job) {
  const p = job.progress;
  if (!p || p.step === undefined) return null;
  const share = p.steps ? Math.min(1, p.step / p.steps) : null;
  const part = (label, value, title) => (value === null ? null : h('span', {key: label, title}, h('span', {class: 'label'}, label), ' ', h('b', {}, value)));
  return h('section', {key: 'progress', class: 'panel progress', 'aria-label': 'Progress'},
    share === null ? null : h('div', {key: 'bar', class: 'track', role: 'progressbar', 'aria-label': 'Progress', 'aria-valuemin': '0', 'aria-valuemax': '100',
                                      'aria-valuenow': Math.floor(100 * share)}, h('span', {style: {width: `${100 * share}%`}})),
    h('div', {class: 'line'},
      part('step', p.steps ? `${number(p.step)} of ${number(p.steps)} (${Math.floor(100 * share)} %)` : number(p.step)),
      part('ETA', isActive(job.state) && p.eta_seconds !== undefined ? duration(p.eta_seconds) : null),
      part('loss', p.loss === undefined ? null : figure(p.loss)),
      part('held out', p.eval_loss === undefined ? null : figure(p.eval_loss)),
      part('tokens/s', p.tokens_per_second === undefined ? null : number(p.tokens_per_second)),
      part('checkpoint', p.checkpoint === undefined ? null : `step ${number(p.checkpoint)}`)));
}

function chart(key, title, series, points) {
  return h('figure', {key, class: 'chart', mount: (el) => {
    el.chart_ = new Chart(el, title, series);
    return () => el.chart_.end();
  }, update: (el) => el.chart_.set(points)});
}

function charts(data) {
  const has = (name) => data.curve.some((p) => Number.isFinite(p[name]));
  if (!has('loss') && !has('tokens_per_second')) return null;
  return h('section', {key: 'charts', class: 'charts', 'aria-label': 'Curves'},
    has('loss') ? chart('loss', 'Loss', [{key: 'loss', label: 'training'}, {key: 'eval_loss', label: 'held out', dots: true}], data.curve) : null,
    has('tokens_per_second') ? chart('speed', 'Tokens per second', [{key: 'tokens_per_second', label: 'tokens/s'}], data.curve) : null);
}

function logPanel(job, ctx) {
  if (job.array) return null;
  if (panel.id !== job.id) Object.assign(panel, {id: job.id, attempt: '', rank: 0, status: {text: '', paused: false}});
  const newest = job.history.length ? job.history[job.history.length - 1] : null;
  if (!newest) return h('section', {key: 'log', class: 'panel log'}, h('h2', {}, 'Log'), h('p', {class: 'sub'}, 'It has not run yet.'));
  const attempt = job.history.find((a) => String(a.number) === panel.attempt) || newest;
  const ranks = Math.max(1, attempt.parts.length * (attempt.tasks_per_node || 1));
  if (panel.rank >= ranks) panel.rank = 0;
  const source = {id: job.id, attempt: attempt.number, rank: panel.rank};
  const tell = (status) => {
    panel.status = status;
    queueMicrotask(ctx.draw);
  };
  const rankList = [...(job.spec.setup ? [['-1', 'setup']] : []), ...Array.from({length: Math.min(ranks, 4096)}, (_, i) => [String(i), String(i)])];
  return h('section', {key: 'log', class: 'panel log'},
    h('div', {class: 'log-head'}, h('h2', {id: 'log-title'}, 'Log'),
      job.history.length > 1 ? choice('Attempt', panel.attempt, [['', `newest (${newest.number})`], ...job.history.map((a) => [String(a.number), String(a.number)])],
        (event) => { panel.attempt = event.target.value; ctx.draw(); }) : null,
      rankList.length > 1 ? choice('Rank', String(panel.rank), rankList, (event) => { panel.rank = Number(event.target.value); ctx.draw(); }) : null,
      h('span', {key: 'status', class: 'sub log-status', role: 'status'}, panel.status.text),
      h('span', {key: 'gap', class: 'gap'}),
      h('label', {key: 'wrap', class: 'choice'}, h('input', {type: 'checkbox', checked: panel.wrap, on: {change: (event) => { panel.wrap = event.target.checked; ctx.draw(); }}}), h('span', {}, 'Wrap')),
      h('button', {key: 'pause', type: 'button', 'aria-pressed': String(panel.status.paused), on: {click: () => panel.view && panel.view.pause(!panel.status.paused)}}, panel.status.paused ? 'Go on' : 'Pause'),
      h('a', {key: 'whole', class: 'button', href: logAddress(job.id, {attempt: source.attempt, rank: source.rank}), download: `job-${job.id}-attempt-${source.attempt}-rank-${source.rank}.txt`}, 'Download')),
    h('pre', {key: `${job.id}`, class: panel.wrap ? 'log-text wrap' : 'log-text', tabindex: '0', 'aria-labelledby': 'log-title', role: 'region',
      mount: (el) => {
        const view = panel.view = el.log_ = new LogView(el, tell);
        return () => {
          view.end();
          if (panel.view === view) panel.view = null;
        };
      },
      update: (el) => {
        const shown = el.log_.source;
        if (!shown || shown.attempt !== source.attempt || shown.rank !== source.rank) el.log_.show(source);
      }}));
}

function facts(job) {
  const {spec} = job, rows = [];
  const add = (label, value) => { if (value !== null && value !== undefined && value !== '') rows.push(h('div', {key: label}, h('dt', {}, label), h('dd', {}, value))); };
  const joined = (list) => list.flatMap((x, i) => (i ? [', ', x] : [x]));
  const id = job.id.split('_')[0];
  add('Array', id !== job.id ? jobLink(id, `job ${id}`) : null);
  add('Team', `${job.team}${job.project ? ` / ${job.project}` : ''}`);
  add('User', job.user);
  add('Queue', job.priority ? `${job.queue}, priority ${job.priority}` : job.queue);
  add('Kind', job.kind === 'batch' ? null : job.kind);
  const accepted = spec.accepted || [];
  add('Asks for', accepted.length > 1 ? accepted.map((r) => asked({count: 1, ...r})).join(' or ') : asked(job));
  add('Nodes', job.nodes > 1 ? number(job.nodes) : null);
  add('Memory', accepted.length && accepted[0].memory_mb ? `${megabytes(accepted[0].memory_mb)} on each node` : null);
  add('Runs on', job.on && job.on.length ? job.on.join(', ') : null);
  add('Submitted', at(job.submitted));
  add('Started', job.started ? at(job.started) : null);
  add('Ended', job.ended ? at(job.ended) : null);
  add(job.started ? 'Ran for' : 'Waited for', job.started || !job.ended ? duration(took(job)) : null);
  add('Time limit', spec.time_limit ? duration(spec.time_limit) : null);
  add('Not before', spec.not_before ? at(spec.not_before) : null);
  add('Deadline', spec.deadline ? at(spec.deadline) : null);
  add('Exit status', job.exit_status);
  add('Restarts', job.restarts ? `${job.restarts}${spec.restart ? ` of ${spec.restart.most ?? 0}` : ''}` : null);
  add('After', spec.after && spec.after.length ? joined(spec.after.map((d) => h('span', {}, d.kind || 'afterok', ' ', jobLink(d.job)))) : null);
  add('Secrets', spec.secrets && spec.secrets.length ? spec.secrets.map((s) => s.name).join(', ') : null);
  add('Run folder', job.run_folder ? h('code', {}, job.run_folder) : null);
  return h('section', {key: 'facts', class: 'panel facts', 'aria-label': 'Facts'}, h('dl', {}, rows));
}

function attempts(job, ctx) {
  if (!job.history.length) return null;
  return h('section', {key: 'attempts', class: 'panel', 'aria-label': 'Attempts'}, table({
    name: 'attempts', ctx, cards: true, title: 'Attempts', rows: [...job.history].reverse(), key: (a) => String(a.number),
    columns: [
      {title: 'No.', class: 'num', width: '8%', header: true, cell: (a) => number(a.number)},
      {title: 'State', width: '17%', cell: (a) => badge(a.state === 'ended' ? (a.exit_status === 0 && !a.cause ? 'succeeded' : 'ended') : a.state)},
      {title: 'On', width: '22%', cell: (a) => [a.parts.slice(0, 3).map((p) => p.node).join(', ') + (a.parts.length > 3 ? ` +${a.parts.length - 3}` : '') || (a.outside ? `Slurm ${a.outside}` : '–'), h('span', {class: 'sub'}, a.chip + (a.parts.length && a.outside ? `, Slurm ${a.outside}` : ''))]},
      {title: 'What became of it', class: 'mid', cell: (a) => [[kStopped[a.cause] || '', a.reason].filter(Boolean).join(': ') || (a.state === 'ended' ? 'it ended by itself' : ''),
        a.checkpoint ? h('span', {class: 'sub'}, `checkpoint of step ${number(a.checkpoint)}`) : null]},
      {title: 'Exit', class: 'num', width: '9%', cell: (a) => (a.exit_status === undefined || a.exit_status < 0 ? '–' : String(a.exit_status))},
      {title: 'Started', class: 'num wide', width: '14%', cell: (a) => ago(a.started)},
      {title: 'Ran', class: 'num', width: '12%', cell: (a) => [a.started ? duration((a.ended || now()) - a.started) : '–', a.peak_memory ? h('span', {class: 'sub mid-only'}, bytes(a.peak_memory)) : null]}]}));
}

function elements(job, ctx) {
  if (!job.array) return null;
  const {element_state: state = '', from = '0'} = ctx.route.query;
  return h('section', {key: 'elements', class: 'panel', 'aria-label': 'Elements'},
    h('div', {class: 'tools'}, choice('Elements', state, [['', 'all'], ['active', 'not ended'], ...['queued', 'running', 'succeeded', 'failed', 'cancelled'].map((s) => [s, s])],
      (event) => ctx.set({element_state: event.target.value, from: null}))),
    table({name: 'elements', ctx, caption: 'Elements of the array', rows: job.elements, key: (e) => e.id, empty: 'No element is in this state.',
      columns: [{title: 'Element', header: true, cell: (e) => jobLink(e.id, e.id)}, {title: 'State', cell: (e) => badge(e.state)},
        {title: 'Exit', class: 'num', cell: (e) => (e.exit_status === undefined ? '–' : String(e.exit_status))}]}),
    h('div', {class: 'pages'},
      h('button', {type: 'button', disabled: from === '0', on: {click: () => ctx.set({from: null}, true)}}, 'First'),
      h('button', {type: 'button', disabled: !job.elements_from, on: {click: () => ctx.set({from: job.elements_from}, true)}}, 'More')));
}

function description(job) {
  const {spec} = job;
  const text = spec.command || spec.train || '';
  return h('section', {key: 'description', class: 'panel'}, h('h2', {}, spec.train ? 'Run file' : 'Command'),
    text ? h('pre', {class: 'command', tabindex: '0', role: 'region', 'aria-label': spec.train ? 'Run file' : 'Command'}, text) : h('p', {class: 'sub'}, 'none'),
    h('details', {}, h('summary', {}, 'All that was submitted'), h('pre', {class: 'command', tabindex: '0', role: 'region', 'aria-label': 'All that was submitted'}, JSON.stringify(spec, null, 2))));
}

function stateLine(job) {
  const parts = [];
  if (job.reason) parts.push(h('span', {key: 'why', class: 'reason'}, job.reason));
  if (job.expected && !isOver(job.state) && !isActive(job.state))
    parts.push(h('span', {key: 'expected', class: 'sub'}, 'expected to start ', job.expected > now() ? `within ${duration(job.expected - now())}` : 'any moment', ' (', at(job.expected), ' at the latest)'));
  return h('p', {key: 'why', class: 'why'}, badge(job.state), parts, job.array ? arrayBar(job.array) : null);
}

export default {
  label: 'Job',
  every: (data) => (data && isActive(data.job.state) ? 3 : 15),
  title: (data) => `#${data.job.id} ${data.job.state} ${data.job.name}`,
  async load(ctx) {
    const id = encodeURIComponent(ctx.route.id), {element_state, from} = ctx.route.query;
    const job = await api(`/jobs/${id}${query({element_state, from, elements: kElements})}`);
    let curve = [];
    if (job.history.length && job.progress) {
      try {
        curve = liveCurve((await api(`/jobs/${id}/curve?points=500`)).points);
      } catch (e) {
        if (e.status === 401 || e.status === 0) throw e;  // its node is away: no curve for now
      }
    }
    return {job, curve};
  },
  /** Says changes of state to who listens. */
  tell(before, data, say) {
    if (before && before.job.state !== data.job.state) say(`Job ${data.job.id} is now ${data.job.state}`);
  },
  render(data, ctx) {
    const {job} = data;
    return [
      h('div', {key: 'h', class: 'head'}, h('h1', {tabindex: '-1'}, h('span', {class: 'sub'}, `#${job.id}`), ' ', job.name), actions(job, ctx)),
      stateLine(job),
      h('div', {key: 'columns', class: 'columns'},
        h('div', {key: 'main', class: 'stack'}, progress(job), charts(data), elements(job, ctx), logPanel(job, ctx), attempts(job, ctx)),
        h('div', {key: 'side', class: 'stack'}, facts(job), description(job)))];
  },
};
