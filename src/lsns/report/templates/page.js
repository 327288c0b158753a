"use strict";
(() => {
  const root = document.documentElement;
  const { charts, config } = JSON.parse(document.getElementById("data").textContent);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  // In pixels: below this, names and legends are narrower; as wide as paper of any usual size.
  const narrow = 440;
  const paper = 680;
  const views = new Map();
  let printing = false;

  const narrower = {
    ...config,
    axis: { ...config.axis, labelLimit: 168 },
    legend: { ...config.legend, columns: 1 },
  };

  const isDark = () =>
    root.dataset.theme === "auto" ? system.matches : root.dataset.theme === "dark";
  const placeOf = (kind) => document.getElementById(`plot-${kind}`);

  // Rows out of columns.
  const unpacked = (datasets) =>
    Object.fromEntries(
      Object.entries(datasets).map(([name, columns]) => {
        const fields = Object.keys(columns);
        const columnOf = (field) =>
          typeof columns[field] === "string" ? columnOf(columns[field]) : columns[field];
        const rows = (fields.length ? columnOf(fields[0]) : []).map((_, row) =>
          Object.fromEntries(fields.map((field) => [field, columnOf(field)[row]]))
        );
        return [name, rows];
      })
    );

  // What a mark is, beside it. A text of a model or a file stays a text.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.getElementById("main").append(tip);
  const showTip = (_, event, __, value) => {
    const known = Object.entries(value ?? {});
    tip.hidden = known.length === 0;
    tip.replaceChildren(
      ...known.map(([name, text]) => {
        const line = document.createElement("div");
        const head = document.createElement("span");
        head.textContent = `${name} `;
        const told = document.createElement("bdi");
        told.textContent = text;
        line.append(head, told);
        return line;
      })
    );
    const { clientWidth, clientHeight } = root;
    const left = Math.min(event.clientX + 14, clientWidth - tip.offsetWidth - 4);
    const below = event.clientY + 18;
    const above = event.clientY - tip.offsetHeight - 12;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${below + tip.offsetHeight < clientHeight ? below : Math.max(4, above)}px`;
  };

  // To the width of its place: what stands beside the axes is known once it is drawn.
  const fit = async (kind, width) => {
    const view = views.get(kind);
    const signals = Object.keys(view.getState({ signals: () => true }).signals);
    const names = signals.filter((name) => /^(width|childWidth|concat_\d+_width)$/.test(name));
    for (let turn = 0; turn < 3; turn++) {
      const drawn = Number(placeOf(kind).querySelector("svg").getAttribute("width"));
      if (Math.round(drawn) === Math.round(width)) break;
      for (const name of names) view.signal(name, Math.max(40, view.signal(name) + width - drawn));
      await view.runAsync();
    }
  };

  const draw = async (kind) => {
    const place = placeOf(kind);
    const spec = { ...charts[kind], datasets: unpacked(charts[kind].datasets) };
    // Within, and unseen by readers: Vega gives what it draws in a role and a name of its own.
    const inner = document.createElement("div");
    inner.ariaHidden = "true";
    place.replaceChildren(inner);
    const { view } = await vegaEmbed(inner, spec, {
      config: place.clientWidth < narrow ? narrower : config,
      ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: showTip,
    });
    views.set(kind, view);
    place.view = view;
    await fit(kind, place.clientWidth);
  };

  const fitAll = async () => {
    const most = printing ? paper : Infinity;
    for (const kind of views.keys()) await fit(kind, Math.min(placeOf(kind).clientWidth, most));
    root.dataset.drawn = "true";
  };

  const drawAll = async () => {
    for (const kind of Object.keys(charts)) await draw(kind);
    await fitAll();
  };

  // Colours are variables of the page's style: nothing is drawn anew.
  const name = () => {
    if (button) button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  button?.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  let waiting = 0;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    delete root.dataset.drawn;
    waiting = setTimeout(fitAll, 100);
  });
  for (const [event, state] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => {
      printing = state;
      fitAll();
    });
  }

  // With the colours of the theme: outside of the page they are no variables.
  const picture = async (kind) => {
    const style = getComputedStyle(placeOf(kind));
    const svg = (await views.get(kind).toSVG(3)).replace(/var\((--c[0-9a-f]{6})\)/g, (_, name) =>
      style.getPropertyValue(name).trim()
    );
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL("image/png");
  };

  document.addEventListener("click", async (event) => {
    const { reset, save } = event.target.closest("button")?.dataset ?? {};
    if (reset) draw(reset);
    if (save) {
      const link = document.createElement("a");
      link.download = `lsns-${save}.png`;
      link.href = await picture(save);
      link.click();
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
      if (!numbers) return cell.textContent.trim();
      return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
    };
    const keyed = cells.map((cell) => ({ row: cell.parentElement, key: key(cell) }));
    keyed.sort((a, b) => compare(a.key, b.key, ascending ? 1 : -1));
    body.append(...keyed.map((one) => one.row));
  };

  for (const head of document.querySelectorAll("table.sortable thead th")) {
    head.querySelector("button").addEventListener("click", () => sort(head));
  }

  name();
  drawAll();
})();
