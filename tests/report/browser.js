// Questions to a page that is drawn, each answered with plain values. Loaded by browser.py.
(() => {
  const plot = (kind) => document.getElementById(`plot-${kind}`);
  const layoutOf = (kind) => plot(kind)._fullLayout;

  // The axes of the panel that an element is drawn on.
  const axesOf = (kind, element) => {
    const name = [...element.closest(".subplot").classList].find((one) => /^x\d*y\d*$/.test(one));
    const [, x, y] = /^x(\d*)y(\d*)$/.exec(name);
    return [name, layoutOf(kind)[`xaxis${x}`], layoutOf(kind)[`yaxis${y}`]];
  };

  // Markers as drawn: their panel, their trace within it, and their place in units of the data.
  const points = (kind) =>
    [...plot(kind).querySelectorAll(".scatterlayer .trace")].flatMap((trace) => {
      const [panel, x, y] = axesOf(kind, trace);
      const place = [...trace.parentElement.children].indexOf(trace);
      return [...trace.querySelectorAll(".points path.point")].map((path) => {
        const [, left, top] = /translate\(([^,]+),([^)]+)\)/.exec(path.getAttribute("transform"));
        const box = path.getBoundingClientRect();
        const seen = Math.max(box.width, box.height) >= 2;
        const style = getComputedStyle(path);
        return {
          panel, trace: place, x: x.p2d(Number(left)), y: y.p2d(Number(top)),
          shown: style.display !== "none" && seen,
          fill: style.fill, stroke: style.stroke,
        };
      });
    });

  // Bars as drawn: the middle and the height, in units of the data.
  const bars = (kind) =>
    [...plot(kind).querySelectorAll(".barlayer .trace")].flatMap((trace) => {
      const [, x, y] = axesOf(kind, trace);
      const place = [...trace.parentElement.children].indexOf(trace);
      return [...trace.querySelectorAll(".point path")].map((path) => {
        const box = path.getBBox();
        return {
          trace: place, x: x.p2d(box.x + box.width / 2),
          height: y.p2d(box.y) - y.p2d(box.y + box.height),
        };
      });
    });

  // The colours of a heat map's picture at places given in units of the data.
  const cells = async (kind, places) => {
    const element = plot(kind).querySelector(".heatmaplayer image");
    const [, x, y] = axesOf(kind, element);
    const picture = new Image();
    picture.src = element.getAttribute("href") || element.getAttribute("xlink:href");
    await picture.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const [left, top, width, height] =
      ["x", "y", "width", "height"].map((name) => Number(element.getAttribute(name)));
    return places.map(([column, row]) => {
      const across = (x.d2p(column) - left) / width, down = (y.d2p(row) - top) / height;
      const pixel = [Math.floor(across * canvas.width), Math.floor(down * canvas.height)];
      return [...context.getImageData(...pixel, 1, 1).data];
    });
  };

  // Where on the screen a place in a plot is; scrolled to first.
  const at = (kind, column, row, panel = "") => {
    plot(kind).scrollIntoView({ block: "center", behavior: "instant" });
    const x = layoutOf(kind)[`xaxis${panel}`], y = layoutOf(kind)[`yaxis${panel}`];
    const box = plot(kind).querySelector(".main-svg").getBoundingClientRect();
    const place = [box.left + x._offset + x.d2p(column), box.top + y._offset + y.d2p(row)];
    // The plot may be higher than the window.
    const down = Math.max(0, place[1] - innerHeight + 60) + Math.min(0, place[1] - 120);
    scrollBy({ top: down, behavior: "instant" });
    return [place[0], place[1] - down];
  };

  const hover = () =>
    [...document.querySelectorAll(".hoverlayer .hovertext")].map((one) => ({
      // A line is a tspan.
      text: [...one.querySelectorAll("text")]
        .flatMap((text) => [...(text.querySelectorAll("tspan.line").length
          ? text.querySelectorAll("tspan.line") : [text])])
        .map((line) => line.textContent).join("\n").trim(),
      ink: getComputedStyle(one.querySelector("text")).fill,
      ground: getComputedStyle(one.querySelector("path")).fill,
    }));

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
      (one) => !one.matches(".skip, .hidden, #js-plotly-tester") && !one.ownerSVGElement && reaches(one) && !scrolls(one)
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
          if (unseen(text) || text.closest(".hoverlayer")) return false;
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
        .filter((text) => !unseen(text) && !text.closest(".hoverlayer"))
        .map((text) => [text, text.getBoundingClientRect()]);
      return texts.flatMap(([first, a], place) =>
        texts.slice(place + 1)
          .filter(([, b]) => a.left + 1 < b.right && b.left + 1 < a.right
            && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
          .map(([second]) => `${one.id}: ${first.textContent} | ${second.textContent}`));
    });

  // Whether every plot has the width that it is to have: plotly takes its time.
  const fitted = () =>
    [...document.querySelectorAll(".plot")].every((one) =>
      Math.abs(one.clientWidth - one.querySelector(".main-svg").clientWidth) <= 1);

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
    until(() => (document.querySelector(".hoverlayer .hovertext") !== null) === yes);

  // The colours of the page, and of each text on the ground of a plot.
  const colours = () => ({
    page: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    plots: [...document.querySelectorAll(".plot")].map((one) => ({
      plot: one.id,
      ground: getComputedStyle(one.querySelector(".main-svg")).backgroundColor,
      texts: [...one.querySelectorAll("svg text")]
        .filter((text) => !(one.querySelector(".heatmaplayer") && text.closest(".annotation")))
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
      // Plotly breaks lines with a zero-width space of its own.
      const seen = within.closest("svg") ? data.replaceAll("\u200b", "") : data;
      if (!within.closest("script, style") && control.test(seen)) found.push(name(within));
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
    points, bars, cells, at, hover, labelled, settled, overflowing, cut, colliding, colours, table, sorted, open, elements,
    texts, turned, hidden, focusable, focus,
  };
})();
