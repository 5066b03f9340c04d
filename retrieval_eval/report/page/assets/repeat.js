/* How to repeat it: blocks to copy, and the command for any row. */

page.section("repeat", async (root, page) => {
  const { make, choice, state } = page;

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  /* Pages that were opened from a disk may not use the clipboard in every browser. */
  async function copied(element) {
    try {
      await navigator.clipboard.writeText(element.textContent);
      return true;
    } catch { /* The old way, which leaves the text selected for the reader. */ }
    select(element);
    try {
      return document.execCommand("copy");
    } catch {
      return false;
    }
  }

  for (const block of root.querySelectorAll("[data-copy]")) {
    const pre = block.querySelector("pre");
    const label = block.dataset.copy;
    const button = make("button", { type: "button", "aria-label": `Copy: ${label}` }, "Copy");
    let back = 0;
    button.addEventListener("click", async () => {
      const done = await copied(pre);
      button.textContent = done ? "Copied" : "Selected";
      page.announce(done ? `copied: ${label}`
        : `${label} is selected: copy it with the keys of your system`);
      clearTimeout(back);
      back = setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }

  const replays = await page.part("repeat/replays");
  const command = root.querySelector("[data-copy^='Do one row again'] code");
  if (!command || replays.length < 2) return;
  const most = 2000;
  const place = () => {
    const wanted = Number(state.get("repeat.row") ?? 0);
    return replays[wanted] ? wanted : 0;
  };
  const names = replays.slice(0, most).map(([name], number) => [String(number), name]);
  const chooser = choice("row", names, String(place()), (value) =>
    state.set("repeat.row", value === "0" ? null : value));
  const controls = make("div", { class: "controls" }, chooser);
  command.closest("[data-copy]").before(controls);
  if (replays.length > most) {
    controls.after(make("p", { class: "note" },
      `The first ${most} rows; of any other, the beginning of its row_id names it.`));
  }
  const show = () => {
    command.textContent = replays[place()][1];
    chooser.querySelector("select").value = String(place());
  };
  state.watch(["repeat.row"], show);
  show();
});
