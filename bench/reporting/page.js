'use strict';
const make = (tag, options = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), options);
  made.append(...children);
  return made;
};

// The number a cell starts with; what has none sorts by its text, after the numbers.
const number = text => { const found = text.replaceAll('−', '-').match(/^[<≥>≤ ]*([-+]?\d+(\.\d+)?)/);
                         return found ? parseFloat(found[1]) : NaN; };

const sortable = table => {
  for (const head of table.tHead.rows[0].cells) {
    if (!head.textContent.trim()) continue;
    const button = make('button', { type: 'button', title: 'sort' }, ...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const place = head.cellIndex, down = head.getAttribute('aria-sort') !== 'descending';
      for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const keyed = [...table.tBodies[0].rows].map(row => [row.cells[place].textContent.trim(), row]);
      keyed.sort(([a], [b]) => {
        const [x, y] = [number(a), number(b)];
        if (isNaN(x) && isNaN(y)) return a.localeCompare(b) * (down ? 1 : -1);
        if (isNaN(x) || isNaN(y)) return isNaN(x) ? 1 : -1;
        return down ? y - x : x - y;
      });
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    });
  }
};

// What the leading columns of a table name, each as [name, values of every line]: organ, method, fraction.
const facets = (names, lines, labels) => {
  const found = [];
  names.slice(0, labels).forEach((name, place) => {
    const texts = lines.map(line => line[place]);
    if (name === 'comparison') found.push(['method', texts.map(text => text.split(' − '))]);
    else if (name === 'column') {
      const parts = texts.map(text => text.split(', ')), most = Math.min(...parts.map(one => one.length));
      for (let i = 0; i < most; i++)
        found.push([parts[0][i].endsWith('%') ? 'fraction' : 'organ or domain', parts.map(one => [one[i]])]);
    } else found.push([name, texts.map(text => [text])]);
  });
  return found.filter(([, values]) => {
    const distinct = new Set(values.flat());
    return distinct.size > 1 && distinct.size < values.flat().length;
  });
};

const chooser = (name, values, change) => {
  const select = make('select', {}, new Option('all', ''), ...values.map(value => new Option(value)));
  select.addEventListener('change', change);
  return [make('label', {}, name, select), select];
};

const filterable = (table, labels) => {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells];
  const names = heads.map(head => head.textContent.trim());
  const bar = make('div', { className: 'filter' });
  if (rows.length > 5) {
    const lines = rows.map(row => [...row.cells].map(cell => cell.textContent.trim()));
    const chosen = [], shown = make('output');
    const search = make('input', { type: 'search', size: 14 });
    const filter = () => {
      const text = search.value.toLowerCase();
      rows.forEach((row, i) => {
        row.hidden = !chosen.every(([select, values]) => !select.value || values[i].includes(select.value))
          || !lines[i].slice(0, labels).some(cell => cell.toLowerCase().includes(text));
      });
      shown.value = `${rows.filter(row => !row.hidden).length} of ${rows.length} lines`;
    };
    for (const [name, values] of facets(names, lines, labels)) {
      const [label, select] = chooser(name, [...new Set(values.flat())], filter);
      chosen.push([select, values]);
      bar.append(label);
    }
    search.addEventListener('input', filter);
    bar.append(make('label', {}, 'search ', search), shown);
    filter();
  }
  const fractions = names.filter(name => /^[\d.]+ %$/.test(name));
  if (fractions.length > 1) {
    const [label, select] = chooser('fraction', fractions, () => heads.forEach((head, i) => {
      const away = fractions.includes(names[i]) && select.value && select.value !== names[i];
      for (const row of table.rows) row.cells[i].hidden = away;
    }));
    bar.prepend(label);
  }
  if (bar.childElementCount) table.closest('.scroll').before(bar);
};

const prepared = new WeakSet();
const prepare = part => {
  for (const scroll of part.querySelectorAll('.scroll')) {
    const table = scroll.querySelector('table');
    if (!table || prepared.has(table)) continue;
    prepared.add(table);
    if (!scroll.closest('.opening')) filterable(table, Number(scroll.dataset.labels));
    sortable(table);
  }
};

// A note is shown where the pointer rests on its number.
for (const link of document.querySelectorAll('.refs a'))
  link.title = document.getElementById(link.hash.slice(1)).textContent;

const chapters = [...document.querySelectorAll('details.chapter')];
for (const chapter of chapters)
  chapter.addEventListener('toggle', () => { if (chapter.open) prepare(chapter); });
for (const part of document.querySelectorAll('section')) prepare(part);

const reveal = () => {
  const target = document.getElementById(location.hash.slice(1));
  const chapter = target && target.closest('details.chapter');
  if (chapter && !chapter.open) { chapter.open = true; target.scrollIntoView(); }
};
window.addEventListener('hashchange', reveal);
for (const link of document.querySelectorAll('nav a')) link.addEventListener('click', () => setTimeout(reveal));
reveal();
const all = document.querySelector('nav button');
if (all) all.addEventListener('click', () => {
  const open = chapters.some(chapter => !chapter.open);
  for (const chapter of chapters) chapter.open = open;
  all.textContent = open ? 'Close all' : 'Open all';
});
window.addEventListener('beforeprint', () => { for (const chapter of chapters) chapter.open = true; });
