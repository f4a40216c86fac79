"use strict";

/** The data of the page. */
function pageData() {
  return JSON.parse(document.getElementById("data").textContent);
}

/** A new element. Strings among its children become text nodes, so that text is never read as markup. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const large = el("dialog", {class: "large", onclick: () => large.close()}, el("img", {alt: "Image of the problem, large"}));

/** An image of a problem, which opens large when it is clicked. */
function picture(source) {
  const open = () => {
    document.body.append(large);
    large.firstChild.setAttribute("src", source);
    large.showModal();
  };
  return el("button", {type: "button", class: "picture", title: "Show the image large", onclick: open},
    el("img", {src: source, alt: "Image of the problem"}));
}

/**
 * Filters, ranges, order, search and paging over `items`. Only one page of them is in the document. The state is kept in
 * the address, so that a view can be linked.
 *   root      element to fill
 *   noun      the name of the items, in the plural
 *   filters   [{key, label, choices: [{value, label, test(item)}]}]
 *   ranges    [{key, label, value(item)}], each with two fields for the smallest and the largest value
 *   orders    [{value, label, by(item)}], from the largest; items without a value come last
 *   text      item => the text to search
 *   render    item => element
 */
function browse({root, items, noun, filters, ranges = [], orders = [], text, render, pageSize = 10}) {
  let haystacks = null; // the lower-case text of each item; made by the first search
  let found = items;
  let page = 0;

  const selects = filters.map(({key, choices}) => {
    const options = choices.map(({value, label, test}) =>
      el("option", {value}, `${label} (${items.filter(test).length.toLocaleString("en")})`));
    const select = el("select", {name: key}, el("option", {value: ""}, "all"), ...options);
    select.addEventListener("change", () => show(0));
    return select;
  });
  const ends = ranges.map(({key, label}) => ["from", "to"].map((end) => {
    const field = el("input", {type: "number", step: "any", name: `${key}-${end}`, placeholder: end, "aria-label": `${label} ${end}`});
    field.addEventListener("change", () => show(0));
    return field;
  }));
  const order = el("select", {name: "order"}, el("option", {value: ""}, "as recorded"),
    ...orders.map(({value, label}) => el("option", {value}, label)));
  order.addEventListener("change", () => show(0));
  const search = el("input", {type: "search", name: "q", placeholder: "Search text", "aria-label": "Search text"});
  let pending = 0;
  search.addEventListener("input", () => {
    clearTimeout(pending);
    pending = setTimeout(show, 120, 0);
  });
  const controls = [...selects, ...ends.flat(), order, search];
  const count = el("p", {class: "count", role: "status"});
  const list = el("div", {class: "cards"});
  const pagers = [pager(), pager()];
  root.replaceChildren(
    el("form", {class: "controls", role: "search"},
      ...selects.map((select, i) => el("label", {}, el("span", {}, filters[i].label), select)),
      ...ends.map((fields, i) => el("label", {class: "range"}, el("span", {}, ranges[i].label), el("span", {}, ...fields))),
      orders.length ? el("label", {}, el("span", {}, "Order"), order) : "",
      el("label", {class: "search"}, el("span", {}, "Search"), search)),
    el("div", {class: "bar"}, count, pagers[0].element), list, el("div", {class: "bar end"}, pagers[1].element));
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

  function pager() {
    const move = (step) => () => { show(page + step); root.scrollIntoView(); };
    const back = el("button", {type: "button", onclick: move(-1)}, "← Previous");
    const next = el("button", {type: "button", onclick: move(1)}, "Next →");
    const number = el("input", {type: "number", min: 1, "aria-label": "Page"});
    number.addEventListener("change", () => show(number.value - 1));
    const pages = el("span");
    return {back, next, number, pages, element: el("div", {class: "pager"}, back, el("label", {}, "Page ", number, pages), next)};
  }

  function find() {
    const tests = filters.flatMap(({choices}, i) => choices.filter(({value}) => value === selects[i].value));
    const wanted = search.value.trim().toLowerCase();
    if (wanted) haystacks ??= items.map((item) => text(item).toLowerCase());
    const within = ranges.flatMap(({value}, i) => ends[i].map((field, end) => (item) =>
      field.value === "" || (end ? value(item) <= Number(field.value) : value(item) >= Number(field.value))));
    found = items.filter((item, i) => tests.every(({test}) => test(item)) && within.every((test) => test(item)) &&
      (!wanted || haystacks[i].includes(wanted)));
    const by = orders.find(({value}) => value === order.value)?.by;
    if (by) found.sort((a, b) => (by(b) ?? -Infinity) - (by(a) ?? -Infinity));
  }

  function show(wantedPage) {
    find();
    const pages = Math.max(1, Math.ceil(found.length / pageSize));
    page = Math.min(Math.max(0, Math.trunc(wantedPage) || 0), pages - 1);
    const first = page * pageSize;
    const shown = found.slice(first, first + pageSize);
    list.replaceChildren(...shown.map(render));
    const total = items.length.toLocaleString("en");
    count.textContent = found.length
      ? `${(first + 1).toLocaleString("en")}–${(first + shown.length).toLocaleString("en")} of ` +
        `${found.length.toLocaleString("en")} ${noun}` + (found.length < items.length ? ` (${total} in all)` : "")
      : `None of the ${total} ${noun} fits.`;
    for (const {back, next, number, pages: of} of pagers) {
      back.disabled = page === 0;
      next.disabled = page === pages - 1;
      number.value = page + 1;
      number.max = pages;
      of.textContent = ` of ${pages.toLocaleString("en")}`;
    }
    const state = new URLSearchParams();
    for (const control of controls) if (control.value) state.set(control.name, control.value);
    if (page) state.set("page", page + 1);
    if (`${state}` !== location.hash.slice(1)) history.replaceState(null, "", `#${state}`);
  }

  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const control of controls) control.value = state.get(control.name) ?? "";
    for (const select of [...selects, order]) if (select.selectedIndex < 0) select.value = "";
    show(state.get("page") - 1);
  }
  window.addEventListener("hashchange", restore);
  restore();
}
