/* Single queries: how two rows differ, which queries moved, and where their documents went. */

page.section("queries", async (root, page) => {
  const { make, state } = page;
  const index = await page.part("queries/index");
  const view = root.querySelector("[data-view]");
  const controls = make("div", { class: "controls" });
  const content = make("div");
  const names = index.measures.map((one) => one.name);
  const kinds = {
    index: "Rows beside their reference",
    best: "Rows beside the best of their encoder",
    encoder: "Encoders beside each other",
    combination: "Combinations beside their parts",
  };
  const key = (name) => `queries.${name}`;

  /* All pairs of rows, as [cell, pair], by the row that is compared. */
  const byRow = new Map();
  index.cells.forEach((cell, number) => cell.pairs.forEach(([candidate], pair) => {
    const id = cell.rows[candidate][0];
    if (!byRow.has(id)) byRow.set(id, []);
    byRow.get(id).push([number, pair]);
  }));

  const idsOf = ([number, pair]) => {
    const cell = index.cells[number];
    return cell.pairs[pair].slice(0, 2).map((row) => cell.rows[row][0]);
  };

  /* Documents first: a pair about which there is most to see. */
  function usual(number) {
    const cell = index.cells[number];
    const seen = cell.pairs.findIndex(([, , , , reason]) => cell.reasons[reason] === "");
    return [number, Math.max(0, seen)];
  }

  /* A reference is compared with other encoders' alone, and may stand on the other side. */
  function asReference(id) {
    for (const [number, cell] of index.cells.entries()) {
      const pair = cell.pairs.findIndex(([, reference, kind]) => kind === "encoder"
        && cell.rows[reference][0] === id);
      if (pair >= 0) return [number, pair];
    }
    return null;
  }

  function current() {
    const own = byRow.get(state.get(key("row")));
    const against = state.get(key("against"));
    const place = own?.find((one) => idsOf(one)[1] === against) ?? own?.[0]
      ?? byRow.get(state.get("row"))?.[0] ?? asReference(state.get("row")) ?? usual(0);
    const measure = Math.max(0, names.indexOf(state.get(key("measure"))));
    return { number: place[0], pair: place[1], measure };
  }

  function choose(place) {
    const [candidate, reference] = idsOf(place);
    const first = idsOf(byRow.get(candidate)[0])[1] === reference;
    state.change({
      [key("row")]: candidate, [key("against")]: first ? null : reference, [key("query")]: null,
    });
  }

  const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(4);

  /* On a phone, rows become blocks: roles keep them rows, and cells say what they are. */
  const line = (attributes, ...cells) => make("tr", { role: "row", ...attributes }, ...cells);

  const entry = (label, attributes, ...children) =>
    make("td", { role: "cell", "data-label": label, ...attributes }, children);

  const lineHead = (...children) => make("th", { scope: "row", role: "rowheader" }, children);

  function stack(name, caption, columns, body) {
    const head = columns.map(([text, attributes]) => make("th", { scope: "col",
      role: "columnheader", ...attributes }, text));
    return make("table", { class: `data queries-stack ${name}`, role: "table" },
      make("caption", {}, caption),
      make("thead", { role: "rowgroup" }, line({}, head)),
      make("tbody", { role: "rowgroup" }, body));
  }

  /* Controls. */
  function rowChoice(now) {
    const cell = index.cells[now.number];
    const select = make("select");
    for (const [kind, words] of Object.entries(kinds)) {
      const mine = cell.pairs.flatMap(([, , own], pair) => (own === kind ? [pair] : []));
      if (!mine.length) continue;
      select.append(make("optgroup", { label: words }, mine.map((pair) => {
        const [candidate, reference] = cell.pairs[pair].map((row) => cell.rows[row]?.[1]);
        const alone = kind === "index" || kind === "best";
        return make("option", { value: pair }, alone ? candidate : `${candidate} – ${reference}`);
      })));
    }
    select.value = String(now.pair);
    select.addEventListener("change", () => choose([now.number, Number(select.value)]));
    return make("label", {}, make("span", {}, "row"), select);
  }

  let shownCell = null;
  function drawControls(now) {
    if (shownCell === now.number) {
      controls.querySelector("[data-row] select").value = String(now.pair);
      const measure = controls.querySelector("[data-measure] select");
      if (measure) measure.value = names[now.measure];
      return;
    }
    const focused = controls.contains(document.activeElement);
    shownCell = now.number;
    const cells = index.cells.map((cell, number) => [String(number), cell.title]);
    const made = [];
    if (cells.length > 1) {
      made.push(page.choice("data", cells, String(now.number),
        (number) => choose(usual(Number(number)))));
    }
    const rows = rowChoice(now);
    rows.dataset.row = "";
    made.push(rows);
    if (names.length > 1) {
      const measures = page.choice("measure", names, names[now.measure], (name) => {
        state.set(key("measure"), name === names[0] ? null : name);
      });
      measures.dataset.measure = "";
      made.push(measures);
    }
    controls.replaceChildren(...made);
    if (focused) controls.querySelector("select").focus();
  }

  /* How scores differ. */
  function told([wins, ties, losses, undefined]) {
    const words = `${wins} better, ${losses} worse, ${ties} equal`;
    return undefined ? `${words}, ${undefined} without a score in one of both` : words;
  }

  const edge = (value) => String(Number(value.toPrecision(12)));

  function bars(counts, step, label) {
    const half = counts.length / 2;
    const most = Math.max(...counts);
    const bins = counts.map((count, place) => {
      const [low, high] = [edge((place - half) * step), edge((place - half + 1) * step)];
      const side = place < half ? "worse" : "better";
      return { count, side, words: `${low} to ${high}` };
    });
    const drawn = bins.map(({ count, side, words }) => make("div",
      { title: `${count} ${count === 1 ? "query" : "queries"}: ${words}` },
      count ? make("span", { class: side, style: `--size: ${(100 * count) / most}%` }) : null));
    const end = edge(half * step);
    const table = make("table", { class: "data" },
      make("caption", {}, "Queries by difference; equal ones are not counted here"),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "difference"),
        make("th", { scope: "col", class: "number" }, "queries"))),
      make("tbody", {}, bins.filter((one) => one.count).map((one) => make("tr", {},
        make("th", { scope: "row" }, one.words),
        make("td", { class: "number" }, String(one.count))))));
    return [
      make("div", { class: "queries-bars" },
        make("div", { class: "bars", role: "img", "aria-label": label }, drawn),
        make("div", { class: "axis note", "aria-hidden": "true" },
          make("span", {}, `−${end} worse`), make("span", {}, "0"),
          make("span", {}, `better +${end}`)),
        make("p", { class: "note" },
          `Queries by difference, in bins of ${edge(step)}; the highest bar stands for ${most}.`)),
      make("details", {}, make("summary", {}, "The same as a table"), table),
    ];
  }

  /* Documents of a query. */
  function textOf(found) {
    if (!found) return null;
    const [text, cut] = found;
    return make("div", { class: "text", dir: "auto" }, text || "(no text)",
      cut ? make("span", { class: "note" }, " … (cut)") : null);
  }

  function verdict(words, code) {
    const name = index.verdicts[Number(code)];
    const bad = name === "lost" || (name === "neither" && words.neither.startsWith("lost"));
    const look = bad ? "bad" : name === "gained" ? "good" : "plain";
    return make("span", { class: `tag ${look}` }, words[name]);
  }

  function judgedTable(now, found, documents, texts, words, [candidate, reference]) {
    const [judged, shown] = found;
    const { name, depth, level } = index.measures[now.measure];
    const number = { class: "number" };
    const rank = (label, value) => entry(label,
      { ...number, title: value === null ? "not among the hits" : null }, String(value ?? "–"));
    const body = shown.map(([place, grade, theirs, mine, codes]) => {
      const id = documents.documents[place];
      return line({}, lineHead(make("span", { dir: "auto" }, id), textOf(texts.documents[id])),
        entry("grade", number, String(grade)), rank("rank in the reference", theirs),
        rank("rank in this row", mine), entry("", {}, verdict(words, codes[now.measure])));
    });
    const others = judged - shown.length;
    const relevant = level === 1 ? "" : `; relevant from grade ${level}`;
    return make("div", { class: "scroll", tabindex: 0, role: "region",
      "aria-label": "Judged documents" },
    stack("", `Judged documents, relevant ones first${relevant}. ${name} looks at the `
      + `first ${depth}; –: not among the hits.`
      + `${others ? ` ${others} more judged documents are not listed.` : ""}`,
    [["document"], ["grade", number], ["rank in the reference", { ...number, title: reference }],
      ["rank in this row", { ...number, title: candidate }], ["what became of it"]], body));
  }

  async function judgedOf(now, query, labels) {
    const cell = index.cells[now.number];
    const [, , kind, exact, why] = cell.pairs[now.pair];
    const documents = await page.part(`queries/documents/${now.number}`);
    const mine = documents.pairs[now.pair];
    if (!mine) {
      return [make("p", { class: "note", dir: "auto" },
        `Judged documents are not shown. ${cell.reasons[why]}`)];
    }
    if (!mine[query]) return [make("p", { class: "note" }, "No document is judged for it.")];
    const texts = await page.part(`queries/texts/${cell.texts}`);
    const words = index.words[kind][exact];
    return [judgedTable(now, mine[query], documents, texts, words, labels),
      make("p", { class: "note" }, index.explained[kind][exact])];
  }

  /* What became of the relevant documents of all queries. */
  function tallyOf(now, summary) {
    const tally = summary.tallies[now.pair]?.[now.measure];
    if (!tally) return null;
    const [, , kind, exact] = index.cells[now.number].pairs[now.pair];
    const words = index.words[kind][exact];
    const tags = tally.flatMap((count, code) => {
      const plain = count ? verdict(words, code) : null;
      plain?.prepend(`${count} `);
      return plain ? [" ", plain] : [];
    });
    const { depth } = index.measures[now.measure];
    return make("p", {}, `Relevant documents of all queries, by the first ${depth}:`, tags);
  }

  /* Queries that moved. */
  let drawing = 0;
  let open = null;

  function close() {
    if (!open) return;
    open.button.setAttribute("aria-expanded", "false");
    open.button.removeAttribute("aria-controls");
    open.button.closest("tr").classList.remove("open");
    open.row.remove();
    open = null;
  }

  async function drawOpen(now, labels) {
    const query = state.get(key("query"));
    if (open?.query === query) return;
    close();
    const button = [...content.querySelectorAll("button[data-query]")]
      .find((one) => one.dataset.query === query);
    if (!button) return;
    const inside = make("td", { class: "judged", colspan: 4, role: "cell" }, "…");
    const below = line({ id: "queries-judged" }, inside);
    open = { query, button, row: below };
    button.setAttribute("aria-expanded", "true");
    button.setAttribute("aria-controls", below.id);
    button.closest("tr").classList.add("open");
    button.closest("tr").after(below);
    inside.replaceChildren(...await judgedOf(now, query, labels));
  }

  function movedTable(summary, texts, found, labels, name) {
    const [counts, , , places, theirs, mine] = found;
    if (!places.length) return make("p", {}, "No query got better or worse.");
    const body = places.map((place, at) => {
      const query = summary.queries[place];
      const change = mine[at] - theirs[at];
      const toggle = make("button", { type: "button", class: "link", "aria-expanded": "false",
        "data-query": query, dir: "auto" }, query);
      toggle.addEventListener("click", () => {
        state.set(key("query"), state.get(key("query")) === query ? null : query);
      });
      const number = (label, value, text, look = "") => entry(label,
        { class: `number ${look}`, "data-value": value, title: value }, text);
      return line({}, lineHead(toggle, textOf(texts.queries[query])),
        number("reference", theirs[at], theirs[at].toFixed(4)),
        number("this row", mine[at], mine[at].toFixed(4)),
        number("difference", change, `${change > 0 ? "▲" : "▼"} ${signed(change)}`,
          change > 0 ? "good-text" : "bad-text"));
    });
    const listed = places.length === counts[0] + counts[2] ? "All queries that moved"
      : `The ${places.length} queries that moved most`;
    const caption = `${listed} by ${name}: worse ones first, then better ones. Choose one to see `
      + "its judged documents.";
    const columns = [["query"], ["reference", { class: "number", title: labels[1] }],
      ["this row", { class: "number", title: labels[0] }], ["difference", { class: "number" }]];
    return make("div", { class: "scroll" }, stack("queries-moved", caption, columns, body));
  }

  async function draw() {
    const now = current();
    const turn = ++drawing;
    const cell = index.cells[now.number];
    const summary = await page.part(`queries/summary/${now.number}`);
    const texts = await page.part(`queries/texts/${cell.texts}`);
    if (turn !== drawing) return;
    drawControls(now);
    const labels = cell.pairs[now.pair].slice(0, 2).map((row) => cell.rows[row][1]);
    const found = summary.pairs[now.pair][now.measure];
    const [counts, mean, bins] = found;
    const words = told(counts);
    const name = names[now.measure];
    open = null;
    content.replaceChildren(
      make("h3", { dir: "auto" }, labels[0]),
      make("p", { class: "note", dir: "auto" }, `beside ${labels[1]}, by ${name}`),
      make("p", { class: "queries-told" }, `${words}. `,
        mean === null ? "No query has a score in both." : "Mean difference ",
        mean === null ? null : make("span", { "data-value": mean, title: mean }, signed(mean)),
        mean === null ? null : "."),
      ...(cell.steps[now.measure] && counts[0] + counts[2]
        ? bars(bins, cell.steps[now.measure], `${labels[0]} beside ${labels[1]}, ${name}: ${words}`)
        : []),
      tallyOf(now, summary) ?? "",
      movedTable(summary, texts, found, labels, name),
    );
    await drawOpen(now, labels);
    return words;
  }

  async function redraw() {
    const words = await draw();
    if (words && root.contains(document.activeElement)) page.announce(words);
  }

  /* A row that is chosen on the leaderboard is followed, unless the address names one, too. */
  let followed = state.get(key("row"));
  state.watch(["row"], () => {
    const row = state.get("row");
    const named = state.get(key("row")) !== followed;
    if (!named && row && (byRow.has(row) || asReference(row))) {
      state.change({ [key("row")]: null, [key("against")]: null, [key("query")]: null });
    }
    followed = state.get(key("row"));
    redraw();
  });
  state.watch([key("row"), key("against"), key("measure")], () => {
    followed = state.get(key("row"));
    redraw();
  });
  state.watch([key("query")], () => {
    const now = current();
    const cell = index.cells[now.number];
    drawOpen(now, cell.pairs[now.pair].slice(0, 2).map((row) => cell.rows[row][1]));
  });

  view.append(controls, content);
  await draw();
});
