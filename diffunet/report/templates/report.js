"use strict";
(() => {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.tabIndex = 0;
      const sort = () => {
        const falls = head.getAttribute("aria-sort") === "ascending";
        const sign = falls ? -1 : 1;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", falls ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        const value = (row) => {
          const cell = row.cells[column];
          if (cell.dataset.value === undefined) return cell.textContent.trim();
          return cell.dataset.value === "" ? null : Number(cell.dataset.value);
        };
        const compare = (a, b) => {
          const x = value(a), y = value(b);
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (typeof x === "number" ? x - y : x.localeCompare(y, undefined, { numeric: true }));
        };
        table.tBodies[0].append(...rows.sort(compare));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
  }
  for (const viewer of document.querySelectorAll(".viewer")) {
    const slices = viewer.dataset.slices.split(" ");
    for (const slider of viewer.querySelectorAll("input[type=range]")) {
      const name = slider.dataset.set;
      slider.addEventListener("input", () => {
        viewer.style.setProperty(name, slider.value);
        slider.parentElement.querySelector("output").value = name === "--s" ? slices[slider.value] : slider.value;
      });
    }
  }
  const openTarget = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", openTarget);
  for (const link of document.querySelectorAll("a[href^='#case-']")) link.addEventListener("click", () => setTimeout(openTarget));
  openTarget();
  for (const button of document.querySelectorAll("button[data-open]")) {
    button.addEventListener("click", () => {
      for (const each of document.querySelectorAll("details.case")) each.open = button.dataset.open === "all";
    });
  }
})();
