// All jobs, page by page.

import {api, query} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {ago, asked, duration, isActive, isOver, took} from '../lib/format.js';
import {arrayBar, badge, choice, filter, jobName, pages} from '../lib/parts.js';
import {table} from '../lib/table.js';

const kStates = [['', 'all'], ['active', 'not ended'], ['queued,held', 'waiting'], ['queued', 'queued'], ['held', 'held'], ['starting,running,stopping', 'under way'],
  ['running', 'running'], ['succeeded', 'succeeded'], ['failed', 'failed'], ['cancelled', 'cancelled']];
const kPage = 50;

export default {
  label: 'Jobs',
  async load(ctx) {
    const {state, team, name, user, before} = ctx.route.query;
    const [jobs, teams] = await Promise.all([api(`/jobs${query({state, team, name, user, before, limit: kPage})}`), ctx.admin ? api('/teams') : {teams: []}]);
    return {...jobs, teams: teams.teams.map((t) => t.name)};
  },
  render(data, ctx) {
    const {state = '', team = '', name, user} = ctx.route.query;
    const set = (key) => (event) => ctx.set({[key]: event.target.value.trim(), before: null, back: null});
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Jobs'),
      h('form', {key: 'tools', class: 'tools', role: 'search', on: {submit: (event) => event.preventDefault()}},
        filter('Name', 'name', name, ctx, 'part of the name'),
        choice('State', state, kStates.some(([v]) => v === state) ? kStates : [...kStates, [state, state]], set('state')),
        ctx.admin ? choice('Team', team, [['', 'all'], ...data.teams.map((t) => [t, t])], set('team')) : null,
        h('label', {class: 'choice', key: 'User'}, h('span', {}, 'User'), h('input', {type: 'search', value: user || '', autocomplete: 'off', on: {change: set('user')}}))),
      h('section', {key: 'list', class: 'panel', 'aria-label': 'Jobs'}, table({
        name: 'jobs', ctx, caption: 'Jobs, the newest first', rows: data.jobs, key: (j) => j.id,
        empty: name || state || team || user ? 'No job fits these filters.' : ['No job yet. The first: ', h('code', {}, 'wellspring job run -- echo hello')],
        columns: [
          {title: 'Job', header: true, width: '36%', sorted: 'descending', cell: (j) => [h('span', {class: 'name'}, jobName(j),
            j.kind === 'batch' ? null : h('span', {class: 'tag'}, j.kind)),
            j.array ? arrayBar(j.array) : j.reason ? h('span', {class: 'sub reason', title: j.reason}, j.reason) : null,
            h('span', {class: 'sub phone'}, `${j.team} · ${asked(j)}${j.started ? ` · ${duration(took(j))}` : ''}`)]},
          {title: 'State', width: '12%', class: 'state-column', cell: (j) => badge(j.state)},
          {title: 'Team', class: 'mid', width: '13%', cell: (j) => [j.team, h('span', {class: 'sub'}, j.user)]},
          {title: 'Asks for', class: 'mid', width: '15%', cell: (j) => [asked(j), j.on && j.on.length ? h('span', {class: 'sub', title: j.on.join(', ')}, `on ${j.on[0]}${j.on.length > 1 ? ` +${j.on.length - 1}` : ''}`) : null]},
          {title: 'Queue', class: 'wide', width: '10%', cell: (j) => [j.queue, j.priority ? h('span', {class: 'sub'}, `priority ${j.priority}`) : null]},
          {title: 'Submitted', class: 'num wide', width: '12%', cell: (j) => ago(j.submitted)},
          {title: 'Time', class: 'num mid', width: '10%', cell: (j) => (j.started || isActive(j.state) ? duration(took(j)) : isOver(j.state) ? '–' : h('span', {class: 'sub'}, 'waits ', duration(took(j))))}],
      }), pages(ctx, data.before, data.jobs.length, 'jobs'))];
  },
};
