{
  const {runs, statuses, cards, texts, images} = pageData();
  const many = runs.length > 1;

  const badge = ({status, detail}) =>
    el("span", {class: `status ${status}`, title: detail || false}, statuses[status]);

  // The middle one of three parts is what the strict rule read as the answer.
  const marked = (parts) => parts.map((part, i) => i === 1 ? el("mark", {title: "read as the answer"}, part) : part);

  function renderAnswer(answer, card) {
    const {strict, official} = answer;
    const facts = [
      ["official scorer", badge(official)],
      ["answer", strict.extracted === null ? "none found" : el("code", {}, strict.extracted)],
      official.extracted !== strict.extracted && official.extracted !== null &&
        ["answer, officially", el("code", {}, official.extracted)],
      strict.detail && ["grader", strict.detail],
      answer.tokens !== null && ["length", `${answer.tokens.toLocaleString("en")} token${answer.tokens === 1 ? "" : "s"}`],
      answer.finish === "length" && ["end", "cut at the token limit"],
    ].filter(Boolean);
    // A prompt is shown with the problem; here only where another run was asked in other words.
    const prompt = answer.prompt !== card.answers[0].prompt &&
      el("details", {}, el("summary", {}, "Prompt of this run"), el("pre", {}, texts[answer.prompt]));
    return el("section", {class: `answer ${strict.status}`},
      el("h4", {}, many ? `${runs[answer.run].label}: ` : "", badge(strict)),
      el("dl", {}, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
      prompt || "",
      answer.response.join("").trim() ? el("pre", {tabindex: 0}, ...marked(answer.response)) : el("p", {class: "note"}, "The response is empty."));
  }

  function renderCard(card) {
    const pictures = card.images.filter((name) => name in images)
      .map((name) => el("img", {src: images[name], alt: "Image of the problem"}));
    const missing = card.images.length - pictures.length;
    return el("article", {class: "card"},
      el("header", {}, el("b", {}, card.problem), el("span", {}, card.task),
        card.sample || siblings.has(`${card.task} ${card.problem}`) ? el("span", {}, `sample ${card.sample + 1}`) : "",
        ...Object.entries(card.categories).map(([name, values]) =>
          el("span", {class: "chip"}, `${name.replaceAll("_", " ")}: ${values.join(", ")}`))),
      el("div", {class: "question"}, ...pictures,
        el("div", {class: "text"},
          el("pre", {tabindex: 0}, texts[card.answers[0].prompt]),
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
      {value: "official", label: "official scorer differs", test: some((answer) => answer.official.status !== answer.strict.status)},
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
        [texts[prompt], response.join(""), strict.extracted ?? "", official.extracted ?? ""]),
    ].join("\n"),
    render: renderCard,
  });
}
