// Tables that can be read aloud: caption, headings, sorting told by aria-sort.

import {h} from './dom.js';

const sorts = new Map();  // table's name -> {by, down}
const collator = new Intl.Collator(undefined, {numeric: true});

function compare(a, b) {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return collator.compare(String(a ?? ''), String(b ?? ''));
}

/**
 * options: name (of the table, for its sorting), caption (shown with `title`, else read aloud only),
 * columns, rows, key (row => text), empty (what stands in place of rows), ctx (for sorting: draws
 * again), cards (a phone shows each row as a card, all columns of it).
 * A column: title, cell (row => children), and: width ("20%"), class (num, mid: not on a phone,
 * wide: only on a wide screen), sort (row => what to sort by), head (what stands there for the eye),
 * sorted (ascending, descending: as the API sorts it).
 */
export function table(options) {
  const {name, caption, title, columns, key, ctx, empty = 'Nothing here.'} = options;
  const sort = sorts.get(name) || options.sort;
  let rows = options.rows;
  const by = sort && columns.find((c) => c.title === sort.by && c.sort);
  if (by) rows = [...rows].sort((a, b) => (sort.down ? -1 : 1) * compare(by.sort(a), by.sort(b)));
  const head = (c) => {
    const state = c.sorted || (by === c ? (sort.down ? 'descending' : 'ascending') : c.sort ? 'none' : null);
    const turn = () => {
      const down = by === c ? !sort.down : Boolean(c.class && c.class.includes('num'));
      sorts.set(name, {by: c.title, down});
      ctx.draw();
    };
    return h('th', {scope: 'col', role: 'columnheader', class: c.class, 'aria-sort': state, style: {width: c.width || 'auto'}},
             c.sort ? h('button', {class: 'sort', type: 'button', on: {click: turn}}, c.title,
                        h('span', {class: 'arrow', 'aria-hidden': 'true'}, by === c ? (sort.down ? '▾' : '▴') : ''))
                    : c.hidden ? h('span', {class: 'sr-only'}, c.title) : c.title);
  };
  // Roles are told once more: a phone shows some tables as cards, and browsers then forget them.
  return h('table', {key: name, role: 'table', class: `data ${options.cards ? 'cards' : ''}`},
           h('caption', {class: title ? 'title' : 'sr-only'}, title || caption),
           h('thead', {role: 'rowgroup'}, h('tr', {role: 'row'}, columns.map(head))),
           h('tbody', {role: 'rowgroup'}, rows.length
             ? rows.map((row) => h('tr', {key: key(row), role: 'row', 'data-row': true, class: options.rowClass && options.rowClass(row)},
                                   columns.map((c) => h(c.header ? 'th' : 'td', {class: c.class, role: c.header ? 'rowheader' : 'cell', scope: c.header ? 'row' : null, 'data-label': c.hidden || c.header ? null : c.title}, c.cell(row)))))
             : h('tr', {key: '-', role: 'row', class: 'empty'}, h('td', {role: 'cell', colspan: columns.length}, empty))));
}
