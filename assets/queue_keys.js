// Keys of the queue: J and K move, Enter opens, / searches, Escape closes the panel, ? lists them. Off while typing,
// and off for good when the person switches them off in the sheet (WCAG 2.1.4).
(function () {
  "use strict";
  const OFF = "grid-keys-off";
  const GRID = "queue-grid";
  const KEYS = [["J", "next incident"], ["K", "previous incident"], ["Enter", "open the selected incident"],
                ["/", "search"], ["Esc", "close the panel beside the list"], ["?", "this sheet"]];

  function typing(target) {
    return target.closest("input, textarea, select, [contenteditable='true'], dialog") !== null;
  }

  async function grid() {
    if (!document.getElementById(GRID) || !window.dash_ag_grid) return null;
    return window.dash_ag_grid.getApiAsync(GRID);
  }

  async function move(by) {
    const api = await grid();
    if (!api || api.getDisplayedRowCount() === 0) return;
    const chosen = api.getSelectedNodes()[0];
    const at = chosen ? chosen.rowIndex + by : 0;
    const node = api.getDisplayedRowAtIndex(Math.min(Math.max(at, 0), api.getDisplayedRowCount() - 1));
    node.setSelected(true, true);
    api.ensureNodeVisible(node);
  }

  async function open() {
    const api = await grid();
    const chosen = api && api.getSelectedNodes()[0];
    if (!chosen) return;
    // A real navigation: answers of the list that are still on their way must not land on the next page's address.
    window.location.assign("/incident?id=" + encodeURIComponent(chosen.data.id));
  }

  async function close() {
    const api = await grid();
    if (api) api.deselectAll();
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  function sheet() {
    const dialog = document.createElement("dialog");
    dialog.className = "keys";
    dialog.setAttribute("aria-label", "Keys");
    const list = document.createElement("dl");
    for (const [key, deed] of KEYS) list.append(element("dt", key), element("dd", deed));
    const off = element("button", localStorage.getItem(OFF) ? "Switch keys on" : "Switch keys off");
    off.type = "button";
    off.addEventListener("click", () => {
      if (localStorage.getItem(OFF)) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "1");
      dialog.close();
    });
    dialog.append(element("h2", "Keys of the queue"), list, off);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (!document.getElementById(GRID)) return;
    if (event.key === "?") { event.preventDefault(); sheet(); return; }
    if (localStorage.getItem(OFF)) return;
    const search = document.getElementById("queue-words");
    const deeds = {
      j: () => move(1), k: () => move(-1), Enter: open, Escape: close,
      "/": () => { event.preventDefault(); search.focus(); },
    };
    const onLink = event.key === "Enter" && event.target.closest("a, button");
    if (deeds[event.key] && !onLink) deeds[event.key]();
  });
})();
