// Keys of one letter; they can be switched off, as some people speak to their computer.

import {ask} from './dialog.js';

const kPlaces = {p: 'pool', j: 'jobs', q: 'queues', n: 'nodes', t: 'teams', s: 'secrets', u: 'usage', e: 'events', a: 'audit'};
const kHelp = '/ filter · j and k next and previous row · Enter opens it · g then p, j, q, n, t, s, u, e, a: pool, jobs, queues, '
  + 'nodes, teams, secrets, usage, events, audit · d dark or light · ? this list';

let on = true;
try {
  on = localStorage.getItem('keys') !== 'off';
} catch { /* no storage: on */ }

function move(step) {
  const rows = [...document.querySelectorAll('main tr[data-row]')].filter((row) => row.offsetParent);
  if (!rows.length) return;
  const here = rows.findIndex((row) => row.contains(document.activeElement));
  const row = rows[here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step))];
  let target = row.querySelector('a, button');
  if (!target) row.tabIndex = -1, target = row;
  target.focus();
  row.scrollIntoView({block: 'nearest'});
}

export async function showKeys() {
  const set = await ask({title: 'Keys', text: kHelp, action: 'Keep', fields: [
    {name: 'on', label: 'Keys of one letter are on', type: 'checkbox', value: on}], run: async (values) => values});
  if (!set) return;
  on = set.on;
  try {
    localStorage.setItem('keys', on ? 'on' : 'off');
  } catch { /* for this page only */ }
}

export function listenToKeys(turnTheme) {
  let went = 0;
  document.addEventListener('keydown', (event) => {
    if (!on || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest('input, select, textarea, dialog')) return;
    if (Date.now() - went < 1500 && kPlaces[event.key]) {
      went = 0;
      location.hash = `#/${kPlaces[event.key]}`;
    } else if (event.key === '/') {
      const filter = document.querySelector('main [data-filter]');
      if (!filter) return;
      filter.focus();
      filter.select();
    } else if (event.key === 'j' || event.key === 'k') {
      move(event.key === 'j' ? 1 : -1);
    } else if (event.key === 'g') {
      went = Date.now();
    } else if (event.key === 'd') {
      turnTheme();
    } else if (event.key === '?') {
      showKeys();
    } else {
      return;
    }
    event.preventDefault();
  });
}
