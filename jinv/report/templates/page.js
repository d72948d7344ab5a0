"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const cards = all(".card");

  // Gallery: show the images with a verdict, or whose class contains a text.
  let verdict = "", text = "";
  const refresh = () => cards.forEach((card) => {
    card.hidden = (verdict && card.dataset.judged !== verdict) || !card.dataset.name.includes(text);
  });
  all(".filters button").forEach((button) => button.addEventListener("click", () => {
    verdict = button.dataset.show;
    all(".filters button").forEach((other) => other.setAttribute("aria-pressed", other === button));
    refresh();
  }));
  all(".search").forEach((input) => input.addEventListener("input", () => { text = input.value.trim().toLowerCase(); refresh(); }));

  // Viewer: a card, large; arrow keys and buttons go through the cards that are shown.
  const viewer = document.getElementById("viewer");
  let current = null;
  const show = (card) => {
    current = card;
    const stage = viewer.querySelector(".stage");
    stage.replaceChildren(card.querySelector("img").cloneNode(), card.querySelector("figcaption").cloneNode(true));
    const shown = cards.filter((c) => !c.hidden);
    viewer.querySelector(".place").textContent = `${shown.indexOf(card) + 1} of ${shown.length}`;
    if (!viewer.open) viewer.showModal();
  };
  const go = (by) => {
    const shown = cards.filter((c) => !c.hidden);
    show(shown[(shown.indexOf(current) + by + shown.length) % shown.length]);
  };
  cards.forEach((card) => card.querySelector(".open").addEventListener("click", () => show(card)));
  viewer.querySelector(".close").addEventListener("click", () => viewer.close());
  viewer.querySelector(".previous").addEventListener("click", () => go(-1));
  viewer.querySelector(".next").addEventListener("click", () => go(1));
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    if (event.key === "ArrowRight") go(1);
  });
  viewer.addEventListener("click", (event) => { if (event.target.className === "stage") viewer.close(); });

  // Charts: read the values under the pointer, hide a curve by its legend.
  all(".chart").forEach((chart) => {
    const data = JSON.parse(chart.dataset.points);
    const hidden = new Set();
    all(".legend button", chart).forEach((button) => button.addEventListener("click", () => {
      const index = button.dataset.series;
      const off = !hidden.delete(index);
      if (off) hidden.add(index);
      button.setAttribute("aria-pressed", !off);
      all(`g[data-series="${index}"]`, chart).forEach((curve) => curve.toggleAttribute("hidden", off));
    }));
    all(".plot", chart).forEach((plot) => {
      const area = plot.querySelector(".area"), cursor = plot.querySelector(".cursor");
      const readout = document.createElement("div");
      readout.className = "readout";
      readout.hidden = true;
      readout.style.zIndex = 3;
      area.append(readout);
      const leave = () => { readout.hidden = cursor.hidden = true; };
      area.addEventListener("pointerleave", leave);
      area.addEventListener("pointermove", (event) => {
        const box = area.getBoundingClientRect();
        const wanted = data.left + (event.clientX - box.left) / box.width * (data.right - data.left);
        const longest = data.series.reduce((a, b) => (b.x.length > a.x.length ? b : a));
        const nearest = (xs) => xs.reduce((best, x, i) => (Math.abs(x - wanted) < Math.abs(xs[best] - wanted) ? i : best), 0);
        const at = longest.x[nearest(longest.x)];
        const part = (at - data.left) / (data.right - data.left);
        cursor.style.left = `${100 * part}%`;
        const head = document.createElement("div");
        head.textContent = `${data.label} ${at}`;
        const lines = data.series.flatMap((series, index) => {
          if (hidden.has(String(index)) || !series.x.length) return [];
          const line = document.createElement("div");
          const swatch = document.createElement("span");
          swatch.className = `swatch ${plot.querySelector(`g[data-series="${index}"]`).getAttribute("class")}`;
          const value = document.createElement("b");
          value.textContent = series.y[nearest(series.x)];
          line.append(swatch, series.name, value);
          return [line];
        });
        readout.replaceChildren(head, ...lines);
        readout.classList.toggle("flip", part < 0.5);
        readout.hidden = cursor.hidden = false;
      });
    });
  });
})();
