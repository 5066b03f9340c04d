/* Figures of a data set and a measure: against a cost, against neighbour recall, by parameter. */

page.section("tradeoffs", async (root, page) => {
  const { make, state, choice } = page;
  const list = await page.part("tradeoffs/list");
  const view = root.querySelector("[data-view]");
  const controls = make("div", { class: "controls" });
  const panels = [
    ["cost", "Quality against cost", "cost", "cost-latency_p95_s"],
    ["recall", "Where neighbour recall stops mattering", null, null],
    ["curve", "What parameters do", "curve", null],
  ].map(([kind, title, label, usual]) => ({ kind, title, label, usual,
    drawing: make("div", { class: "figure" }), controls: make("div", { class: "controls" }),
    heading: make("h3", {}, title) }));

  function current() {
    const places = [...new Map(list.map((one) => [String(one.place), one.where]))];
    const place = state.get("tradeoffs.place") ?? places[0][0];
    const here = list.filter((one) => String(one.place) === place);
    const mine = here.length ? here : list.filter((one) => String(one.place) === places[0][0]);
    const measure = state.get("tradeoffs.measure");
    return { places, here: mine, chosen: mine.find((one) => one.measure === measure) ?? mine[0] };
  }

  async function draw() {
    const { places, here, chosen } = current();
    controls.replaceChildren(
      ...(places.length > 1 ? [choice("data set", places, String(chosen.place),
        (value) => state.set("tradeoffs.place", value))] : []),
      choice("quality", here.map((one) => one.measure), chosen.measure,
        (value) => state.set("tradeoffs.measure", value)),
    );
    const specs = await page.part(`tradeoffs/${chosen.part}`);
    for (const panel of panels) {
      const mine = chosen.figures.filter((one) => one.kind === panel.kind);
      const wanted = state.get(`tradeoffs.${panel.kind}`) ?? panel.usual;
      const figure = mine.find((one) => one.name === wanted) ?? mine[0];
      panel.heading.hidden = panel.controls.hidden = panel.drawing.hidden = !figure;
      if (!figure) continue;
      panel.controls.replaceChildren(...(panel.label && mine.length > 1 ? [choice(panel.label,
        mine.map((one) => [one.name, one.words]), figure.name,
        (value) => state.set(`tradeoffs.${panel.kind}`, value))] : []));
      const spec = specs[figure.name];
      const label = [spec.title.text, spec.title.subtitle].flat().join(" ");
      await page.figure(panel.drawing, spec, label);
    }
  }

  const [cost, recall, curve] = panels.map((one) =>
    make("div", {}, one.heading, one.controls, one.drawing));
  view.append(controls, make("div", { class: "pair" }, cost, recall), curve);
  state.watch(["tradeoffs.place", "tradeoffs.measure", ...panels.map((one) =>
    `tradeoffs.${one.kind}`)], draw);
  await draw();
});
