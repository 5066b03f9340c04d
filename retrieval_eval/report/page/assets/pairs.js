/* Pairs of rows: a matrix of all of them, or what the sweep itself compared. */

page.section("pairs", async (root, page) => {
  const { make, state, choice } = page;
  const list = await page.part("pairs/list");
  const view = root.querySelector("[data-view]");
  const controls = make("div", { class: "controls" });
  const content = make("div");
  const most = 200;
  const shows = [["p", "Adjusted p"], ["effect", "Effect size"], ["difference", "Difference"]];
  const options = [
    ...list.matrices.map((one) => ({ ...one, kind: "matrix", words: one.title })),
    ...list.own.map((one) => (
      { ...one, kind: "own", words: `${one.title} | as the sweep compared` })),
  ];
  if (!options.length) return;

  function current() {
    const chosen = options.find((one) => one.words === state.get("pairs.table")) ?? options[0];
    const measure = list.measures.find((one) => one === state.get("pairs.measure"));
    const show = shows.find(([name]) => name === state.get("pairs.show")) ?? shows[0];
    return { chosen, measure: measure ?? list.measures[0], show: show[0], words: show[1] };
  }

  function put(name, usual) {
    return (value) => state.set(`pairs.${name}`, value === usual ? null : value);
  }

  /* The other way round, a sign is the other one: rounding knows no direction. */
  const flipped = (text) => text.replace(/^[+-]/, (sign) => (sign === "+" ? "-" : "+"));

  function intervalOf(pairs, at, turned) {
    if (pairs.low[at] === null) return "";
    const [low, high] = [pairs.low_shown[at], pairs.high_shown[at]];
    return turned ? `[${flipped(high)}, ${flipped(low)}]` : `[${low}, ${high}]`;
  }

  function told(pairs, at, row, column, turned) {
    const sign = (text) => (turned ? flipped(text) : text) || "unknown";
    const counts = [pairs.better[at], pairs.equal[at], pairs.worse[at]];
    if (turned) counts.reverse();
    return `${row} minus ${column}: difference ${sign(pairs.difference_shown[at])} `
      + `${intervalOf(pairs, at, turned)}, effect ${sign(pairs.effect_shown[at])}, `
      + `p ${pairs.p_shown[at] || "unknown"}, adjusted ${pairs.adjusted_shown[at] || "unknown"}; `
      + `better on ${counts[0]}, equal on ${counts[1]}, worse on ${counts[2]} queries`;
  }

  /* How strong a cell is coloured: by the level that p passes, or beside the largest figure. */
  function strength(value, show, largest) {
    if (value === null) return 0;
    if (show === "p") return [0.05, 0.01, 0.001].filter((bound) => value <= bound).length;
    return largest > 0 ? Math.ceil((3 * Math.abs(value)) / largest - 1e-9) : 0;
  }

  function ordered(table, column) {
    const places = table.rows.map((_, place) => place);
    if (state.get("pairs.order") !== "mean") return places;
    const mean = (place) => table.rows[place].means[column] ?? -Infinity;
    return places.sort((one, other) => mean(other) - mean(one) || one - other);
  }

  function matrix(table, { measure, show, words, chosen }) {
    const column = table.measures.indexOf(measure);
    const pairs = table.pairs[column];
    const places = ordered(table, column);
    const found = new Map();
    pairs.a.forEach((a, at) => {
      found.set(`${a}-${pairs.b[at]}`, [at, false]);
      found.set(`${pairs.b[at]}-${a}`, [at, true]);
    });
    const figures = { p: pairs.adjusted, effect: pairs.effect, difference: pairs.difference }[show];
    const texts = {
      p: pairs.adjusted_shown, effect: pairs.effect_shown, difference: pairs.difference_shown,
    }[show];
    const largest = figures.reduce((most, one) => Math.max(most, Math.abs(one ?? 0)), 0);
    const detail = make("p", { class: "note pairs-detail", dir: "auto" },
      "Choose a cell to read all about the pair; arrow keys move from cell to cell.");
    const meanings = new Map();
    const intervals = show === "difference" && places.length <= 20;

    function cell(row, other) {
      const [at, turned] = found.get(`${row}-${other}`);
      const value = figures[at];
      const change = (turned ? -1 : 1) * (pairs.difference[at] ?? 0);
      const side = change > 0 ? "better" : change < 0 ? "worse" : "";
      const mark = change > 0 ? "▲ " : change < 0 ? "▼ " : "= ";
      const reversed = turned && show !== "p";
      const text = (reversed ? flipped(texts[at]) : texts[at]) || "–";
      const raw = value !== null && reversed ? -value : value;
      const step = side && strength(value, show, largest);
      const made = make("td", {
        class: `number${step ? ` ${side}-${step}` : ""}${pairs.significant[at] ? " sure" : ""}`,
        "data-value": raw, title: raw, tabindex: -1,
      }, show === "p" ? mark + text : text,
      intervals ? make("small", {}, intervalOf(pairs, at, turned)) : null);
      const [mine, its] = [table.rows[row].name, table.rows[other].name];
      meanings.set(made, () => told(pairs, at, mine, its, turned));
      return made;
    }

    const head = make("tr", {}, make("th", { scope: "col" }, "row"),
      make("th", { scope: "col", class: "number" }, measure),
      places.map((place, number) => make("th", { scope: "col", class: "number", dir: "auto",
        title: table.rows[place].name, "aria-label": table.rows[place].name },
      String(number + 1))));
    const body = places.map((place, number) => make("tr", {},
      make("th", { scope: "row", dir: "auto", title: table.rows[place].name }, `${number + 1} `,
        make("span", {}, table.rows[place].name),
        table.rows[place].reference ? make("span", { class: "tag plain" }, "reference") : null),
      make("td", { class: "number", "data-value": table.rows[place].means[column],
        title: table.rows[place].means[column] }, table.rows[place].shown[column]),
      places.map((other) => (other === place
        ? make("td", { class: "self", tabindex: -1 }, "")
        : cell(place, other)))));
    const grid = make("table", { class: "data pairs-matrix", role: "grid",
      "aria-label": `${words}, ${measure}, ${chosen.title}` },
    make("caption", {}, `${words}, ${measure}: row minus column. ${show === "p"
      ? "▲: the row is better than the column; ▼: worse"
      : "+: the row is better than the column; -: worse"}. Columns have the numbers of the rows. `
      + `${chosen.family}.`),
    make("thead", {}, head), make("tbody", {}, body));
    walkable(grid, (cell) => { detail.textContent = meanings.get(cell)?.() ?? ""; });
    return [make("div", { class: "scroll pairs-scroll" }, grid), detail];
  }

  /* One cell takes part in the order of the Tab key; arrow keys go on from there. */
  function walkable(grid, tell) {
    const rows = [...grid.tBodies[0].rows];
    const cellOf = (row, column) => rows[row]?.cells[column];
    let last = cellOf(0, Math.min(3, rows[0].cells.length - 1));
    last.tabIndex = 0;
    grid.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      last.tabIndex = -1;
      last = cell;
      cell.tabIndex = 0;
      tell(cell);
    });
    grid.addEventListener("click", (event) => event.target.closest("td[tabindex]")?.focus());
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    grid.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const cell = event.target.closest("td[tabindex]");
      if (!step || !cell) return;
      const next = cellOf(rows.indexOf(cell.parentElement) + step[0], cell.cellIndex + step[1]);
      if (next?.hasAttribute("tabindex")) {
        event.preventDefault();
        next.focus();
      }
    });
  }

  function own(table, { measure, chosen }) {
    const places = table.measure.flatMap((one, place) => (one === measure ? [place] : []));
    const all = state.get("pairs.all") === "yes";
    const shown = all ? places : places.slice(0, most);
    const figure = (at, name, text) => make("td", { class: "number", "data-value": table[name][at],
      title: table[name][at] }, text || "–");
    const body = shown.map((at) => make("tr", {},
      make("th", { scope: "row", dir: "auto" }, table.candidate[at]),
      make("td", { dir: "auto" }, table.reference[at]),
      figure(at, "difference", table.difference_shown[at]),
      make("td", { class: "number" }, intervalOf(table, at, false)),
      figure(at, "effect", table.effect_shown[at]),
      figure(at, "p", table.p_shown[at]),
      make("td", { class: `number${table.significant[at] ? " sure" : ""}`,
        "data-value": table.adjusted[at], title: table.adjusted[at] },
      table.adjusted_shown[at] || "–"),
      make("td", {}, !table.significant[at] ? ""
        : table.difference[at] > 0 ? make("span", { class: "tag good" }, "▲ better")
          : make("span", { class: "tag bad" }, "▼ worse")),
      make("td", { class: "number" },
        `${table.better[at]} / ${table.equal[at]} / ${table.worse[at]}`)));
    const names = ["candidate", "reference", "difference", "95 % interval", "effect", "p",
      "adjusted p", "significantly", "better / equal / worse"];
    const numbers = [2, 3, 4, 5, 6, 8];
    const result = make("table", { class: "data" },
      make("caption", {}, `${measure}: candidate minus reference, as in comparisons.parquet. `
        + `Correction over ${chosen.family}. Bold: significant.`),
      make("thead", {}, make("tr", {}, names.map((name, place) => make("th",
        { scope: "col", class: numbers.includes(place) ? "number" : null }, name)))),
      make("tbody", {}, body));
    const more = places.length > shown.length
      ? make("button", { type: "button", onclick: () => state.set("pairs.all", "yes") },
        `Show all ${places.length}`)
      : null;
    return [make("div", { class: "scroll", tabindex: 0, role: "region",
      "aria-label": "What the sweep compared" }, result), more ?? ""];
  }

  async function draw() {
    const now = current();
    const table = await page.part(`pairs/${now.chosen.part}`);
    if (current().chosen !== now.chosen) return;
    const isMatrix = now.chosen.kind === "matrix";
    controls.replaceChildren(
      choice("rows", options.map((one) => one.words), now.chosen.words,
        put("table", options[0].words)),
      choice("measure", list.measures, now.measure, put("measure", list.measures[0])),
      ...(isMatrix ? [
        choice("show", shows, now.show, put("show", "p")),
        choice("order", [["", "of the table"], ["mean", "best mean first"]],
          state.get("pairs.order") ?? "", put("order", "")),
      ] : []),
    );
    content.replaceChildren(...(isMatrix ? matrix(table, now) : own(table, now)));
  }

  async function redraw() {
    const all = () => [...controls.querySelectorAll("select")];
    const focused = all().indexOf(document.activeElement);
    await draw();
    const { chosen, measure, words } = current();
    const shown = chosen.kind === "matrix" ? words : "Comparisons";
    page.announce(`${shown}, ${measure}, ${chosen.words}`);
    /* Controls were made anew: the reader goes on at the same one. */
    if (focused >= 0) all()[focused]?.focus();
  }

  view.append(make("h3", {}, "Which rows differ"), controls, content);
  const keys = ["table", "measure", "show", "order", "all"];
  state.watch(keys.map((name) => `pairs.${name}`), redraw);
  await draw();
});
