/* What all sections of a page share: data, deep links, elements, figures, the theme. */

const page = (() => {
  const sections = new Map();
  const started = new Map();
  const parts = new Map();
  const watchers = [];
  const figures = new Set();
  let printing = false;
  let anchor = "";
  let state = new URLSearchParams();

  /* Elements. Children that are text become text nodes: nothing is ever read as HTML. */
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined) element.append(child);
    }
    return element;
  }

  /* Data: packed in the file, unpacked when asked for. */
  function part(name) {
    if (!parts.has(name)) parts.set(name, unpack(name));
    return parts.get(name);
  }

  async function unpack(name) {
    const element = document.querySelector(`script[data-part="${CSS.escape(name)}"]`);
    if (!element) throw new Error(`the page has no part ${name}`);
    const packed = Uint8Array.from(atob(element.textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function has(name) {
    return document.querySelector(`script[data-part="${CSS.escape(name)}"]`) !== null;
  }

  /* Deep links: "#section?key=value&key=value". */
  function readLocation() {
    const [before, ...after] = location.hash.slice(1).split("?");
    const given = new URLSearchParams(after.join("?"));
    const followed = before !== anchor;
    anchor = before;
    /* A link to a section alone keeps what the reader chose. */
    if (after.length === 0 && followed && [...state].length) {
      writeLocation();
      return [];
    }
    const names = new Set([...state.keys(), ...given.keys()]);
    const changed = [...names].filter((name) => state.get(name) !== given.get(name));
    state = given;
    return changed;
  }

  function writeLocation() {
    const query = state.toString();
    const hash = anchor || query ? `#${anchor}${query ? `?${query}` : ""}` : "";
    history.replaceState(null, "", hash || location.pathname + location.search);
  }

  function tell(changed) {
    if (!changed.length) return;
    for (const { names, callback } of watchers) {
      if (names.some((name) => changed.includes(name))) callback();
    }
  }

  const stateOf = {
    get: (name) => state.get(name),
    set(name, value) {
      stateOf.change({ [name]: value });
    },
    /* Several at once, so that watchers are told once. */
    change(values) {
      const changed = [];
      for (const [name, value] of Object.entries(values)) {
        const text = value === null || value === undefined || value === "" ? null : String(value);
        if (text === state.get(name)) continue;
        if (text === null) state.delete(name);
        else state.set(name, text);
        changed.push(name);
      }
      if (!changed.length) return;
      writeLocation();
      tell(changed);
    },
    entries: () => [...state],
    watch(names, callback) {
      watchers.push({ names, callback });
    },
  };

  /* Sections start when they come near, or one after another when there is nothing else to do. */
  function section(name, start) {
    sections.set(name, start);
  }

  function startSection(name) {
    if (!started.has(name) && sections.has(name)) {
      const root = document.getElementById(name);
      const work = Promise.resolve()
        .then(() => sections.get(name)(root, page))
        .catch((error) => {
          root.append(make("p", { class: "note" }, `This part cannot be shown: ${error.message}`));
          throw error;
        });
      started.set(name, work);
    }
    return started.get(name);
  }

  function whenIdle(callback) {
    if (window.requestIdleCallback) requestIdleCallback(callback, { timeout: 1000 });
    else setTimeout(callback, 50);
  }

  async function startOthers() {
    for (const name of sections.keys()) {
      await new Promise((resolve) => whenIdle(resolve));
      await startSection(name).catch(() => {});
    }
    document.documentElement.dataset.ready = "yes";
  }

  function announce(text) {
    /* The same words twice would not be read out again. */
    const place = document.getElementById("announcements");
    place.textContent = place.textContent === text ? `${text}\u00a0` : text;
  }

  /* Theme: the reader's choice, or that of the system. */
  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    if (chosen) return chosen === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function setTheme(name) {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    document.getElementById("theme").textContent = isDark() ? "Light" : "Dark";
    for (const redraw of figures) redraw();
  }

  function startTheme() {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.title = "Change between light and dark";
    button.addEventListener("click", () => {
      const name = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("retrieval-eval-theme", name);
      } catch { /* Files may not be allowed to keep anything. */ }
      setTheme(name);
    });
    let kept = null;
    try {
      kept = localStorage.getItem("retrieval-eval-theme");
    } catch { /* As above. */ }
    setTheme(kept === "dark" || kept === "light" ? kept : null);
    for (const [event, value] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(event, () => {
        printing = value;
        if (isDark()) for (const redraw of figures) redraw();
      });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      setTheme(document.documentElement.dataset.theme);
    });
  }

  /* Figures: a specification holds the colours of the light theme. */
  function recoloured(value, colours) {
    if (typeof value === "string") return colours[value.toLowerCase()] ?? value;
    if (Array.isArray(value)) return value.map((one) => recoloured(one, colours));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [
        name,
        name === "datasets" ? one : recoloured(one, colours),
      ]),
    );
  }

  const drawn = new WeakMap();

  /* Words of a figure stand outside of it, where they wrap and can be read aloud. */
  function captioned(spec) {
    const { text = [], subtitle = [] } = spec.title ?? {};
    return make("p", { class: "caption" }, make("strong", { dir: "auto" }, [text].flat().join(" ")),
      make("br"), make("span", { class: "note", dir: "auto" }, [subtitle].flat().join(" ")));
  }

  /* A phone has no room beside a figure: legends go below, and panels under each other. */
  function fitted(spec, room) {
    const { title, ...rest } = spec;
    if (room >= 620) return rest;
    const narrow = structuredClone(rest);
    narrow.config.legend = { ...narrow.config.legend, orient: "bottom", columns: 2,
      labelLimit: room / 2.6 };
    if ("columns" in narrow) narrow.columns = 1;
    const inner = narrow.spec ?? narrow;
    if (typeof inner.width === "number") inner.width = Math.min(inner.width, room - 70);
    return narrow;
  }

  const options = {
    actions: false,
    ast: true, /* no code is made from text */
    mode: "vega-lite",
  };

  async function saveFigure(spec) {
    const { view } = await vegaEmbed(make("div"), spec, { ...options, renderer: "svg" });
    const url = URL.createObjectURL(new Blob([await view.toSVG()], { type: "image/svg+xml" }));
    view.finalize();
    make("a", { href: url, download: "figure.svg" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async function figure(element, spec, label) {
    drawn.get(element)?.stop();
    let view = null;
    let latest = 0;
    const image = make("div", { class: "drawing", role: "img", "aria-label": label });
    const save = make("button", { type: "button", class: "quiet", onclick: () => saveFigure(spec) },
      "Save as SVG");
    element.replaceChildren(captioned(spec), make("div", { class: "scroll", tabindex: 0,
      role: "region", "aria-label": `Figure: ${label}` }, image), save);
    const marks = Object.values(spec.datasets ?? {}).reduce((sum, one) => sum + one.length, 0);
    const draw = async () => {
      const mine = ++latest;
      const shown = fitted(spec, element.clientWidth);
      const coloured = isDark() && !printing ? recoloured(shown, await part("figures/dark")) : shown;
      /* The whole has a label; Vega's own, of marks by the thousand, are for nobody's ears. */
      const target = make("div", { "aria-hidden": "true" });
      const result = await vegaEmbed(target, coloured,
        { ...options, renderer: marks > 1000 ? "canvas" : "svg" });
      if (mine !== latest) return result.finalize(); /* another was asked for meanwhile */
      view?.finalize();
      view = result.view;
      return image.replaceChildren(target);
    };
    const redraw = () => void draw();
    figures.add(redraw);
    drawn.set(element, {
      stop() {
        latest = -1;
        figures.delete(redraw);
        view?.finalize();
      },
    });
    await draw();
  }

  /* A select with a label. Options are texts, or [value, text]. */
  function choice(label, options, value, onchange) {
    const select = make("select", { "aria-label": label });
    for (const one of options) {
      const [name, text] = Array.isArray(one) ? one : [one, one];
      select.append(make("option", { value: name, selected: name === value }, text));
    }
    select.addEventListener("change", () => onchange(select.value));
    return make("label", {}, make("span", {}, label), select);
  }

  function start() {
    startTheme();
    readLocation();
    addEventListener("hashchange", () => tell(readLocation()));
    const near = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) startSection(entry.target.id)?.catch(() => {});
      }
    }, { rootMargin: "400px" });
    for (const name of sections.keys()) near.observe(document.getElementById(name));
    if (anchor && sections.has(anchor)) {
      startSection(anchor)
        .then(() => document.getElementById(anchor).scrollIntoView())
        .catch(() => {});
    }
    whenIdle(startOthers);
  }

  return { make, part, has, section, startSection, state: stateOf, announce, figure, choice, start };
})();
