// Teams, and the tokens of their people.

import {api} from '../lib/api.js';
import {showOnce} from '../lib/dialog.js';
import {h} from '../lib/dom.js';
import {ago, now, number} from '../lib/format.js';
import {table} from '../lib/table.js';

const kValid = [['0', 'until revoked'], ['86400', 'a day'], ['604800', 'a week'], ['2592000', '30 days'], ['31536000', 'a year']];

function editTeam(team, ctx) {
  const made = !team, t = team || {name: '', weight: 1};
  ctx.act({title: made ? 'New team' : `Team ${t.name}`, action: made ? 'Make' : 'Save', method: 'PUT', path: `/teams/${encodeURIComponent(t.name)}`,
    pathOf: made ? (v) => `/teams/${encodeURIComponent(v.name)}` : null, done: made ? 'The team is made' : `Team ${t.name} is changed`,
    fields: [
      ...(made ? [{name: 'name', label: 'Name', attributes: {required: true}}] : []),
      {name: 'system_user', label: 'System user', value: t.system_user || '', hint: 'Its jobs run with the rights of this user of the nodes; never root, and no other team’s.'},
      {name: 'weight', label: 'Weight', type: 'number', value: t.weight, attributes: {min: 0, step: 'any'}, hint: 'Its part of what is shared fairly.'},
      {name: 'roots', label: 'Folders that may be mounted', value: (t.roots || []).join(', '), hint: 'Absolute paths with commas between.'}],
    body: (v) => ({system_user: v.system_user, weight: Number(v.weight), roots: v.roots.split(',').map((r) => r.trim()).filter(Boolean)})});
}

async function newToken(data, ctx) {
  const made = await ctx.act({title: 'New token', action: 'Make', path: '/tokens',
    fields: [
      {name: 'role', label: 'Role', type: 'select', value: 'member', options: [['member', 'member: submits and ends its team’s jobs'], ['viewer', 'viewer: sees its team’s jobs'], ['admin', 'admin: everything'], ['join', 'join: lets a node in, once']]},
      {name: 'team', label: 'Team', type: 'select', value: data.teams[0].name, options: data.teams.map((t) => [t.name, t.name]), hint: 'Of members and viewers.'},
      {name: 'user', label: 'User', value: '', hint: 'Whose token it is; not of an invitation.'},
      {name: 'seconds', label: 'Valid for', type: 'select', value: '0', options: kValid, hint: 'An invitation without a time is valid for an hour.'},
      {name: 'note', label: 'Note', value: ''}],
    body: (v) => ({...v, seconds: Number(v.seconds)})});
  if (!made) return;
  const ca = made.fingerprint ? ` --ca-fingerprint ${made.fingerprint}` : '';
  if (made.role) return showOnce('The new token', `It is shown this once: the controller keeps a hash of it. For ${made.user}, ${made.role}${made.team ? ` of ${made.team}` : ''}.`,
    [['Token', made.token], ['Log in on a command line', `wellspring cluster login ${location.origin}${ca}`]]);
  showOnce('The invitation', 'It is shown this once, and lets one node in.', [['Invitation', made.token],
    ['On the node', `wellspring cluster node --controller ${location.origin} --join ${made.token}${ca}`]]);
}

function status(t) {
  if (t.revoked) return h('span', {class: 'sub'}, 'revoked');
  if (t.expires && t.expires < now()) return h('span', {class: 'sub'}, t.role === 'join' ? 'used or expired' : 'expired');
  return t.expires ? ['until ', new Date(t.expires * 1000).toLocaleDateString()] : 'valid';
}

function tokens(data, ctx) {
  return h('section', {key: 'tokens', class: 'panel', 'aria-label': 'Tokens'}, table({name: 'tokens', ctx, cards: true, title: 'Tokens', rows: data.tokens, key: (t) => t.id, sort: {by: 'Made', down: true},
    rowClass: (t) => (t.revoked || (t.expires && t.expires < now()) ? 'old' : ''),
    columns: [
      {title: 'User', header: true, width: '22%', sort: (t) => t.user || '', cell: (t) => [h('b', {}, t.user || (t.role === 'join' ? 'a node' : '–')), h('span', {class: 'sub', title: t.note}, t.note || '')]},
      {title: 'Role', width: '16%', sort: (t) => t.role, cell: (t) => t.role},
      {title: 'Team', class: 'mid', sort: (t) => t.team || '', cell: (t) => t.team || '–'},
      {title: 'Id', class: 'mid', cell: (t) => h('code', {}, t.id)},
      {title: 'Made', class: 'num mid', sort: (t) => t.created, cell: (t) => ago(t.created)},
      {title: 'State', width: '22%', sort: (t) => (t.revoked ? 2 : t.expires && t.expires < now() ? 1 : 0), cell: status},
      {title: 'Change', hidden: true, class: 'num', width: '7rem', cell: (t) => (t.revoked ? '' : h('button', {type: 'button', class: 'danger', 'aria-label': `Revoke token ${t.id} of ${t.user || 'a node'}`,
        on: {click: () => ctx.act({title: `Revoke the token of ${t.user || 'a node'}?`, danger: true, action: 'Revoke', method: 'DELETE', path: `/tokens/${encodeURIComponent(t.id)}`, done: 'The token is revoked',
          text: 'What uses it is refused from now on, this console’s sessions too.'})}}, 'Revoke'))}]}),
    h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => newToken(data, ctx)}}, 'New token')));
}

export default {
  label: 'Teams and tokens',
  async load(ctx) {
    const [teams, rows] = await Promise.all([api('/teams'), ctx.admin ? api('/tokens') : null]);
    return {teams: teams.teams, tokens: rows ? rows.tokens : null};
  },
  render(data, ctx) {
    const total = data.teams.reduce((sum, t) => sum + t.weight, 0);
    return [
      h('h1', {key: 'h', tabindex: '-1'}, 'Teams and tokens'),
      h('section', {key: 'teams', class: 'panel', 'aria-label': 'Teams'}, table({name: 'teams', ctx, cards: true, title: ctx.admin ? 'Teams' : 'Your team', rows: data.teams, key: (t) => t.name,
        columns: [
          {title: 'Team', header: true, width: '24%', sort: (t) => t.name, cell: (t) => h('b', {}, t.name)},
          {title: 'System user', class: 'mid', sort: (t) => t.system_user || '', cell: (t) => (t.system_user ? h('code', {}, t.system_user) : h('span', {class: 'sub'}, 'none set'))},
          {title: 'Weight', class: 'num', sort: (t) => t.weight, cell: (t) => [number(t.weight, t.weight % 1 ? 2 : 0), ctx.admin && total ? h('span', {class: 'sub'}, `${number(100 * t.weight / total)} %`) : null]},
          {title: 'Used of late', class: 'num', sort: (t) => t.usage, cell: (t) => [number(t.usage, 1), h('span', {class: 'sub'}, 'device-hours')]},
          {title: 'Holds', sort: (t) => Object.values(t.held).reduce((a, b) => a + b, 0), cell: (t) => Object.entries(t.held).map(([chip, n]) => `${n} ${chip}`).join(', ') || '–'},
          {title: 'May mount', class: 'wide', cell: (t) => (t.roots || []).join(', ') || '–'},
          ...(ctx.admin ? [{title: 'Change', hidden: true, class: 'num', width: '7rem', cell: (t) => h('button', {type: 'button', 'aria-label': `Change team ${t.name}`, on: {click: () => editTeam(t, ctx)}}, 'Change')}] : [])]}),
        ctx.admin ? h('p', {class: 'more'}, h('button', {type: 'button', on: {click: () => editTeam(null, ctx)}}, 'New team')) : null),
      data.tokens ? tokens(data, ctx) : null];
  },
};
