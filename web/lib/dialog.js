// Questions and forms in front of the page: the browser's own dialog, which keeps the focus inside
// and gives it back.

import {h, patch} from './dom.js';

let number = 0;

/**
 * Asks. options: title, text, action (label of the button), danger, fields, run (values => promise,
 * whose result closes the dialog; what it throws is shown in it), cancel (label). A field: name,
 * label, type (as of an input; select, textarea), value, options ([value, label]), hint, attributes.
 * Resolves to run's result, or undefined when it was left.
 */
export function ask(options) {
  const {title, text, action = 'OK', cancel = 'Back', danger = false, fields = [], run = async () => true} = options;
  const id = `dialog${++number}`;
  const dialog = document.createElement('dialog');
  dialog.setAttribute('aria-labelledby', `${id}-title`);
  document.body.append(dialog);
  return new Promise((resolve) => {
    let result, error = '', busy = false;
    const values = () => Object.fromEntries(fields.map((f) => {
      const el = dialog.querySelector(`[name="${f.name}"]`);
      return [f.name, f.type === 'checkbox' ? el.checked : f.type === 'textarea' ? el.value : el.value.trim()];
    }));
    const submit = async (event) => {
      event.preventDefault();
      if (busy) return;
      busy = true, error = '';
      draw();
      try {
        result = await run(values());
        dialog.close();
      } catch (e) {
        busy = false, error = e.message;
        draw();
      }
    };
    const field = (f) => {
      const props = {id: `${id}-${f.name}`, name: f.name, 'aria-describedby': f.hint ? `${id}-${f.name}-hint` : null, ...f.attributes};
      const input = f.type === 'select'
        ? h('select', {...props, value: f.value}, f.options.map(([value, label]) => h('option', {value}, label)))
        : f.type === 'textarea' ? h('textarea', {...props, rows: '6', autocomplete: 'off', spellcheck: 'false'})
        : h('input', {...props, type: f.type || 'text', autocomplete: 'off',
                      ...(f.type === 'checkbox' ? {checked: f.value} : {value: f.value ?? ''})});
      return h('div', {key: f.name, class: f.type === 'checkbox' ? 'field check' : 'field'},
               h('label', {for: `${id}-${f.name}`}, f.label), input,
               f.hint ? h('p', {class: 'hint', id: `${id}-${f.name}-hint`}, f.hint) : null);
    };
    const draw = () => patch(dialog, h('form', {on: {submit}},
      h('h2', {id: `${id}-title`}, title),
      text ? h('p', {key: 'text'}, text) : null,
      fields.map(field),
      h('p', {key: 'error', role: 'alert', class: 'error'}, error),
      h('div', {key: 'buttons', class: 'buttons'},
        cancel ? h('button', {key: 'no', type: 'button', on: {click: () => dialog.close()}}, cancel) : null,
        h('button', {key: 'yes', type: 'submit', class: danger ? 'danger' : 'primary', disabled: busy}, action))));
    draw();
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(result);
    });
    dialog.showModal();
    const first = dialog.querySelector('input, select, textarea') || dialog.querySelector(danger ? 'button' : '[type=submit]');
    if (first) first.focus();
  });
}

/** Shows something once, such as a new token: rows of [label, text], each with a button to copy it. */
export function showOnce(title, text, rows) {
  const dialog = document.createElement('dialog');
  dialog.setAttribute('aria-label', title);
  document.body.append(dialog);
  const copy = async (event, value) => {
    try {
      await navigator.clipboard.writeText(value);
      event.target.textContent = 'Copied';
    } catch {
      const code = event.target.parentElement.querySelector('code');
      getSelection().selectAllChildren(code);
      event.target.textContent = 'Selected';
    }
  };
  patch(dialog, h('div', {}, h('h2', {}, title), h('p', {}, text),
    rows.map(([label, value]) => h('div', {class: 'once'}, h('span', {class: 'label'}, label), h('code', {}, value),
                                   h('button', {type: 'button', on: {click: (event) => copy(event, value)}}, 'Copy'))),
    h('div', {class: 'buttons'}, h('button', {type: 'button', class: 'primary', on: {click: () => dialog.close()}}, 'Done'))));
  dialog.addEventListener('close', () => dialog.remove());
  dialog.showModal();
}
