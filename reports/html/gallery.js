for (const root of document.querySelectorAll('.gallery')) {
  const find = name => root.querySelector(name);
  const data = JSON.parse(find('script[type="application/json"]').textContent);
  const [cell, chosen] = [find('.cell'), find('.case')];
  const fill = (select, names) => select.replaceChildren(...names.map((name, i) => new Option(name, i)));
  const image = (text, alt) => make('img', { src: 'data:image/png;base64,' + text, alt });
  const draw = () => {
    const { slices, scan, tiles } = data[cell.value].cases[chosen.value];
    find('.where').textContent = `Slices ${slices}, from the patient's foot end.`;
    find('.tiles').replaceChildren(...tiles.map(({ title, colour, overlay }) => {
      const text = make('figcaption', { textContent: title });
      text.style.borderColor = colour;
      return make('figure', { className: 'tile' }, text, make('div', {}, image(scan, 'CT'), image(overlay, title)));
    }));
  };
  const cases = () => { fill(chosen, data[cell.value].cases.map(one => one.name)); draw(); };
  const move = by => { const n = chosen.options.length;
                       chosen.value = (Number(chosen.value) + by + n) % n; draw(); };
  // A point of a figure leads to #case-CELL-CASE.
  const follow = () => {
    const found = root.id === 'cases' && location.hash.match(/^#case-(\d+)-(\d+)$/);
    if (!found || !data[found[1]]?.cases[found[2]]) return;
    cell.value = found[1];
    cases();
    chosen.value = found[2];
    draw();
    const chapter = root.closest('details');
    if (chapter) chapter.open = true;
    root.scrollIntoView();
    chosen.focus({ preventScroll: true });
  };
  fill(cell, data.map(one => one.name));
  cell.addEventListener('change', cases);
  chosen.addEventListener('change', draw);
  find('.back').addEventListener('click', () => move(-1));
  find('.on').addEventListener('click', () => move(1));
  find('.shown').addEventListener('change', event => root.classList.toggle('plain', !event.target.checked));
  cases();
  window.addEventListener('hashchange', follow);
  follow();
}
