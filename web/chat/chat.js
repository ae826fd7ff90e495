// The chat page: a conversation with a model of this server. What is said stays in this page; the key and the
// settings are kept until the tab closes.
import {h, patch, say} from '../lib/dom.js';
import {Refused, answer, models} from './stream.js';

const KEPT = ['key', 'model', 'system', 'temperature', 'max'];
const s = {
  key: '', model: '', system: '', temperature: '0.7', max: '1024',  // kept
  models: [], said: [], draft: '', open: false, stop: null, problem: '',
};

function recall() {
  try {
    const kept = JSON.parse(sessionStorage.getItem('chat') || '{}');
    for (const name of KEPT) if (typeof kept[name] === 'string') s[name] = kept[name];
  } catch { /* no storage, or not ours: as a new page */ }
}

function keep() {
  try {
    sessionStorage.setItem('chat', JSON.stringify(Object.fromEntries(KEPT.map((name) => [name, s[name]]))));
  } catch { /* no storage: until the page is left */ }
}

async function load() {
  try {
    s.models = await models(s.key);
    if (!s.models.includes(s.model)) s.model = s.models[0];
    s.problem = '';
  } catch (error) {
    fail(error);
  }
  render();
}

function fail(error) {
  s.problem = error instanceof Refused ? error.message : 'The server does not answer.';
  if (error.status === 401) {
    s.open = true;
    s.problem = s.key ? 'The key is not known here.' : 'This server needs a key.';
    render();
    document.getElementById('key').focus();
  }
  say(s.problem);
}

function request() {
  const messages = s.said.filter((m) => m.content).map(({role, content}) => ({role, content}));
  if (s.system.trim()) messages.unshift({role: 'system', content: s.system});
  const body = {model: s.model, messages};
  if (s.temperature !== '') body.temperature = Number(s.temperature);
  if (s.max !== '') body.max_tokens = Number(s.max);
  return body;
}

async function ask() {
  const body = request();
  const made = {role: 'assistant', content: '', note: ''};
  s.said.push(made);
  const stop = new AbortController();
  s.stop = stop;
  s.problem = '';
  render();
  let first = 0;
  try {
    const end = await answer(body, s.key, stop.signal, (text) => {
      first ||= performance.now();
      made.content += text;
      soon();
    });
    made.note = noted(end, (performance.now() - first) / 1000);
    say('The answer is complete.');
  } catch (error) {
    if (error.name === 'AbortError') made.note = 'stopped';
    else fail(error);
    if (!made.content) unsay(made);
  }
  if (s.stop === stop) s.stop = null;
  render();
  if (!s.open) document.getElementById('draft').focus();
}

// What was not answered goes back to where it was written.
function unsay(made) {
  if (s.said.at(-1) !== made) return;
  s.said.pop();
  const question = s.said.pop();
  if (!s.draft) s.draft = question.content;
}

function noted({reason, tokens}, seconds) {
  const parts = [];
  if (tokens) parts.push(`${tokens} tokens`);
  if (tokens > 1 && seconds > 0.05) parts.push(`${(tokens / seconds).toFixed(tokens / seconds < 10 ? 1 : 0)} a second`);
  if (reason === 'length') parts.push('cut at its most tokens');
  return parts.join(', ');
}

function send() {
  if (s.stop || !s.draft.trim() || !s.model) return;
  s.said.push({role: 'user', content: s.draft});
  s.draft = '';
  ask();
}

function again() {
  s.said.pop();
  ask();
}

function clear() {
  if (s.stop) s.stop.abort();
  s.stop = null;
  s.said = [];
  s.problem = '';
  render();
  document.getElementById('draft').focus();
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say('Copied.');
  } catch {
    say('The browser does not let this page copy.');
  }
}

// Text, and what stands between lines of ``` as it is.
function body(text) {
  return text.split(/^```/m).map((part, i) => (i % 2
    ? h('pre', {tabindex: 0, role: 'group', 'aria-label': 'code'}, h('code', {}, part.replace(/^[^\n]*\n/, '')))
    : part.trim() && h('p', {}, inline(part.replace(/^\n+|\s+$/g, '')))));
}

// **bold** and `code` within it.
function inline(text) {
  return text.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/).map((part, i) => (i % 2 === 0 ? part
    : part[0] === '*' ? h('strong', {}, part.slice(2, -2)) : h('code', {}, part.slice(1, -1))));
}

function message(m, i) {
  const last = i === s.said.length - 1, runs = last && s.stop;
  return h('article', {key: i, class: m.role, 'aria-label': m.role === 'user' ? 'You' : 'Answer'},
    h('h2', {}, m.role === 'user' ? 'You' : s.model),
    body(m.content),
    runs && h('span', {class: 'caret', 'aria-hidden': 'true'}),
    m.role === 'assistant' && !runs && h('div', {class: 'below'},
      h('span', {class: 'note'}, m.note),
      h('button', {type: 'button', class: 'quiet', on: {click: () => copy(m.content)}}, 'Copy'),
      last && h('button', {type: 'button', class: 'quiet', on: {click: again}}, 'Again')));
}

const setter = (name, after) => ({
  input: (e) => { s[name] = e.target.value; keep(); },
  change: () => after && after(),
});

function field(name, label, tag, props, after) {
  return h('div', {class: 'field'}, h('label', {for: name}, label), h(tag, {id: name, value: s[name], on: setter(name, after), ...props}));
}

function settings() {
  return h('aside', {id: 'settings', 'aria-label': 'Settings', hidden: !s.open},
    field('key', 'Key (kept until this tab closes)', 'input', {type: 'password', autocomplete: 'off', spellcheck: 'false'}, load),
    field('system', 'System prompt', 'textarea', {rows: 5}),
    h('div', {class: 'pair'},
      field('temperature', 'Temperature', 'input', {type: 'number', min: 0, max: 2, step: 0.1}),
      field('max', 'Most tokens', 'input', {type: 'number', min: 1, step: 1})));
}

function top() {
  const toggle = () => { s.open = !s.open; render(); };
  return h('header', {},
    h('h1', {}, 'Wellspring'),
    h('label', {for: 'model', class: 'sr-only'}, 'Model'),
    h('select', {id: 'model', value: s.model, disabled: !s.models.length, on: {change: (e) => { s.model = e.target.value; keep(); }}},
      s.models.map((name) => h('option', {key: name, value: name, selected: name === s.model}, name))),
    h('span', {class: 'gap'}),
    h('button', {type: 'button', 'aria-expanded': String(s.open), 'aria-controls': 'settings', on: {click: toggle}}, 'Settings'),
    h('button', {type: 'button', on: {click: clear}}, 'New chat'));
}

function composer() {
  const key = (e) => {
    if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) e.preventDefault(), send();
  };
  return h('form', {'aria-label': 'Message', on: {submit: (e) => { e.preventDefault(); send(); }}},
    h('label', {for: 'draft', class: 'sr-only'}, 'Message'),
    h('textarea', {id: 'draft', rows: 2, placeholder: 'Write a message. Enter sends, Shift and Enter begin a line, Escape stops.',
      update: (el) => { if (el.value !== s.draft) el.value = s.draft; },  // typing draws nothing
      on: {keydown: key, input: (e) => { s.draft = e.target.value; }}}),
    s.stop ? h('button', {key: 'stop', type: 'button', class: 'main', on: {click: () => s.stop.abort()}}, 'Stop')
      : h('button', {key: 'send', type: 'submit', class: 'main', disabled: !s.model}, 'Send'));
}

function render() {
  const box = document.scrollingElement, low = box.scrollHeight - box.scrollTop - box.clientHeight < 80;
  patch(document.getElementById('app'),
    top(), settings(),
    h('main', {},
      h('div', {role: 'log', 'aria-label': 'Conversation', 'aria-busy': String(!!s.stop)},
        !s.said.length && h('p', {class: 'empty'}, s.model ? `Say something to ${s.model}.` : 'No model yet.'),
        s.said.map(message)),
      s.problem && h('p', {role: 'alert', class: 'problem'}, s.problem)),
    composer());
  if (low) box.scrollTop = box.scrollHeight;
}

let planned = false;
function soon() {
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => { planned = false; render(); });
}

document.addEventListener('keydown', (e) => {
  if (e.key === 'Escape' && s.stop) s.stop.abort();
});
recall();
render();
load();
if (matchMedia('(pointer: fine)').matches) document.getElementById('draft').focus();
