/* The leaderboard: sort, filter, choose columns, look at a row. All of it is in the address. */

page.section("leaderboard", async (root, page) => {
  const { make, state, choice } = page;
  const table = await page.part("leaderboard/table");
  const columns = new Map(table.columns.map((one) => [one.name, one]));
  const all = table.row_id.map((_, place) => place);
  const view = root.querySelector("[data-view]");
  const sizes = ["25", "100", "500", "all"];
  const own = ["dataset", "encoder", "index", "filter", "status"];
  const chosenBy = own
    .map((name) => [name, columns.get(name)])
    .filter(([, column]) => column && new Set(column.values).size > 1);
  const settings = Object.entries(table.settings);

  const text = (column, place) => (column.shown ?? column.values)[place] ?? "";
  const isFigure = (column) => column.kind === "measure" || column.kind === "figure";
  const key = (name) => `leaderboard.${name}`;

  /* What the reader chose. */
  function shownColumns() {
    const chosen = state.get(key("columns"));
    if (chosen === null) return table.columns.filter((one) => one.default);
    return chosen.split(",").map((name) => columns.get(name)).filter(Boolean);
  }

  function sorting() {
    const given = state.get(key("sort")) ?? "";
    const down = given.startsWith("-");
    const column = columns.get(down ? given.slice(1) : given);
    return column ? { column, down } : null;
  }

  function compared(column, down) {
    /* Unmeasured stands last, whichever way the others go. */
    const values = column.values;
    return (a, b) => {
      const [one, other] = [values[a], values[b]];
      if (one === null || other === null) return (one === null) - (other === null) || a - b;
      const order = typeof one === "string"
        ? one.localeCompare(other, undefined, { numeric: true })
        : one - other;
      return (down ? -order : order) || a - b;
    };
  }

  function matching() {
    const words = (state.get(key("text")) ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const searched = ["dataset", "encoder", "configuration", "filter", "message"]
      .map((name) => columns.get(name))
      .filter(Boolean);
    return all.filter((place) => {
      for (const [name, column] of chosenBy) {
        const wanted = state.get(key(name));
        if (wanted !== null && (column.values[place] ?? "none") !== wanted) return false;
      }
      for (const [name, values] of settings) {
        const wanted = state.get(key(`p.${name}`));
        if (wanted !== null && values[place] !== wanted) return false;
      }
      if (!words.length) return true;
      const content = searched.map((one) => String(one.values[place] ?? "")).join(" ");
      return words.every((word) => content.toLowerCase().includes(word));
    });
  }

  /* Controls. */
  function filters() {
    const made = chosenBy.map(([name, column]) => {
      const values = [...new Set(column.values.map((one) => one ?? "none"))];
      return choice(column.header, [["", "all"], ...values], state.get(key(name)) ?? "",
        (value) => change({ [name]: value }));
    });
    const search = make("input", { type: "search", value: state.get(key("text")) ?? "" });
    search.addEventListener("input", () => change({ text: search.value }));
    made.push(make("label", {}, make("span", {}, "words"), search));
    return make("div", { class: "controls" }, made);
  }

  function parameters() {
    if (!settings.length) return null;
    const controls = settings.map(([name, values]) => {
      const distinct = [...new Set(values.filter(Boolean))]
        .sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
      return choice(name, [["", "all"], ...distinct], state.get(key(`p.${name}`)) ?? "",
        (value) => change({ [`p.${name}`]: value }));
    });
    const open = settings.some(([name]) => state.get(key(`p.${name}`)) !== null);
    return make("details", { open }, make("summary", {}, "Filter by parameter"),
      make("div", { class: "controls" }, controls));
  }

  function columnChooser() {
    const boxes = table.columns.map((column) => {
      const box = make("input", { type: "checkbox", value: column.name });
      box.checked = shownColumns().includes(column);
      box.addEventListener("change", () => {
        const names = table.columns
          .filter((one) => (one === column ? box.checked : shownColumns().includes(one)))
          .map((one) => one.name);
        change({ columns: names.join(",") || "row_id" });
      });
      return make("label", { class: "inline" }, box, make("span", { dir: "auto" }, column.header));
    });
    const reset = make("button", { type: "button", onclick: () => {
      change({ columns: null });
      for (const box of boxes) {
        const input = box.querySelector("input");
        input.checked = columns.get(input.value).default;
      }
    } }, "Usual columns");
    return make("details", {}, make("summary", {}, "Choose columns"),
      make("div", { class: "controls columns" }, boxes, reset));
  }

  function change(values) {
    const named = Object.fromEntries(
      Object.entries(values).map(([name, value]) => [key(name), value]),
    );
    if (!("page" in values)) named[key("page")] = null;
    state.change(named);
  }

  /* The table. */
  const rowsView = make("div", { class: "scroll", tabindex: 0, role: "region",
    "aria-label": "Leaderboard" });
  const pages = make("div", { class: "controls pages" });
  const detail = make("div", { class: "detail" });

  function header(column, sorted) {
    const mine = sorted?.column === column;
    const button = make("button", { type: "button", class: "link", "data-sort": column.name,
      title: `Sort by ${column.header}` }, column.header, mine ? (sorted.down ? " ▼" : " ▲") : "");
    button.addEventListener("click", () => {
      /* First the best at the top, then the other way round, then the order of the sweep. */
      const first = column.better === "higher";
      if (!mine) change({ sort: (first ? "-" : "") + column.name });
      else if (sorted.down === first) change({ sort: (first ? "" : "-") + column.name });
      else change({ sort: null });
      rowsView.querySelector(`button[data-sort="${CSS.escape(column.name)}"]`)?.focus();
      const now = sorting();
      const order = now?.down ? "descending" : "ascending";
      page.announce(now ? `sorted by ${column.header}, ${order}` : "in the order of the sweep");
    });
    return make("th", { scope: "col", class: isFigure(column) ? "number" : null,
      "aria-sort": mine ? (sorted.down ? "descending" : "ascending") : null }, button);
  }

  function intervalBar(column, place, scale) {
    const [low, high] = [column.low[place], column.high[place]];
    const value = column.values[place];
    if (low === null || high === null || scale.width === 0) return null;
    const share = (one) => `${(100 * (one - scale.low)) / scale.width}%`;
    const bar = make("span", { class: "interval", "aria-hidden": "true" });
    bar.style.setProperty("--from", share(low));
    bar.style.setProperty("--to", share(high));
    bar.style.setProperty("--mean", share(value));
    return bar;
  }

  function cell(column, place, first, scale) {
    const value = column.values[place];
    const status = table.status[place];
    const attributes = { "data-column": column.name, class: isFigure(column) ? "number" : null };
    if (value !== null) {
      attributes["data-value"] = value;
      if (typeof value === "number") attributes.title = String(value);
    }
    if (status !== "ok" && first && column.kind === "measure") {
      return make("td", attributes, make("span", { class: "tag bad" }, status));
    }
    const children = [];
    if (column.name === "configuration") {
      const open = make("button", { type: "button", class: "link", dir: "auto",
        "data-row": table.row_id[place],
        "aria-expanded": String(state.get("row") === table.row_id[place]) }, text(column, place));
      open.addEventListener("click", () => {
        const mine = table.row_id[place];
        state.set("row", state.get("row") === mine ? null : mine);
        if (state.get("row")) detail.querySelector("h3")?.focus();
      });
      children.push(open);
      if (table.reference[place]) children.push(" ", make("span", { class: "tag plain" },
        "reference"));
    } else if (column.kind === "margin" && table.reference[place]) {
      children.push("reference");
    } else if (column.kind === "measure") {
      const shown = text(column, place);
      children.push(column.best[place] ? make("strong", {}, shown) : shown);
      const mark = column.mark?.[place];
      if (mark) children.push(make("sup", { class: mark === "+" ? "good-text" : "bad-text",
        title: "differs significantly from the reference" }, mark));
      const group = column.group?.[place];
      if (group) children.push(make("sup", { title: "rows that share a letter do not differ " +
        "significantly" }, group));
      if (column.interval[place]) children.push(make("br"),
        make("span", { class: "note" }, column.interval[place]));
      children.push(intervalBar(column, place, scale));
    } else {
      children.push(text(column, place));
      if (column.mark?.[place]) children.push(make("sup", { title: "timed while other work ran" },
        column.mark[place]));
      attributes.dir = typeof value === "string" ? "auto" : null;
    }
    return make(column.name === "configuration" ? "th" : "td",
      { ...attributes, scope: column.name === "configuration" ? "row" : null }, children);
  }

  function scaleOf(column, places) {
    if (column.kind !== "measure") return null;
    let [low, high] = [Infinity, -Infinity];
    for (const place of places) {
      if (column.low[place] === null) continue;
      low = Math.min(low, column.low[place]);
      high = Math.max(high, column.high[place]);
    }
    return { low, width: high > low ? high - low : 0 };
  }

  function draw() {
    const found = matching();
    const sorted = sorting();
    if (sorted) found.sort(compared(sorted.column, sorted.down));
    const size = sizes.includes(state.get(key("size"))) ? state.get(key("size")) : "25";
    const each = size === "all" || printing ? found.length || 1 : Number(size);
    const last = Math.max(0, Math.ceil(found.length / each) - 1);
    const at = Math.min(last, Math.max(0, Number(state.get(key("page")) ?? 1) - 1 || 0));
    const places = found.slice(at * each, (at + 1) * each);
    const shown = shownColumns();
    const firstMeasure = shown.find((one) => one.kind === "measure");
    const scales = new Map(shown.map((one) => [one, scaleOf(one, found)]));
    const body = make("tbody", {}, places.map((place) =>
      make("tr", { "data-id": table.row_id[place],
        class: state.get("row") === table.row_id[place] ? "chosen" : null },
      shown.map((column) => cell(column, place, column === firstMeasure, scales.get(column))))));
    const counted = `${found.length.toLocaleString("en")} of ${all.length.toLocaleString("en")} rows`;
    rowsView.replaceChildren(make("table", { class: "data" },
      make("caption", {}, counted, found.length > places.length
        ? `, ${at * each + 1} to ${at * each + places.length} shown` : ""),
      make("thead", {}, make("tr", {}, shown.map((column) => header(column, sorted)))), body));
    drawPages(at, last, size, found.length);
  }

  function drawPages(at, last, size, count) {
    const focused = pages.contains(document.activeElement) ? document.activeElement : null;
    const name = focused?.dataset.step;
    const step = (label, to, which) => make("button", { type: "button", "data-step": which,
      disabled: to < 0 || to > last, onclick: () => change({ page: to + 1 }) }, label);
    const rows = choice("rows at once", sizes, size, (value) => change({ size: value }));
    rows.className = "inline";
    const few = count <= 25;
    pages.replaceChildren(...(few ? [] : [step("Previous", at - 1, "before"),
      make("span", { class: "note" }, `page ${at + 1} of ${last + 1}`),
      step("Next", at + 1, "after"), rows]));
    if (name) pages.querySelector(`[data-step="${name}"]:not(:disabled)`)?.focus();
  }

  /* All of a row. */
  function drawDetail() {
    const place = table.row_id.indexOf(state.get("row"));
    for (const button of rowsView.querySelectorAll("button[data-row]")) {
      const mine = button.dataset.row === state.get("row");
      button.setAttribute("aria-expanded", String(mine));
      button.closest("tr").classList.toggle("chosen", mine);
    }
    if (place < 0) return detail.replaceChildren();
    const name = ["encoder", "configuration"]
      .map((one) => text(columns.get(one), place)).join(" | ");
    const figures = table.columns
      .filter((column) => text(column, place) !== "")
      .map((column) => make("tr", {}, make("th", { scope: "row", dir: "auto" }, column.header),
        make("td", { class: isFigure(column) ? "number" : null, dir: "auto" }, text(column, place),
          column.interval?.[place] ? ` ${column.interval[place]}` : "",
          column.mark?.[place] ? ` ${column.mark[place]}` : ""),
        make("td", { class: "note", dir: "auto" },
          typeof column.values[place] === "number" ? String(column.values[place]) : "")));
    detail.replaceChildren(make("div", { class: "card" },
      make("h3", { tabindex: -1, dir: "auto" }, name),
      make("p", {}, make("a", { href: `#queries?${new URLSearchParams(state.entries())}` },
        "Its queries, beside the reference"), " ",
      make("button", { type: "button", class: "quiet", onclick: close }, "Close")),
      make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
        make("table", { class: "data" },
          make("caption", {}, "All that is known of this row: as shown, and with all digits"),
          make("tbody", {}, figures)))));
  }

  function close() {
    const id = state.get("row");
    state.set("row", null);
    rowsView.querySelector(`button[data-row="${CSS.escape(id)}"]`)?.focus();
  }

  detail.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });

  const front = make("div");
  function drawFilters() {
    front.replaceChildren(...[filters(), parameters(), columnChooser()].filter(Boolean));
  }

  let printing = false;
  addEventListener("beforeprint", () => {
    printing = true;
    draw();
  });
  addEventListener("afterprint", () => {
    printing = false;
    draw();
  });

  const watched = ["sort", "text", "columns", "page", "size", ...own,
    ...settings.map(([name]) => `p.${name}`)].map(key);
  let pending = 0;
  state.watch(watched, () => {
    /* Typing quickly in a table of thousands of rows: once a frame is enough. */
    cancelAnimationFrame(pending);
    if (document.activeElement?.type === "search") pending = requestAnimationFrame(draw);
    else draw();
  });
  addEventListener("hashchange", () => {
    if (!front.contains(document.activeElement)) drawFilters();
  });
  state.watch(["row"], drawDetail);

  drawFilters();
  view.append(front, rowsView, pages, detail);
  draw();
  drawDetail();
});
