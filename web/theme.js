// Before the first paint: the theme that was chosen, else the system's.
(() => {
  let chosen = '';
  try {
    chosen = localStorage.getItem('theme') || '';
  } catch { /* no storage: the system's */ }
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
})();
