'use strict';

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A click on a column head sorts by it, best first; a second click reverses the order.
for (const table of all('table.sortable')) {
  const heads = all('thead th', table);
  heads.forEach((head, column) => {
    head.querySelector('.sort').addEventListener('click', () => {
      const numbers = head.dataset.kind === 'number';
      const before = head.getAttribute('aria-sort');
      const order = before ? (before === 'ascending' ? 'descending' : 'ascending')
        : (numbers ? 'descending' : 'ascending');
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', order);
      const value = row => row.cells[column].dataset.value;
      const sign = order === 'ascending' ? 1 : -1;
      const rows = all('tbody tr', table).sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === '' || y === '') return (x === '') - (y === '');  // what is unknown comes last
        return sign * (numbers ? x - y : x.localeCompare(y));
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// The legend shows and hides runs in every chart.
for (const button of all('.legend button')) {
  button.addEventListener('click', () => {
    const shown = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', shown);
    for (const curve of all(`.curve[data-run="${button.dataset.run}"]`)) {
      curve.classList.toggle('off', !shown);
    }
  });
}

// A chart shows the values at the step nearest to the pointer.
for (const chart of all('.chart')) {
  const svg = chart.querySelector('svg');
  const cursor = chart.querySelector('.cursor');
  const readout = chart.querySelector('.readout');
  const curves = all('.curve', svg).map(node => (
    {node, name: node.dataset.name, points: JSON.parse(node.dataset.points)}
  ));
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect();
    const at = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const shown = curves.filter(curve => !curve.node.classList.contains('off'));
    const nearest = points => points.reduce((a, b) => (Math.abs(b[2] - at) < Math.abs(a[2] - at) ? b : a));
    const found = shown.map(curve => ({name: curve.name, point: nearest(curve.points)}));
    if (!found.length) return;
    const step = nearest(found.map(f => f.point));
    cursor.removeAttribute('hidden');
    cursor.setAttribute('x1', step[2]);
    cursor.setAttribute('x2', step[2]);
    const values = found.filter(f => f.point[0] === step[0])
      .map(f => `${f.name} ${Number(f.point[1].toPrecision(4))}`);
    readout.textContent = `step ${step[0]}: ${values.join(', ')}`;
  });
  svg.addEventListener('pointerleave', () => {
    cursor.setAttribute('hidden', '');
    readout.textContent = '';
  });
}

// Two pictures of one scene, one over the other; the slider moves the border between them.
for (const viewer of all('.viewer')) {
  const compare = viewer.querySelector('.compare');
  const [under, over] = [compare.querySelector('.under'), compare.querySelector('.over')];
  const [left, right] = all('select', viewer);
  const slider = compare.querySelector('input');
  const scenes = all('.scenes button', viewer.parentElement);
  const figures = all('.all figure', viewer);
  const picture = (scene, key) => figures
    .find(f => f.dataset.scene === scene && f.dataset.key === key).querySelector('img');
  let scene = '0';

  const cut = () => compare.style.setProperty('--cut', `${slider.value}%`);
  const show = () => {
    for (const [image, select] of [[over, left], [under, right]]) {
      const source = picture(scene, select.value);
      image.src = source.src;
      image.alt = source.alt;
    }
    figures.forEach(f => { f.hidden = f.dataset.scene !== scene; });
    scenes.forEach(b => b.setAttribute('aria-pressed', b.dataset.scene === scene));
  };
  slider.addEventListener('input', cut);
  left.addEventListener('change', show);
  right.addEventListener('change', show);
  for (const button of scenes) {
    button.querySelector('img').src = picture(button.dataset.scene, 'input').src;
    button.addEventListener('click', () => { scene = button.dataset.scene; show(); });
  }
  cut();
  show();
}
