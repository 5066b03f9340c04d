/* A sweep that runs: asks the server every two seconds, and changes only what is another. */

page.section("live", async (root) => {
  const EVERY_MS = 2000;
  const TIMEOUT_MS = 20000;
  const TITLE = document.title;
  const WORDS = {
    waiting: "The sweep has not begun.",
    running: "The sweep is running.",
    stopped: "The sweep was stopped.",
    interrupted: "The sweep was interrupted.",
    failed: "The sweep was ended by an error.",
    finished: "The sweep is finished.",
  };
  const at = (name) => root.querySelector(`[data-live="${name}"]`);
  const shown = { state: null, tag: "", table: "", columns: [], rows: [], lost: false };
  const sorting = { name: null, descending: false };
  let timer = 0;
  let asking = false;

  /* Setting a text that is there already would take a selection away. */
  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function setAttribute(element, name, value) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }

  function meter(element, value, max) {
    setAttribute(element, "max", Math.max(1, max));
    setAttribute(element, "value", value);
  }

  /* Children with the same key stay, so that focus and selection do. */
  function keep(parent, items, keyOf, make, update) {
    const known = new Map([...parent.children].map((one) => [one.dataset.key, one]));
    const elements = items.map((item) => {
      const key = keyOf(item);
      const element = known.get(key) ?? make(item);
      known.delete(key);
      element.dataset.key = key;
      update(element, item);
      return element;
    });
    for (const one of known.values()) one.remove();
    inOrder(parent, elements);
  }

  /* Moves and adds what is not in its place. */
  function inOrder(parent, elements) {
    let next = parent.firstElementChild;
    for (const element of elements) {
      if (element === next) next = next.nextElementSibling;
      else parent.insertBefore(element, next);
    }
  }

  function showHead(state) {
    const going = state.state === "running";
    const ended = ["stopped", "interrupted", "failed"].includes(state.state);
    const card = at("card");
    card.classList.toggle("running", going);
    card.classList.toggle("stopped", ended);
    const tag = at("state");
    say(tag, state.state);
    tag.className = `tag ${going ? "good" : ended ? "bad" : "plain"}`;
    say(at("times"), (state.times ?? []).join(", "));
    keep(at("said"), state.said.map((text, place) => ({ text, place })), (one) => `${one.place}`,
      () => page.make("p", { dir: "auto" }), (element, one) => say(element, one.text));
    const known = state.total > 0;
    at("bar").hidden = !known;
    if (known) {
      meter(at("progress"), state.settled, state.total);
      const percent = Math.floor((100 * state.settled) / state.total);
      const failed = state.failures.length + state.more_failures;
      say(at("settled"), `${state.settled} of ${state.total} jobs, ${percent} %`
        + (failed ? `, ${failed} failed` : ""));
      document.title = going ? `${percent} % ${TITLE}` : `${state.state}: ${TITLE}`;
    } else document.title = `${state.state}: ${TITLE}`;
    if (shown.state !== null && shown.state !== state.state) page.announce(WORDS[state.state]);
    shown.state = state.state;
  }

  function showWork(state) {
    at("work").hidden = !state.kinds;
    if (!state.kinds) return;
    keep(at("running"), state.running, (one) => `${one.kind} ${one.label}`, runningItem,
      updateRunning);
    at("now").hidden = state.state !== "running";
    at("idle").hidden = state.running.length > 0;
    keep(at("kinds"), state.kinds, (one) => one.kind, kindRow, updateKind);
    at("failed").hidden = !state.failures.length;
    keep(at("failures"), state.failures, (one) => `${one.what} ${one.message}`, (one) =>
      page.make("li", { dir: "auto" }, page.make("span", { class: "bad-text" }, one.what),
        `: ${one.message}`), () => {});
    say(at("more"), state.more_failures ? `And ${state.more_failures} more failed.` : "");
  }

  function runningItem(one) {
    return page.make("li", {}, page.make("span", { dir: "auto" }, `${one.kind} ${one.label}`), " ",
      page.make("progress", { hidden: !one.units, "aria-label": `Texts of ${one.label}` }), " ",
      page.make("span", { class: "note" }));
  }

  function updateRunning(element, one) {
    if (one.units) meter(element.querySelector("progress"), one.done, one.units);
    const parts = [one.texts, `for ${one.took}`, one.left === "?" ? "" : `${one.left} left`];
    say(element.querySelector(".note"), parts.filter(Boolean).join(", "));
  }

  function kindRow(one) {
    return page.make("tr", {}, page.make("th", { scope: "row" }, one.kind),
      page.make("td", {}, page.make("progress", { "aria-label": `${one.kind} jobs settled` })),
      one.cells.map(() => page.make("td", { class: "number" })));
  }

  function updateKind(element, one) {
    meter(element.querySelector("progress"), one.settled, one.total);
    one.cells.forEach((text, place) => say(element.children[place + 2], text));
  }

  function showRows(state) {
    at("results").hidden = !state.columns;
    if (state.table !== shown.table) {
      shown.table = state.table;
      shown.rows = [];
      at("rows").replaceChildren();
      shown.columns = state.columns ?? [];
      at("columns").replaceChildren(...shown.columns.map(heading));
      markSorted();
    }
    if (!state.columns) return;
    say(at("count"), state.count);
    at("noisy").hidden = !state.noisy;
    if (state.known !== shown.rows.length) {
      shown.rows = [];
      at("rows").replaceChildren();
    }
    for (const row of state.rows) shown.rows.push({ row, element: rowElement(row, state.columns) });
    if (state.rows.length) order();
  }

  function rowElement(row, columns) {
    const element = page.make("tr", {});
    const first = columns.findIndex((one) => one.kind !== "text");
    row.cells.forEach((cell, place) => {
      if (columns[place].kind === "text") {
        element.append(page.make("td", { dir: "auto" }, cell));
      } else if (row.message) {
        if (place === first) {
          element.append(page.make("td", { class: "bad-text", dir: "auto",
            colspan: columns.length - first }, row.message));
        }
      } else {
        const [value, text] = cell;
        const title = text.endsWith("~") ? `${value}; ${row.noise}` : value;
        element.append(page.make("td", { class: "number", "data-value": value, title }, text));
      }
    });
    return element;
  }

  function heading(column) {
    const button = page.make("button", { type: "button", onclick: () => sort(column) },
      column.header);
    return page.make("th", { scope: "col", class: column.kind === "text" ? null : "number" },
      button);
  }

  /* First the best, then the worst, then the order in which rows were finished. */
  function sort(column) {
    const bestIsHigh = column.better === "higher";
    if (sorting.name !== column.name) {
      sorting.name = column.name;
      sorting.descending = bestIsHigh;
    } else if (sorting.descending === bestIsHigh) sorting.descending = !bestIsHigh;
    else sorting.name = null;
    markSorted();
    order();
  }

  function markSorted() {
    shown.columns.forEach(({ name }, place) => {
      const element = at("columns").children[place];
      if (name !== sorting.name) element.removeAttribute("aria-sort");
      else element.setAttribute("aria-sort", sorting.descending ? "descending" : "ascending");
    });
  }

  /* What was not measured comes last, either way. */
  function order() {
    const place = shown.columns.findIndex(({ name }) => name === sorting.name);
    let rows = shown.rows;
    if (place >= 0) {
      const sign = sorting.descending ? -1 : 1;
      const valueOf = ({ row }) => {
        const cell = row.cells[place];
        if (!Array.isArray(cell)) return cell;
        return row.message ? null : cell[0];
      };
      rows = [...rows].sort((a, b) => {
        const [one, other] = [valueOf(a), valueOf(b)];
        if (one === null || other === null) return (one === null) - (other === null);
        if (typeof one === "string") {
          return sign * one.localeCompare(other, undefined, { numeric: true });
        }
        return sign * (one - other);
      });
    }
    inOrder(at("rows"), rows.map(({ element }) => element));
  }

  function connected(is) {
    if (is === !shown.lost) return;
    shown.lost = !is;
    at("lost").hidden = is;
    page.announce(is ? "Connected again." : "Connection lost, retrying.");
  }

  /* Returns the new state, null if nothing has changed; throws if there is no server. */
  async function ask() {
    const query = new URLSearchParams({ table: shown.table, rows: shown.rows.length });
    const response = await fetch(`/state?${query}`, {
      cache: "no-store",
      headers: shown.tag ? { "If-None-Match": shown.tag } : {},
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status === 304) return null;
    if (!response.ok) throw new Error(`status ${response.status}`);
    return { ...(await response.json()), tag: response.headers.get("ETag") };
  }

  function show(state) {
    showHead(state);
    showWork(state);
    showRows(state);
    shown.tag = state.tag;
  }

  async function turn() {
    let state = null;
    try {
      state = await ask();
      /* The server makes the report for this; then the page becomes it at once. */
      if (state?.state === "finished") await fetch("/", { method: "HEAD", cache: "no-store" });
    } catch {
      connected(false);
      return;
    }
    connected(true);
    if (state) show(state);
    if (state?.state === "finished") location.reload(); /* which keeps the hash */
  }

  async function poll() {
    clearTimeout(timer);
    if (document.hidden || asking) return;
    asking = true;
    try {
      await turn();
    } finally {
      asking = false;
      if (!document.hidden && shown.state !== "finished") timer = setTimeout(poll, EVERY_MS);
    }
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden) poll();
  });
  await poll();
});
