"use strict";
(() => {
  const root = document.documentElement;
  const { figures, dark } = JSON.parse(document.getElementById("data").textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)");
  const button = document.getElementById("theme");
  // No bar of buttons over the plot: those below it can be reached by keyboard.
  // No tips either: they are outside of all landmarks, and pale. Not responsive: from a narrow
  // window to a wide one, plotly leaves the legend where it was.
  const config = {
    responsive: false, displaylogo: false, displayModeBar: false, showTips: false,
  };
  // In pixels: what is a narrow plot, and what is as wide as paper of any usual size.
  const narrow = 560;
  const paper = 680;
  const widths = new Map();
  let printing = false;
  let turns = 0;

  const isDark = () =>
    !printing && (root.dataset.theme === "auto" ? system.matches : root.dataset.theme === "dark");

  const plotOf = (kind) => document.getElementById(`plot-${kind}`);

  // A copy, in the colours of the theme: plotly writes into what it is given.
  const copied = (value, key) => {
    if (Array.isArray(value)) return value.map((item) => copied(item, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(
        Object.entries(value).map(([name, item]) => [name, copied(item, name)])
      );
    }
    if (typeof value !== "string" || !/color$/.test(key) || !isDark()) return value;
    const base = value.slice(0, 7);
    return Object.hasOwn(dark, base) ? dark[base] + value.slice(7) : value;
  };

  const draw = (kind) => {
    const plot = plotOf(kind);
    const { data, layout } = copied(figures[kind], "");
    layout.width = printing ? Math.min(plot.clientWidth, paper) : plot.clientWidth;
    // For what is not drawn yet, the room is kept.
    plot.style.height = `${layout.height}px`;
    // With a finger, a drag scrolls the page.
    if (touch.matches) layout.dragmode = false;
    widths.set(kind, layout.width);
    if (layout.width < narrow) {
      layout.font.size = 12;
      layout.margin.l = 8;
      // A panel's title has the room above the names beside it, too.
      for (const note of layout.annotations ?? []) {
        if (note.xref === "paper") [note.x, note.xanchor] = [1, "right"];
      }
    }
    return Plotly.react(plot, data, layout, config);
  };

  const drawAll = async () => {
    const turn = ++turns;
    delete root.dataset.drawn;
    button.textContent = isDark() ? "Light theme" : "Dark theme";
    for (const kind of Object.keys(figures)) {
      await draw(kind);
      // The theme has changed again: that call draws all.
      if (turn !== turns) return;
    }
    root.dataset.drawn = "true";
  };

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    drawAll();
  });
  system.addEventListener("change", () => {
    if (root.dataset.theme === "auto") drawAll();
  });
  let waiting = 0;
  window.addEventListener("resize", () => {
    // A phone tells of every change of its height: what is zoomed stays so.
    if ([...widths].every(([kind, width]) => plotOf(kind).clientWidth === width)) return;
    clearTimeout(waiting);
    delete root.dataset.drawn;
    waiting = setTimeout(drawAll, 100);
  });
  for (const [event, state] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => {
      printing = state;
      drawAll();
    });
  }

  document.addEventListener("click", (event) => {
    const { reset, save } = event.target.closest("button")?.dataset ?? {};
    if (reset) draw(reset);
    if (save) {
      const { clientWidth: width, clientHeight: height } = plotOf(save);
      const options = { format: "png", scale: 3, filename: `lsns-${save}`, width, height };
      Plotly.downloadImage(plotOf(save), options);
    }
  });

  // Rows without a number in the column come last, whichever way it is sorted.
  const compare = (first, second, sign) => {
    if (first === null || second === null) return (first === null) - (second === null);
    const order = typeof first === "number" ? first - second : first.localeCompare(second, "en");
    return sign * order;
  };

  const sort = (head) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const cells = [...body.rows].map((row) => row.cells[head.cellIndex]);
    const numbers = cells.some((cell) => cell.dataset.value !== undefined);
    const key = (cell) => {
      if (!numbers) return cell.textContent;
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    const keyed = cells.map((cell) => ({ row: cell.parentElement, key: key(cell) }));
    keyed.sort((a, b) => compare(a.key, b.key, ascending ? 1 : -1));
    body.append(...keyed.map((one) => one.row));
  };

  for (const head of document.querySelectorAll("table.sortable thead th")) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }

  drawAll();
})();
