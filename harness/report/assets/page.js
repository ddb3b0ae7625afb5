// What every page does: filters of long lists, copying a command, links into folded parts, and printing all of it.
// Without it everything is shown, and nothing is missing.
"use strict";
// Shows a part of the page, opens what it is folded into, and has the keyboard go on from there.
const goTo = (target) => {
  for (let part = target; part; part = part.parentElement) {
    if (part.tagName === "DETAILS") part.open = true;
  }
  target.scrollIntoView();
  const place = target.tagName === "DETAILS" ? target.querySelector("summary") : target;
  if (!place.matches("a, button, summary, [tabindex]")) place.tabIndex = -1;
  place.focus({ preventScroll: true });
};
(() => {
  const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

  // A form shows those items of its list that hold every word and suit every menu, and says how many they are.
  for (const form of document.querySelectorAll("form.filter")) {
    const items = [...document.getElementById(form.dataset.for).querySelectorAll("[data-item]")];
    const texts = items.map((item) => item.textContent.toLowerCase());
    const said = form.querySelector(".count");
    const suits = (item, menu) => {
      if (!menu.value) return true;
      const value = item.dataset[menu.name] || "";
      if ("atLeast" in menu.dataset) return Number(value) >= Number(menu.value);
      return value.split(" ").includes(menu.value);
    };
    const choose = () => {
      const wanted = words(form.elements.q.value);
      const menus = [...form.querySelectorAll("select")];
      let shown = 0;
      items.forEach((item, index) => {
        const fits = wanted.every((word) => texts[index].includes(word)) && menus.every((menu) => suits(item, menu));
        item.hidden = !fits;
        shown += fits;
      });
      said.textContent = `${shown} of ${items.length} ${said.dataset.what} shown`;
    };
    form.addEventListener("input", choose);
    form.addEventListener("change", choose);
    form.addEventListener("reset", () => setTimeout(choose));
    form.addEventListener("submit", (event) => event.preventDefault());
    form.hidden = false;
    choose();
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    const title = button.textContent;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        // Not allowed here: select it, so that the keyboard's copy does the rest.
        getSelection().selectAllChildren(source);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = title; }, 2000);
    });
    button.hidden = false;
  }

  // A link into a folded part opens it, and is where the keyboard goes on.
  const reveal = () => {
    const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
    if (target) goTo(target);
  };
  addEventListener("hashchange", reveal);
  // A second click on a link changes no hash.
  document.addEventListener("click", (event) => { if (event.target.closest("a[href^='#']")) setTimeout(reveal); });
  reveal();

  // What scrolls is reached by the keyboard; where everything has room that would be one stop more, for nothing.
  const scrolls = (part) => part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight;
  const sizes = new ResizeObserver((changed) => {
    for (const { target } of changed) {
      if (scrolls(target)) target.tabIndex = 0;
      else if (target !== document.activeElement) target.removeAttribute("tabindex");
    }
  });
  for (const part of document.querySelectorAll(".scroll, pre")) sizes.observe(part);

  // Paper folds nothing.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
})();
