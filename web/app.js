// The console: its frame, the way from an address to a view, and logging in and out.

import {ApiError, api, query} from './lib/api.js';
import {ask} from './lib/dialog.js';
import {h, patch, say, toast} from './lib/dom.js';
import {clock, duration} from './lib/format.js';
import {icon} from './lib/icons.js';
import {listenToKeys, showKeys} from './lib/keys.js';
import {Live} from './lib/live.js';
import audit from './views/audit.js';
import events from './views/events.js';
import job from './views/job.js';
import jobs from './views/jobs.js';
import {loginPage} from './views/login.js';
import nodes from './views/nodes.js';
import pool from './views/pool.js';
import queues from './views/queues.js';
import secrets from './views/secrets.js';
import teams from './views/teams.js';
import usage from './views/usage.js';

// A view: label (in the navigation), load(ctx) => data, render(data, ctx) => what stands in <main>,
// title(data, ctx); and: every (seconds between loads without a change), admin (for admins alone),
// member (not for viewers).
const views = {pool, jobs, queues, nodes, teams, secrets, usage, events, audit};

const app = {
  me: null,        // {user, team, role}; null: not logged in
  cluster: null,   // GET /cluster
  clusterAt: 0,
  route: null,     // {name, id, query}
  shown: null,     // {route, view, data, failure}
  focus: false,    // a new view is to get the focus
  menu: false,
  overText: '',
  version: '',
};

const root = document.getElementById('app');
const live = new Live(load, draw);

function routeNow() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id = ''] = path.split('/').map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return {name: name || 'pool', id, query: Object.fromEntries(new URLSearchParams(search)), text: location.hash};
}

function viewOf(route) {
  return route.name === 'jobs' && route.id ? job : Object.hasOwn(views, route.name) ? views[route.name] : null;
}

const mayOpen = (view) => (!view.admin || ctx.admin) && (!view.member || ctx.member);

/** What views get: who asks, the cluster's figures, and what they can do. */
const ctx = {
  get me() { return app.me; },
  get admin() { return app.me.role === 'admin'; },
  get member() { return app.me.role !== 'viewer'; },
  get cluster() { return app.cluster; },
  get route() { return app.route; },
  /** The figures of GET /cluster, not older than so many seconds. */
  async clusterOf(seconds) {
    if (Date.now() - app.clusterAt > seconds * 1000) await loadCluster();
    return app.cluster;
  },
  draw,
  reload: () => live.again(),
  /** Changes the query of the address: {state: 'queued', before: null}. */
  set(changes, push = false) {
    const route = routeNow();
    const text = `#/${route.name}${route.id ? `/${encodeURIComponent(route.id)}` : ''}${query({...route.query, ...changes})}`;
    if (text === location.hash) return;
    if (push) {
      location.hash = text;
    } else {
      history.replaceState(null, '', text);
      navigate(false);
    }
  },
  /** Asks, does it, tells what came of it. question: as of ask(), with method, path (or pathOf(values)),
   *  body(values) or content(values) (a text as it is), and done (text). */
  async act(question) {
    const result = await ask({...question, run: (values) => api(question.pathOf ? question.pathOf(values) : question.path, {
      method: question.method || 'POST', body: question.body && question.body(values), content: question.content && question.content(values)})});
    if (result === undefined) return undefined;
    if (question.done) toast(question.done);
    live.again();
    return result;
  },
};

async function loadCluster() {
  const cluster = await api('/cluster');
  app.clusterAt = Date.now();
  app.cluster = cluster;
  app.me = cluster.you;
  if (!app.version) app.version = cluster.version;
}

async function load() {
  const route = app.route;
  await ctx.clusterOf(app.me ? 30 : 0);
  const view = viewOf(route);
  let data = null, failure = null;
  if (!view) failure = new ApiError(404, 'There is no such page.');
  else if (!mayOpen(view)) failure = new ApiError(403, view.admin ? 'This is for administrators.' : 'This is not for viewers.');
  else {
    try {
      data = await view.load(ctx);
    } catch (e) {
      if (!(e instanceof ApiError) || e.status === 0 || e.status === 401 || e.status >= 500) throw e;
      failure = e;  // 403, 404: the page says so
    }
  }
  if (route !== app.route) return live.again();
  live.every = (view && view.every && view.every(data)) || 15;
  const moved = !app.shown || app.shown.route.name !== route.name || app.shown.route.id !== route.id;
  if (view && view.tell && data) view.tell(moved ? null : app.shown.data, data, say);
  app.shown = {route, view, data, failure};
  app.focus ||= moved;
  draw();
}

function navigate(moved = true) {
  app.route = routeNow();
  if (moved) app.menu = false;
  if (app.me) live.again();
}

function sessionOver(text) {
  if (!app.me && app.overText === text && root.querySelector('.login')) return;
  live.end();
  app.overText = app.me ? text || 'The session is over.' : '';
  app.me = null, app.shown = null, app.cluster = null, app.clusterAt = 0;
  for (const dialog of document.querySelectorAll('dialog')) dialog.close();
  draw();
}

async function logOut() {
  try {
    await api('/session', {method: 'DELETE'});
  } catch { /* over in any case */ }
  sessionOver('You are logged out.');
}

function turnTheme() {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
  try {
    localStorage.setItem('theme', dark ? 'light' : 'dark');
  } catch { /* for this page only */ }
  say(dark ? 'light' : 'dark');
}

function banners() {
  const out = [];
  const {cluster} = app;
  if (live.lost) {
    const wait = Math.max(0, Math.ceil((live.lost.next - Date.now()) / 1000));
    out.push(h('div', {key: 'lost', class: 'banner bad', role: 'alert'},
      h('span', {}, live.lost.error.status !== 0 ? `It did not work: ${live.lost.error.message}` : `The controller is not reachable since ${clock(live.lost.since / 1000)}`,
        '; trying again.', ' What you see may be old.'),
      h('span', {class: 'wait', 'aria-hidden': 'true'}, wait ? `in ${wait} s` : 'now …'),
      h('button', {type: 'button', on: {click: () => live.again()}}, 'Try now')));
  }
  if (cluster && cluster.trouble)
    out.push(h('div', {key: 'trouble', class: 'banner bad', role: 'alert'}, `The state cannot be written: ${cluster.trouble}`));
  if (cluster && cluster.paused_until)
    out.push(h('div', {key: 'paused', class: 'banner'}, `Leases are longer until ${clock(cluster.paused_until)}: nodes are not given up.`));
  if (cluster && app.version && cluster.version !== app.version)
    out.push(h('div', {key: 'version', class: 'banner'}, `The controller now has version ${cluster.version}.`,
               h('button', {type: 'button', on: {click: () => location.reload()}}, 'Load the page again')));
  return out;
}

function frame() {
  const {me, route, shown, cluster} = app;
  const skip = (event) => {
    event.preventDefault();
    root.querySelector('main').focus();
  };
  const links = Object.entries(views).filter(([, view]) => mayOpen(view)).map(([name, view]) =>
    h('li', {key: name}, h('a', {href: `#/${name}`, 'aria-current': route.name === name ? 'page' : null}, icon(name), h('span', {}, view.label))));
  const state = live.lost ? ['lost', 'not reachable'] : ['live', 'live'];
  return [
    h('a', {key: 'skip', class: 'skip', href: '#main', on: {click: skip}}, 'Skip to the content'),
    h('header', {key: 'top', class: 'top'},
      h('button', {key: 'menu', type: 'button', class: 'menu quiet', 'aria-expanded': String(app.menu), 'aria-controls': 'nav',
                   on: {click: () => { app.menu = !app.menu; draw(); }}}, icon('menu'), h('span', {class: 'sr-only'}, 'Menu')),
      h('a', {key: 'brand', class: 'brand', href: '#/pool'}, icon('brand'), 'Wellspring'),
      h('span', {key: 'state', class: `state ${state[0]}`}, h('span', {class: 'dot', 'aria-hidden': 'true'}), h('span', {class: 'word'}, state[1])),
      cluster.single_trust ? h('a', {key: 'trust', class: 'tag warn', href: '#/nodes', title: 'All teams’ jobs run with the rights of one user'}, 'single trust') : null,
      h('span', {key: 'gap', class: 'gap'}),
      h('span', {key: 'who', class: 'who', title: me.team ? `${me.user}, ${me.role} of team ${me.team}` : `${me.user}, ${me.role}`},
        h('b', {}, me.user), h('span', {class: 'role'}, me.team ? ` ${me.team} · ${me.role}` : ` ${me.role}`)),
      h('button', {key: 'keys', type: 'button', class: 'quiet wide-only', title: 'Keys (?)', on: {click: showKeys}}, icon('keys'), h('span', {class: 'sr-only'}, 'Keys')),
      h('button', {key: 'theme', type: 'button', class: 'quiet', title: 'Dark or light (d)', on: {click: turnTheme}}, icon('theme'), h('span', {class: 'sr-only'}, 'Dark or light')),
      h('button', {key: 'out', type: 'button', class: 'quiet', title: 'Log out', on: {click: logOut}}, icon('out'), h('span', {class: 'sr-only'}, 'Log out'))),
    h('nav', {key: 'nav', id: 'nav', 'aria-label': 'Views', class: app.menu ? 'open' : ''}, h('ul', {}, links)),
    h('main', {key: 'main', id: 'main', tabindex: '-1'},
      h('div', {key: 'banners', class: 'banners'}, banners()),
      !shown ? h('p', {key: 'wait', class: 'loading'}, live.lost ? '' : 'Loading …')
        : shown.failure ? h('section', {key: 'failure', class: 'failure'},
            h('h1', {tabindex: '-1'}, shown.failure.status === 404 ? 'Not found' : shown.failure.status === 403 ? 'Not allowed' : 'It did not work'),
            h('p', {}, shown.failure.message))
        : h('div', {key: `${shown.route.name}/${shown.route.id}`, class: 'view'}, shown.view.render(shown.data, ctx)))];
}

function draw() {
  if (!app.me) {
    document.title = 'Log in – Wellspring';
    if (live.lost) patch(root, h('main', {key: 'main', class: 'login'}, banners()));
    else if (app.overText !== null) patch(root, loginPage(app.overText, begin));
    const field = document.getElementById('token');
    if (field && document.activeElement === document.body) field.focus();
    return;
  }
  patch(root, frame());
  if (!app.shown) return;
  const title = app.shown.failure ? 'Not found' : app.shown.view.title ? app.shown.view.title(app.shown.data, ctx) : app.shown.view.label;
  document.title = `${live.lost ? '(not reachable) ' : ''}${title} – Wellspring`;
  if (app.focus) {
    app.focus = false;
    window.scrollTo(0, 0);
    const heading = root.querySelector('main h1');
    if (heading && app.arrived) heading.focus({preventScroll: true});
    app.arrived = true;
  }
}

/** Begins after a login, or when the page is opened with a session. */
function begin() {
  app.overText = null;
  app.route = routeNow();
  live.start();
}

window.addEventListener('hashchange', () => navigate());
window.addEventListener('session-over', (event) => sessionOver(event.detail));
setInterval(() => {
  if (!document.hidden && (live.lost || (app.shown && !document.querySelector('dialog')))) draw();
}, 1000);
listenToKeys(turnTheme);
begin();
