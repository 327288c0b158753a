// Questions to a page that is drawn, each answered with plain values. Loaded by browser.py.
(() => {
  const plot = (kind) => document.getElementById(`plot-${kind}`);
  const view = (kind) => plot(kind).view;

  // The panels of a plot: each group of Vega that has axes, and the names of its scales.
  const panels = (kind) => {
    const root = view(kind).scenegraph().root.items[0];
    const groups = root.items.filter((mark) => mark.marktype === "group" && /^concat_/.test(mark.name));
    if (!groups.length) return [{ group: root, scale: (name) => view(kind).scale(name) }];
    return groups.map((mark) => ({
      group: mark.items[0],
      scale: (name) => view(kind).scale(mark.name.replace("_group", `_${name}`)),
    }));
  };

  // Layers nest; marks are clipped or not.
  const marks = (group, type) =>
    group.items.flatMap((mark) => {
      if (mark.marktype === "group" && !/axis|legend|title/.test(mark.role)) {
        return mark.items.flatMap((item) => marks(item, type));
      }
      return mark.marktype === type && mark.role === "mark" ? [mark] : [];
    });

  const drawnItems = (kind, type) =>
    panels(kind).flatMap(({ group, scale }, panel) =>
      marks(group, type).flatMap((mark, layer) => mark.items.map((item) => ({ item, panel, layer, scale }))));

  const inverted = (scale, place) => (scale.invert ? scale.invert(place) : scale.domain()[Math.round((place - scale(scale.domain()[0])) / scale.step())]);

  // Markers as drawn: what they are of, and their place in units of the data.
  const points = (kind) =>
    drawnItems(kind, "symbol").map(({ item, panel, layer, scale }) => {
      const box = item._svg.getBoundingClientRect(), style = getComputedStyle(item._svg);
      const { kind: a, series, group, what, state } = item.datum;
      return {
        panel, layer, of: a ?? series ?? group ?? what ?? state ?? "",
        x: inverted(scale("x"), item.x), y: inverted(scale("y"), item.y),
        shown: style.display !== "none" && Math.max(box.width, box.height) >= 2,
        fill: style.fill, stroke: style.stroke,
      };
    });

  // Bars as drawn: what they are of and the height, in units of the data.
  const bars = (kind) =>
    drawnItems(kind, "rect").map(({ item, scale }) => ({
      x: item.datum.layer, of: item.datum.method ?? "",
      height: scale("y").invert(item.y) - scale("y").invert(item.y + item.height),
      seen: item._svg.getBoundingClientRect().height,
    }));

  // The cells of a map: the ends of each in units of the data, and its colour.
  const cells = (kind) =>
    drawnItems(kind, "rect").map(({ item, scale }) => ({
      left: scale("x").invert(item.x), right: scale("x").invert(item.x + item.width),
      ends: [item.y, item.y + item.height].map((place) => scale("y").invert(place)),
      colour: getComputedStyle(item._svg).fill.match(/[\d.]+/g).map(Number),
    }));

  // Labels of an axis.
  const labels = (kind, orient, panel = 0) =>
    panels(kind)[panel].group.items
      .filter((mark) => mark.role === "axis" && mark.items[0].orient === orient)
      .flatMap((mark) => mark.items[0].items)
      .filter((mark) => mark.role === "axis-label")
      .flatMap((mark) => mark.items.map((item) => [item.text].flat().join("\n")));

  // Where on the screen a place in a plot is; scrolled to first.
  const at = (kind, column, row, panel = 0) => {
    plot(kind).scrollIntoView({ block: "center", behavior: "instant" });
    const { group, scale } = panels(kind)[panel];
    const middle = (name, value) => scale(name)(value) + (scale(name).bandwidth?.() ?? 0) / 2;
    const box = group._svg.querySelector("path.background").getBoundingClientRect();
    const place = [box.left + middle("x", column), box.top + middle("y", row)];
    // The plot may be higher than the window.
    const down = Math.max(0, place[1] - innerHeight + 60) + Math.min(0, place[1] - 120);
    scrollBy({ top: down, behavior: "instant" });
    return [place[0], place[1] - down];
  };

  const tip = () => document.getElementById("tip");
  const hover = () => ({
    text: [...tip().children].map((line) => line.textContent).join("\n"),
    ink: getComputedStyle(tip()).color,
    ground: getComputedStyle(tip()).backgroundColor,
  });

  const name = (element) => {
    const part = element.id ? `#${element.id}` : `.${[...element.classList].join(".")}`;
    const within = element.parentElement?.closest("[id]");
    return `${within ? `#${within.id} ` : ""}${element.localName}${part}`;
  };

  // What reaches out of the page, and is not in a container that scrolls or is meant to be unseen.
  const overflowing = () => {
    const width = document.scrollingElement.clientWidth;
    const reaches = (element) => {
      const box = element.getBoundingClientRect();
      return box.width > 0 && (box.right > width + 1 || box.left < -1);
    };
    const scrolls = (element) => {
      for (let up = element.parentElement; up && up !== document.body; up = up.parentElement) {
        if (/auto|scroll/.test(getComputedStyle(up).overflowX) && !reaches(up)) return true;
      }
      return false;
    };
    const all = [...document.body.querySelectorAll("*")].filter(
      (one) => !one.matches(".skip, .hidden") && !one.ownerSVGElement && reaches(one) && !scrolls(one)
    );
    const { scrollWidth, clientWidth } = document.scrollingElement;
    return all.map(name).concat(scrollWidth > clientWidth ? [`${scrollWidth} px wide`] : []);
  };

  const unseen = (element) => {
    const box = element.getBoundingClientRect();
    return box.width === 0 || box.height === 0 || getComputedStyle(element).opacity === "0";
  };

  // Text of plots that is cut off by the plot's edge.
  const cut = () =>
    [...document.querySelectorAll(".plot")].flatMap((one) => {
      const edge = one.getBoundingClientRect();
      return [...one.querySelectorAll("svg text")]
        .filter((text) => {
          if (unseen(text)) return false;
          const box = text.getBoundingClientRect();
          return box.left < edge.left - 1 || box.right > edge.right + 1
            || box.top < edge.top - 1 || box.bottom > edge.bottom + 1;
        })
        .map((text) => `${one.id}: ${text.textContent}`);
    });

  // Pairs of texts of a plot that lie on one another.
  const colliding = () =>
    [...document.querySelectorAll(".plot")].flatMap((one) => {
      const texts = [...one.querySelectorAll("svg text")]
        .filter((text) => !unseen(text))
        .map((text) => [text, text.getBoundingClientRect()]);
      return texts.flatMap(([first, a], place) =>
        texts.slice(place + 1)
          .filter(([, b]) => a.left + 1 < b.right && b.left + 1 < a.right
            && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
          .map(([second]) => `${one.id}: ${first.textContent} | ${second.textContent}`));
    });

  // Whether every plot has the width that it is to have.
  const fitted = () =>
    [...document.querySelectorAll(".plot")].every((one) =>
      Math.abs(one.clientWidth - one.querySelector("svg").clientWidth) <= 1);

  // Not playwright's waiting: it evaluates text, which the page's policy forbids.
  const until = async (holds) => {
    const end = performance.now() + 20000;
    while (!holds()) {
      if (performance.now() > end) throw Error(`still not: ${holds}`);
      await new Promise((next) => setTimeout(next, 20));
    }
  };

  const settled = () =>
    until(() => document.documentElement.dataset.drawn === "true" && fitted());

  const labelled = (yes) =>
    until(() => tip().hidden !== yes);

  // The colours of the page, and of each text on the ground of a plot.
  const colours = () => ({
    page: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    plots: [...document.querySelectorAll(".plot")].map((one) => ({
      plot: one.id,
      ground: getComputedStyle(one.querySelector("svg")).backgroundColor,
      texts: [...one.querySelectorAll("svg text")]
        // On cells, which have colours of their own.
        .filter((text) => !text.closest(".mark-text.role-mark"))
        .map((text) => getComputedStyle(text).fill),
    })),
  });

  const table = (place) => {
    const found = document.querySelectorAll("table.sortable")[place];
    return {
      name: found.caption.textContent,
      heads: [...found.tHead.rows[0].cells].map((cell) => [
        cell.textContent, cell.getAttribute("aria-sort"),
      ]),
      rows: [...found.tBodies[0].rows].map((row) =>
        [...row.cells].map((cell) => [cell.textContent, cell.dataset.value ?? null])),
    };
  };

  // A table after each press of each of its heads.
  const sorted = (place) => {
    const heads = document.querySelectorAll("table.sortable")[place].tHead.rows[0].cells;
    return [...heads].map((head) =>
      ["ascending", "descending"].map(() => {
        head.querySelector("button").click();
        return table(place);
      }));
  };

  const open = () => document.querySelectorAll("details").forEach((one) => (one.open = true));

  // How often each element is there, outside of the plots; within them, what must never be.
  const elements = () => {
    const counts = {};
    for (const one of document.querySelectorAll("*")) {
      const inside = one.closest(".plot") && !one.matches(".plot");
      const key = inside ? `plot ${one.localName}` : one.localName;
      const drawn = /^plot (a|b|i|script|iframe|foreignObject|sub|sup|img)$/.test(key);
      if (!inside || drawn) counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
  };

  const texts = (selector) =>
    [...document.querySelectorAll(selector)].map((one) => one.textContent);

  // Letters written from right to left turn what is beside them, unless they are kept apart. In
  // <pre> a line is a paragraph of its own, and in a plot a text is.
  const turned = () => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
      const { data, parentElement: within } = walker.currentNode;
      if (!/[\u0590-\u08ff]/.test(data) || within.closest("script, pre, svg")) continue;
      const apart = within.closest("bdi, .passage, .long, .sentence");
      if (!apart) found.push(`${name(within)}: ${data.slice(0, 40)}`);
    }
    return found;
  };

  // Characters that are not seen and turn or hide others, in texts and in names for readers.
  const hidden = () => {
    const control = /[\u0000-\u0008\u000e-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
    const found = [...document.querySelectorAll("[aria-label]")]
      .filter((one) => control.test(one.getAttribute("aria-label"))).map(name);
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const { data, parentElement: within } = walker.currentNode;
      if (!within.closest("script, style") && control.test(data)) found.push(name(within));
    }
    return found;
  };

  const focusable = () =>
    [...document.querySelectorAll("a[href], button, summary, [tabindex='0']")].filter(
      (one) => one.checkVisibility() && one.tabIndex >= 0
    );

  // What has the focus, and whether it is seen that it has.
  const focus = () => {
    const one = document.activeElement;
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const bar = document.querySelector(".bar");
    const over = !bar.contains(one) && !one.matches(".skip") && getComputedStyle(bar).position === "sticky"
      ? bar.getBoundingClientRect().bottom : 0;
    return {
      place: focusable().indexOf(one), name: name(one),
      outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
      seen: box.bottom > over && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
      covered: box.top < over - 1 && box.height < innerHeight - over,
    };
  };

  window.ask = {
    points, bars, cells, labels, at, hover, labelled, settled, overflowing, cut, colliding, colours, table, sorted, open, elements,
    texts, turned, hidden, focusable, focus,
  };
})();
