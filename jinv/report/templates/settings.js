"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const heads = all(".sortable thead th");
  const bodies = all(".sortable tbody, .matrix tbody");
  const rowsOf = (row) => all(`[data-row="${row}"]`);

  // Table: sort by a column, in the order that is better first; once more turns it round. Empty cells stay last.
  const valueOf = (cell) => (cell.dataset.value === "" ? null : isNaN(cell.dataset.value) ? cell.dataset.value : Number(cell.dataset.value));
  const sort = (head, descending) => {
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const place = heads.indexOf(head);
    const values = new Map(all(".sortable tbody tr").map((tr) => [tr.dataset.row, valueOf(tr.children[place])]));
    const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    bodies.forEach((body) => {
      const rows = [...body.children];
      rows.sort((one, other) => {
        const a = values.get(one.dataset.row), b = values.get(other.dataset.row);
        if (a === null || b === null) return (a === null) - (b === null);
        return compare(a, b) * (descending ? -1 : 1) || one.dataset.row - other.dataset.row;
      });
      body.append(...rows);
    });
  };
  heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(head, now ? now === "ascending" : head.dataset.better === "higher");
  }));
  // #sort=COLUMN, or #sort=-COLUMN for the other way round; columns are counted from 1.
  const wanted = /^#sort=(-?)(\d+)$/.exec(location.hash);
  if (wanted && heads[wanted[2] - 1]) sort(heads[wanted[2] - 1], wanted[1] === "-");

  // A setting, wherever it is pointed at, is lit everywhere.
  const parallel = document.querySelector(".parallel");
  const texts = all(".sortable thead button").map((button) => button.textContent);
  let lit = null;
  const light = (row) => {
    if (row === lit) return;
    if (lit !== null) rowsOf(lit).forEach((element) => element.classList.remove("lit"));
    lit = row;
    if (row !== null) rowsOf(row).forEach((element) => element.classList.add("lit"));
    if (!parallel) return;
    parallel.classList.toggle("picking", row !== null);
    const line = row === null ? null : document.querySelector(`.sortable tr[data-row="${row}"]`);
    parallel.querySelector(".picked").textContent = line ? [...line.children].map((cell, i) => (i ? `${texts[i]} ${cell.textContent}` : cell.textContent)).join(" · ") : "";
  };
  all("tbody tr[data-row]").forEach((tr) => {
    tr.addEventListener("pointerenter", () => light(tr.dataset.row));
    tr.addEventListener("pointerleave", () => light(null));
  });
  if (!parallel) return;

  // Parallel axes: the line nearest to the pointer; along an axis a stretch through which lines have to pass.
  const area = parallel.querySelector(".area");
  const axes = all(".axis", area), lines = all(".across", area);
  const at = axes.map((axis) => parseFloat(axis.style.left));
  const heights = new Map(lines.map((line) => [line, line.dataset.heights.split(" ").map((text) => (text === "" ? null : Number(text)))]));
  const brushes = axes.map(() => null);
  const refresh = () => lines.forEach((line) => {
    const out = brushes.some((brush, i) => brush && (heights.get(line)[i] === null || heights.get(line)[i] < brush[0] || heights.get(line)[i] > brush[1]));
    rowsOf(line.dataset.row).forEach((element) => element.classList.toggle("out", out));
  });
  area.addEventListener("pointerleave", () => light(null));
  area.addEventListener("pointermove", (event) => {
    const box = area.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * 100, y = (event.clientY - box.top) / box.height * 100;
    const right = Math.min(Math.max(at.findIndex((place) => place >= x), 1), at.length - 1);
    const part = (x - at[right - 1]) / (at[right] - at[right - 1]);
    let nearest = null, least = 4;
    lines.forEach((line) => {
      const [a, b] = heights.get(line).slice(right - 1, right + 1);
      if (a === null || b === null || line.classList.contains("out")) return;
      const away = Math.abs(a + (b - a) * part - y);
      if (away < least) [least, nearest] = [away, line];
    });
    light(nearest && nearest.dataset.row);
  });
  axes.forEach((axis, i) => {
    const brush = axis.querySelector(".brush");
    const place = (event) => {
      const box = axis.getBoundingClientRect();
      return Math.min(Math.max((event.clientY - box.top) / box.height * 100, -1), 101);
    };
    let from = null;
    const draw = (range) => {
      brushes[i] = range;
      brush.hidden = !range;
      if (range) [brush.style.top, brush.style.height] = [`${range[0]}%`, `${range[1] - range[0]}%`];
      refresh();
    };
    axis.addEventListener("pointerdown", (event) => { from = place(event); axis.setPointerCapture(event.pointerId); draw(null); });
    axis.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = place(event);
      if (Math.abs(to - from) > 2) draw([Math.min(from, to), Math.max(from, to)]);
    });
    ["pointerup", "pointercancel"].forEach((end) => axis.addEventListener(end, () => { from = null; }));
  });
})();
