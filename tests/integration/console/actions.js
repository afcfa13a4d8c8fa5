// All that can be acted on in what is shown now, and what is wider than the window.
() => {
  const SELECTED = "a[href], button, input, select, textarea, summary, [role=button], [role=row][aria-level]";
  const NUMBER = /\d[\d.,:/]*/g; // it may change while somebody looks
  const textOf = (one) => one.textContent.trim();
  const nameOf = (one) => (one.ariaLabel ?? one.labels?.[0]?.textContent ?? textOf(one)).trim().replace(NUMBER, "#");
  const isScrolled = (one) => one !== null
    && (/auto|scroll/.test(getComputedStyle(one).overflowX) || isScrolled(one.parentElement));
  const isWithinText = (one) => getComputedStyle(one).display === "inline" && textOf(one.parentElement) !== textOf(one);
  const boxOf = (one) => ((one.type === "checkbox" && one.closest("label")) || one).getBoundingClientRect();
  const isAside = (one) => {
    const { left, right } = boxOf(one);
    return (left < 0 || right > innerWidth + 0.5) && !isScrolled(one.parentElement);
  };
  const menu = document.querySelector("header details");
  if (menu !== null) menu.open = true;
  const actions = [...document.querySelectorAll(SELECTED)]
    .filter((one) => one.checkVisibility() && boxOf(one).right > 0) // beyond it: a link for keyboards only
    .map((one) => ({
      name: `${one.tagName} ${nameOf(one)}`, isRow: one.role === "row", isWithinText: isWithinText(one), isAside: isAside(one),
      width: boxOf(one).width, height: boxOf(one).height,
    }));
  const wide = [...document.querySelectorAll("#app *")].filter(isAside).map((one) => one.outerHTML.slice(0, 120)).slice(-2);
  const isWide = document.documentElement.scrollWidth > innerWidth;
  if (menu !== null) menu.open = false;
  return { actions, wide: isWide ? wide : null };
}
