// Pages as descriptions: h() describes an element, patch() makes the page so and touches only what
// differs, so focus, selection and scrolling stay. Texts become text nodes: nothing is ever parsed
// as HTML.

const kSvg = 'http://www.w3.org/2000/svg';
const kHtml = 'http://www.w3.org/1999/xhtml';
const kLive = new Set(['value', 'checked', 'disabled', 'open', 'selected']);  // set as properties
const made = new WeakMap();  // element -> the description that it follows

/**
 * props: attributes, and: key (sameness among siblings), on {event: listener}, style {name: value},
 * mount (element => cleanup or nothing; once, after it was made; its children are then its own),
 * update (element => ...; after each patch). Children: strings, numbers, descriptions, lists of
 * them; null and false are left out.
 */
export function h(tag, props, ...children) {
  return {tag, props: props || {}, children: flat(children, [])};
}

function flat(list, out) {
  for (const child of list) {
    if (Array.isArray(child)) flat(child, out);
    else if (child !== null && child !== undefined && child !== false && child !== true)
      out.push(typeof child === 'object' ? child : String(child));
  }
  return out;
}

/** Makes the children of an element be these. */
export function patch(parent, ...children) {
  reconcile(parent, flat(children, []));
}

const keyOf = (v) => (typeof v === 'string' ? null : v.props.key ?? null);

function fits(node, v) {
  if (typeof v === 'string') return node.nodeType === Node.TEXT_NODE;
  const old = made.get(node);
  return old !== undefined && old.tag === v.tag && keyOf(old) === keyOf(v);
}

function reconcile(parent, wanted) {
  const keyed = new Map();
  for (const node of parent.childNodes) {
    const key = made.has(node) ? keyOf(made.get(node)) : null;
    if (key !== null) keyed.set(key, node);
  }
  const keys = new Set(wanted.map(keyOf));
  for (const [key, node] of keyed)
    if (!keys.has(key)) drop(node), keyed.delete(key);
  let at = parent.firstChild;
  for (const v of wanted) {
    const key = keyOf(v);
    let node = key === null ? at : keyed.get(key);  // without a key: where it stood, or made anew
    if (node && fits(node, v)) {
      if (node !== at) parent.insertBefore(node, at);
      else at = at.nextSibling;
      if (typeof v === 'string') {
        if (node.data !== v) node.data = v;
      } else {
        change(node, made.get(node), v);
      }
    } else {
      node = create(v, parent);
      parent.insertBefore(node, at);
      if (typeof v !== 'string') arrived(node, v);
    }
  }
  while (at) {
    const next = at.nextSibling;
    drop(at);
    at = next;
  }
}

function create(v, parent) {
  if (typeof v === 'string') return document.createTextNode(v);
  const svg = v.tag === 'svg' || parent.namespaceURI === kSvg;
  const el = document.createElementNS(svg ? kSvg : kHtml, v.tag);
  made.set(el, v);
  for (const [name, value] of Object.entries(v.props)) set(el, name, value, undefined);
  if (!v.props.mount) {
    for (const child of v.children) {
      const node = create(child, el);
      el.appendChild(node);
      if (typeof child !== 'string') arrived(node, child);
    }
    if (v.tag === 'select' && v.props.value !== undefined) el.value = v.props.value;
  }
  return el;
}

function arrived(el, v) {
  if (v.props.mount) el.cleanup_ = v.props.mount(el);
  if (v.props.update) v.props.update(el);
}

function change(el, old, v) {
  made.set(el, v);
  for (const name of Object.keys(old.props))
    if (!(name in v.props)) set(el, name, undefined, old.props[name]);
  for (const [name, value] of Object.entries(v.props))
    if (value !== old.props[name] || name === 'style' || name === 'on') set(el, name, value, old.props[name]);
  if (!v.props.mount) reconcile(el, v.children);
  if (v.props.update) v.props.update(el);
}

function drop(node) {
  if (node.nodeType === Node.ELEMENT_NODE) {
    for (const el of [node, ...node.querySelectorAll('*')]) {
      if (el.cleanup_) el.cleanup_();
      el.cleanup_ = null;
    }
  }
  node.remove();
}

function set(el, name, value, old) {
  if (name === 'key' || name === 'mount' || name === 'update') return;
  if (name === 'on') {
    for (const event of Object.keys(old || {}))
      if (!value || value[event] !== old[event]) el.removeEventListener(event, old[event]);
    for (const event of Object.keys(value || {}))
      if (!old || value[event] !== old[event]) el.addEventListener(event, value[event]);
  } else if (name === 'style') {
    for (const key of Object.keys(old || {}))
      if (!value || !(key in value)) el.style.removeProperty(key);
    for (const [key, text] of Object.entries(value || {}))
      if (el.style.getPropertyValue(key) !== text) el.style.setProperty(key, text);
  } else if (kLive.has(name)) {
    el[name] = value ?? '';
  } else if (/^on|^srcdoc$|^innerHTML$/i.test(name)) {
    throw new Error(`${name} is no attribute of a page here`);
  } else if (name === 'href' && value && !/^(#|\/api\/)/.test(value)) {
    throw new Error(`a link to ${value} leads out of the console`);
  } else if (value === undefined || value === null || value === false) {
    el.removeAttribute(name);
  } else {
    el.setAttribute(name, value === true ? '' : String(value));
  }
}

/** Says something to those who listen to the page instead of looking at it. */
export function say(text) {
  const el = document.getElementById('said');
  el.textContent = el.textContent === text ? `${text} ` : text;
}

/** A message at the edge of the page that goes after a while; errors stay longer. */
export function toast(text, bad = false) {
  const box = document.getElementById('toasts');
  const el = document.createElement('div');
  el.className = bad ? 'toast bad' : 'toast';
  el.textContent = text;
  box.append(el);
  while (box.children.length > 3) box.firstChild.remove();
  setTimeout(() => el.remove(), bad ? 12000 : 5000);
}
