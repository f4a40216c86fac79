{
  const {runs, statuses, cards, prompts, official: judged, images} = pageData();
  const many = runs.length > 1;

  /** A prompt as its messages, with the pictures in place of the placeholders. */
  function messages(prompt, pictures) {
    const left = [...pictures];
    const place = (part) => part === null ? left.shift() ?? el("span", {class: "note"}, "[image]") : part;
    return el("div", {class: "messages", tabindex: 0}, ...prompt.map(({role, parts}) => el("div", {class: `message ${role}`},
      role ? el("span", {class: "role"}, role) : "", el("div", {class: "said"}, ...parts.map(place)))));
  }
  const said = (prompt) => prompt.flatMap(({parts}) => parts).filter((part) => part !== null).join("");

  const badge = ({status, detail}) =>
    el("span", {class: `status ${status}`, title: detail || false}, statuses[status]);

  // The middle one of three parts is what the strict rule read as the answer.
  const marked = (parts) => parts.map((part, i) => i === 1 ? el("mark", {title: "read as the answer"}, part) : part);

  function renderAnswer(answer, card) {
    const {strict, official} = answer;
    const facts = [
      judged.includes(card.task) && ["official scorer", badge(official)],
      ["answer", strict.extracted === null ? "none found" : el("code", {}, strict.extracted)],
      official.extracted !== strict.extracted && official.extracted !== null &&
        ["answer, officially", el("code", {}, official.extracted)],
      strict.detail && ["grader", strict.detail],
      answer.tokens !== null && ["length", `${answer.tokens.toLocaleString("en")} token${answer.tokens === 1 ? "" : "s"}`],
      answer.finish === "length" && ["end", "cut at the token limit"],
    ].filter(Boolean);
    // A prompt is shown with the problem; here only where another run was asked in other words.
    const prompt = answer.prompt !== card.answers[0].prompt &&
      el("details", {}, el("summary", {}, "Prompt of this run"), messages(prompts[answer.prompt], []));
    return el("section", {class: `answer ${strict.status}`},
      el("h4", {}, many ? `${runs[answer.run].label}: ` : "", badge(strict)),
      el("dl", {}, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      prompt || "",
      answer.response.join("").trim() ? el("pre", {tabindex: 0}, ...marked(answer.response)) : el("p", {class: "note"}, "The response is empty."));
  }

  function renderCard(card) {
    const prompt = prompts[card.answers[0].prompt];
    const missing = card.images.filter((name) => !(name in images)).length;
    const pictures = card.images.map((name) => name in images ? picture(images[name]) : el("span", {class: "note"}, "[image not shown]"));
    const inside = prompt.some(({parts}) => parts.includes(null));
    return el("article", {class: "card"},
      el("header", {}, el("b", {}, card.problem), el("span", {}, card.task),
        card.sample || siblings.has(`${card.task} ${card.problem}`) ? el("span", {}, `sample ${card.sample + 1}`) : "",
        ...Object.entries(card.categories).map(([name, values]) =>
          el("span", {class: "chip"}, `${name.replaceAll("_", " ")}: ${values.join(", ")}`))),
      el("div", {class: "question"}, ...(inside ? [] : pictures),
        el("div", {class: "text"},
          messages(prompt, inside ? pictures : []),
          missing ? el("p", {class: "note"}, `${missing} image${missing > 1 ? "s" : ""} not shown`) : "",
          el("dl", {}, el("dt", {}, "gold"), el("dd", {}, el("code", {}, card.gold.join(" or ")))))),
      el("div", {class: "answers"}, ...card.answers.map((answer) => renderAnswer(answer, card))));
  }

  const siblings = new Set(cards.filter((card) => card.sample).map((card) => `${card.task} ${card.problem}`));
  const some = (test) => (card) => card.answers.some(test);
  const disagree = ({answers}) => answers.some((answer) => answer.strict.status !== answers[0].strict.status);
  const statusChoices = Object.entries(statuses).map(([status, label]) =>
    ({value: status, label, test: some((answer) => answer.strict.status === status)}));
  const filters = [
    {key: "task", label: "Task", choices: [...new Set(cards.map((card) => card.task))].map((task) =>
      ({value: task, label: task, test: (card) => card.task === task}))},
    {key: "outcome", label: "Outcome", choices: [
      ...statusChoices,
      {value: "official", label: "official scorer differs", test: (card) => judged.includes(card.task) && some((answer) => answer.official.status !== answer.strict.status)(card)},
      {value: "cut", label: "cut at the token limit", test: some((answer) => answer.finish === "length")},
    ].filter(({test}) => cards.some(test))},
    many && {key: "runs", label: "Runs", choices: [
      {value: "disagree", label: "outcomes differ", test: disagree},
      ...runs.flatMap(({label}, run) => ["correct", "wrong", "no_answer"].map((status) => ({
        value: `${run}-${status}`, label: `${label}: ${statuses[status]}`,
        test: some((answer) => answer.run === run && answer.strict.status === status)}))),
    ]},
  ].filter(Boolean);

  browse({
    root: document.getElementById("browser"),
    items: cards,
    noun: many ? (siblings.size ? "samples of problems" : "problems") : "responses",
    filters,
    text: (card) => [
      card.problem, ...card.gold, ...Object.values(card.categories).flat(),
      ...card.answers.flatMap(({prompt, response, strict, official}) =>
        [said(prompts[prompt]), response.join(""), strict.extracted ?? "", official.extracted ?? ""]),
    ].join("\n"),
    render: renderCard,
  });
}
