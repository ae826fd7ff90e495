// The page that asks for a token.

import {api} from '../lib/api.js';
import {h} from '../lib/dom.js';
import {icon} from '../lib/icons.js';

let error = '', busy = false;

export function loginPage(text, entered) {
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target, input = form.elements.token, token = input.value.trim();
    const say = (message) => {
      error = message;
      form.querySelector('.error').textContent = message;
    };
    if (!token) return say('Type or paste a token.');
    if (busy) return undefined;
    busy = true;
    say('');
    try {
      await api('/session', {method: 'POST', body: {token}});
      form.reset();
      entered();
    } catch (e) {
      say(e.message);
      input.select();
    } finally {
      busy = false;
    }
    return undefined;
  };
  return h('main', {key: 'login', class: 'login'},
    h('form', {on: {submit}, class: 'card'},
      h('h1', {}, icon('brand'), 'Wellspring'),
      h('p', {key: 'why', class: 'sub', role: 'status'}, text),
      h('input', {type: 'text', name: 'username', autocomplete: 'username', value: 'token', hidden: true}),
      h('label', {for: 'token'}, 'Token'),
      h('input', {id: 'token', name: 'token', type: 'password', autocomplete: 'current-password', autocapitalize: 'off', spellcheck: 'false',
                  'aria-describedby': 'login-hint login-error'}),
      h('p', {key: 'error', id: 'login-error', class: 'error', role: 'alert'}, error),
      h('button', {type: 'submit', class: 'primary'}, 'Log in'),
      h('p', {id: 'login-hint', class: 'hint'}, 'An administrator makes tokens here or with ', h('code', {}, 'wellspring cluster token'),
        '. The page keeps a cookie that no script can read, not the token.')));
}
