/* Sweeps side by side: the rows of a pair, to sort, and to cut down to what changed. */

page.section("changes", async (root, page) => {
  const { make, state, choice } = page;
  const pairs = [...root.querySelectorAll("[data-pair]")];
  const atOnce = 100;
  let most = atOnce;
  let printing = false;

  /* All at once, since nothing can be waited for when the page is printed. */
  const tables = await Promise.all(pairs.map((_, at) => page.part(`changes/${at}`)));

  function place() {
    const wanted = Number(state.get("changes.pair"));
    return pairs[wanted] ? wanted : 0;
  }

  const onlyChanged = () => state.get("changes.only") === "1";

  /* "3" sorts by the third column, smallest first; "-3" the other way round. */
  function sorting(table) {
    const given = state.get("changes.sort") ?? "";
    const column = Number(given.replace("-", "")) - 1;
    if (!given || !Number.isInteger(column) || !table.headers[column]) return null;
    return { column, down: given.startsWith("-") };
  }

  function ordered(table) {
    const rows = onlyChanged() ? table.rows.filter((row) => row.changed) : [...table.rows];
    const sorted = sorting(table);
    if (!sorted) return rows;
    const value = (row) => row.cells[sorted.column]?.value ?? null;
    /* What is unmeasured stands last, whichever way the others go. */
    return rows.sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === null || other === null) return (one === null) - (other === null);
      return sorted.down ? other - one : one - other;
    });
  }

  function header(text, column, sorted) {
    const mine = sorted?.column === column;
    const arrow = mine ? (sorted.down ? " ▼" : " ▲") : "";
    const next = !mine ? `${column + 1}` : sorted.down ? null : `-${column + 1}`;
    const button = make("button", { type: "button", class: "link", "data-sort": column,
      title: `Sort by ${text}` }, text, arrow);
    button.addEventListener("click", () => {
      state.set("changes.sort", next);
      pairs[place()].querySelector(`button[data-sort="${column}"]`)?.focus();
      const order = next?.startsWith("-") ? "largest first" : "smallest first";
      page.announce(next ? `sorted by ${text}, ${order}` : "in the order of the sweep");
    });
    return make("th", { scope: "col", class: "number",
      "aria-sort": mine ? (sorted.down ? "descending" : "ascending") : null }, button);
  }

  function tag(one) {
    const made = make("span", { class: `tag ${one.tone}`, title: one.title || null }, one.text);
    return one.title ? [made, make("span", { class: "unseen" }, ` (${one.title})`)] : [made];
  }

  function cell(one) {
    if (!one) return make("td", { class: "number" });
    const known = one.value !== null;
    return make("td", { class: "number", "data-value": known ? one.value : null,
      title: known ? String(one.value) : null },
    one.text ? make("div", {}, one.text) : null,
    one.lines.map((line) => make("div", { class: "note" }, line)),
    one.tag ? tag(one.tag) : null);
  }

  function line(table, row) {
    return make("tr", { "data-changed": row.changed },
      make("th", { scope: "row" },
        make("div", { dir: "auto" }, row.name),
        row.tags.flatMap((one) => [...tag(one), " "])),
      table.datasets ? make("td", { dir: "auto" }, row.dataset) : null,
      table.filters ? make("td", { dir: "auto" }, row.filter) : null,
      row.cells.map(cell));
  }

  function controls(shown, found) {
    const box = make("input", { type: "checkbox", checked: onlyChanged() });
    box.addEventListener("change", () => {
      state.set("changes.only", box.checked ? "1" : null);
      pairs[place()].querySelector("input[type=checkbox]")?.focus();
    });
    const more = found > shown ? make("button", { type: "button", onclick: () => {
      most += 5 * atOnce;
      draw();
    } }, "Show more rows") : null;
    return make("div", { class: "controls" },
      make("label", { class: "inline" }, box, make("span", {}, "only what changed")), more);
  }

  function draw() {
    const at = place();
    const select = root.querySelector("[data-choose] select");
    if (select) select.value = String(at);
    pairs.forEach((one, number) => {
      one.hidden = number !== at && !printing;
      if (!one.hidden) drawPair(number);
    });
  }

  function drawPair(at) {
    const table = tables[at];
    const rows = ordered(table);
    const shown = printing ? rows : rows.slice(0, most);
    const sorted = sorting(table);
    const counted = `${rows.length} of ${table.rows.length} rows`
      + (shown.length < rows.length ? `, the first ${shown.length} shown` : "");
    const head = make("tr", {}, make("th", { scope: "col" }, "row"),
      table.datasets ? make("th", { scope: "col" }, "dataset") : null,
      table.filters ? make("th", { scope: "col" }, "filter") : null,
      table.headers.map((text, column) => header(text, column, sorted)));
    const label = `Rows, ${table.title}`;
    const view = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
      make("table", { class: "data" }, make("caption", {}, `${label}: ${counted}`),
        make("thead", {}, head),
        make("tbody", {}, shown.map((row) => line(table, row)))));
    const target = pairs[at].querySelector("[data-rows]");
    target.replaceChildren(controls(shown.length, rows.length), view);
  }

  if (pairs.length > 1) {
    const titles = tables.map((one, at) => [String(at), one.title]);
    root.querySelector("[data-choose]").append(make("div", { class: "controls" },
      choice("sweeps", titles, String(place()),
        (value) => state.set("changes.pair", value === "0" ? null : value))));
  }
  addEventListener("beforeprint", () => {
    printing = true;
    draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    draw();
  });
  state.watch(["changes.pair", "changes.sort", "changes.only"], () => {
    most = atOnce;
    draw();
  });
  draw();
});
