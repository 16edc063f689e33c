// Sets the theme before anything is drawn: what was chosen here, else what the system says.
(() => {
  const chosen = localStorage.getItem("memkeep-theme");
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
