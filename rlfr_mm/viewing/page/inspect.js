{
  const {runs, cards, images, views} = pageData();
  const LEVELS = 5;
  const byKey = Object.fromEntries(views.map((view) => [view.key, view]));
  let view = views[0];

  const short = (value) => Number(value.toPrecision(3)).toString().replace("-", "−");
  const signed = (value) => (value > 0 ? "+" : "") + short(value);
  /** The text with visible symbols for white space and control characters. */
  const visible = (text) => text.replaceAll(" ", "␣").replaceAll("\n", "↵")
    .replace(/[\u0000-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)));
  /** A figure of one token; undefined if its run did not record it. */
  const valueOf = (rollout, key, i) => key === "advantage" ? rollout.advantage + rollout.shaping[i] : rollout[key]?.[i];

  /** The CSS class of a value's colour: l5 … l1, none, h1 … h5 on a diverging scale, else none, m1 … m5 from the low end. */
  function colour({low, high, diverging}, value) {
    if (value === undefined) return "";
    const share = diverging ? value / high : (value - low) / ((high - low) || 1);
    const level = Math.round(LEVELS * Math.min(1, Math.max(diverging ? -1 : 0, share)));
    return level === 0 ? "" : `${diverging ? (level > 0 ? "h" : "l") : "m"}${Math.abs(level)}`;
  }
  const tokenClass = (element) => `tok ${colour(view, valueOf(element.rollout, view.key, element.index))}`;

  function renderRollout(rollout, i) {
    const status = rollout.correct === null ? "error" : rollout.correct ? "correct" : "wrong";
    const tokens = rollout.tokens.map((text, index) => {
      // Nobody can point at a line break, so a symbol is shown before it.
      const shown = text.replaceAll("\n", "↵\n").replace(/[\u0000-\u0009\u000b-\u001f]/g, visible);
      const token = el("span", {}, shown);
      Object.assign(token, {rollout, index});
      token.className = tokenClass(token);
      return token;
    });
    const rewards = Object.entries(rollout.rewards).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value !== null ? short(value) : name === "accuracy" ? "not graded" : "none")));
    return el("section", {class: `answer ${status}`},
      el("h4", {}, `${i + 1} `, el("span", {class: `status ${status}`}, {correct: "✓ correct", wrong: "✗ wrong", error: "not graded"}[status])),
      el("dl", {}, ...rewards, el("div", {}, el("dt", {}, "advantage"), el("dd", {}, signed(rollout.advantage)))),
      tokens.length ? el("div", {class: "response", tabindex: 0}, ...tokens) : el("p", {class: "note"}, "The response is empty."));
  }

  const right = ({rollouts}) => rollouts.filter(({correct}) => correct).length;
  const graded = ({rollouts}) => rollouts.filter(({correct}) => correct !== null).length;

  function renderCard(card) {
    const pictures = card.images.map((name) => name in images ? picture(images[name]) : el("span", {class: "note"}, "[image not shown]"));
    const missing = card.images.filter((name) => !(name in images)).length;
    // The images that the problem begins with stand beside it, all others in their places; without places, all beside it.
    const text = card.prompt.findIndex((part) => part !== null);
    const before = pictures.splice(0, card.prompt.includes(null) ? Math.max(0, text) : pictures.length);
    const question = card.prompt.slice(Math.max(0, text)).map((part) => part ?? pictures.shift());
    return el("article", {class: "card"},
      el("header", {}, runs.length > 1 ? el("span", {class: `run ${runs[card.run].colour}`}, el("span", {class: "swatch"}), runs[card.run].label) : "",
        el("b", {}, `Step ${card.step}`), el("span", {}, card.problem),
        el("span", {class: "chip"}, `${right(card)} of ${card.rollouts.length} correct`)),
      el("div", {class: "question"}, ...before,
        el("div", {class: "text"}, el("pre", {tabindex: 0}, ...question),
          el("dl", {}, el("dt", {}, "gold"), el("dd", {}, el("code", {}, card.gold))),
          missing ? el("p", {class: "note"}, `${missing} image${missing > 1 ? "s" : ""} not shown`) : "")),
      el("div", {class: "answers group"}, ...card.rollouts.map(renderRollout)));
  }

  // ---- the toolbar: what the colours mean, and the figures of the chosen token

  const select = el("select", {"aria-label": "Colour tokens by"}, ...views.map(({key, label}) => el("option", {value: key}, label)));
  const scale = el("div", {class: "scale"});
  const readout = el("p", {class: "readout", role: "status"});
  const root = document.getElementById("browser");
  let chosen = null; // the token in the readout
  document.getElementById("toolbar").append(el("label", {}, "Colour tokens by ", select), scale, readout);

  function recolour() {
    view = byKey[select.value];
    const {low, high, diverging} = view;
    const steps = Array.from({length: diverging ? 2 * LEVELS + 1 : LEVELS + 1}, (_, i) =>
      el("span", {class: colour(view, diverging ? high * (i - LEVELS) / LEVELS : low + (high - low) * i / LEVELS)}));
    scale.replaceChildren(el("span", {}, short(low)), el("span", {class: "steps"}, ...steps), el("span", {}, short(high)));
    for (const element of root.querySelectorAll(".tok")) element.className = tokenClass(element);
    chosen = null;
    readout.textContent = "Point at a token to read its figures.";
  }
  select.addEventListener("change", recolour);

  function tell(event) {
    const element = event.target.closest(".tok");
    if (!element || element === chosen) return;
    chosen?.classList.remove("chosen");
    chosen = element;
    chosen.classList.add("chosen");
    const {rollout, index} = element;
    const figures = views.filter(({key}) => valueOf(rollout, key, index) !== undefined)
      .map(({key, label}) => `${label.replace(/ \(.*/, "")} ${short(valueOf(rollout, key, index))}`);
    readout.replaceChildren(el("code", {}, visible(rollout.tokens[index])),
      ` token ${index + 1} of ${rollout.tokens.length} · ${figures.join(" · ")}`);
  }
  root.addEventListener("pointerover", tell);
  root.addEventListener("click", tell);

  // ---- the groups; a page holds few enough to stay fast

  const mean = (values) => values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined;
  /** The mean over the tokens of a group of what its run recorded. */
  const meanOf = (key) => (card) => mean(card.rollouts.flatMap((rollout) => rollout[key] ?? []));
  const share = (card) => graded(card) ? right(card) / graded(card) : undefined;
  const means = [
    {value: "deviation", label: "Mean deviation", by: meanOf("deviation")},
    {value: "flow_reward", label: "Mean flow reward", by: meanOf("flow_reward")},
  ].filter(({by}) => by(cards[0]) !== undefined);
  const places = new Map([...new Set(cards.map((card) => card.problem))].map((problem, place) => [problem, place]));
  const tokens = cards.reduce((sum, {rollouts}) => sum + rollouts.reduce((total, rollout) => total + rollout.tokens.length, 0), 0);
  browse({
    root,
    items: cards,
    noun: "groups",
    pageSize: Math.min(8, Math.max(1, Math.floor(12000 * cards.length / (tokens || 1)))),
    filters: [
      runs.length > 1 && {key: "run", label: "Run", choices: runs.map(({label}, run) => ({value: `${run}`, label, test: (card) => card.run === run}))},
      {key: "outcome", label: "Outcomes of the group", choices: [
        {value: "mixed", label: "correct and wrong", test: (card) => right(card) > 0 && right(card) < graded(card)},
        {value: "correct", label: "all correct", test: (card) => right(card) === card.rollouts.length},
        {value: "wrong", label: "all wrong", test: (card) => right(card) === 0 && graded(card) === card.rollouts.length},
        {value: "ungraded", label: "with ungraded ones", test: (card) => graded(card) < card.rollouts.length},
      ].filter(({test}) => cards.some(test))},
    ].filter(Boolean),
    ranges: [
      {key: "step", label: "Steps", value: (card) => card.step},
      {key: "share", label: "Correct, as a fraction", value: share},
      ...means.map(({value, label, by}) => ({key: value, label, value: by})),
    ],
    orders: [
      {value: "problem", label: "by problem", by: (card) => -places.get(card.problem)},
      {value: "latest", label: "latest step first", by: (card) => card.step},
      {value: "right", label: "most correct first", by: share},
      {value: "wrong", label: "most wrong first", by: (card) => share(card) === undefined ? undefined : -share(card)},
      {value: "longest", label: "longest first", by: (card) => mean(card.rollouts.map(({tokens}) => tokens.length))},
      ...means.map(({value, label, by}) => ({value, label: `${label.toLowerCase()}, largest first`, by})),
    ],
    text: (card) => [card.problem, card.prompt.join(""), card.gold, ...card.rollouts.map((rollout) => rollout.tokens.join(""))].join("\n"),
    render: renderCard,
  });
  recolour();
}
