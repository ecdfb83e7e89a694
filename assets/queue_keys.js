// Keys of the queue: J and K move, Enter opens, / searches, Escape closes the panel, ? lists them. Off while typing,
// and off for good when the person switches them off in the sheet (WCAG 2.1.4).
(function () {
  "use strict";
  const OFF = "grid-keys-off";
  const GRID = "queue-grid";
  const WAIT_MS = 5000, STEP_MS = 20;
  const KEYS = [["J", "next incident"], ["K", "previous incident"], ["Enter", "open the selected incident"],
                ["/", "search"], ["Esc", "close the panel beside the list"], ["?", "this sheet"]];

  function typing(target) {
    return target.closest("input, textarea, select, [contenteditable='true'], dialog") !== null;
  }

  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const here = () => window.location.pathname === "/incidents";

  function grid() {
    if (!document.getElementById(GRID) || !window.dash_ag_grid) return null;
    try {
      const api = window.dash_ag_grid.getApi(GRID);
      return api && !api.isDestroyed() ? api : null;
    } catch (error) {
      if (!String(error).includes("not initialized yet")) throw error;
      return null; // its place is there, the grid itself comes in a moment
    }
  }

  // A key may come before the list does: it waits for the rows, it is not lost. A list that is empty stays empty.
  async function listed() {
    for (let waited_ms = 0; here() && waited_ms < WAIT_MS; waited_ms += STEP_MS) {
      const api = grid();
      if (api && api.getDisplayedRowCount() > 0) return api;
      if (api && (api.getGridOption("rowData") || [0]).length === 0) return null;
      await sleep(STEP_MS);
    }
    return null;
  }

  const chosen = (api) => api.getSelectedNodes()[0];

  // The page's own property, not the grid's selection: rows that arrive just now bring the property's selection back.
  async function select(api, rows) {
    window.dash_clientside.set_props(GRID, { selectedRows: rows });
    const wanted = rows.length ? rows[0].id : undefined;
    for (let waited_ms = 0; grid() && waited_ms < WAIT_MS; waited_ms += STEP_MS) {
      if ((chosen(api) || {}).id === wanted) return;
      await sleep(STEP_MS);
    }
  }

  async function move(by) {
    const api = await listed();
    if (!api) return;
    const before = chosen(api);
    const at = before ? before.rowIndex + by : 0;
    const node = api.getDisplayedRowAtIndex(Math.min(Math.max(at, 0), api.getDisplayedRowCount() - 1));
    api.ensureNodeVisible(node);
    await select(api, [node.data]);
  }

  async function open() {
    const api = await listed();
    if (!api || !chosen(api)) return;
    // A real navigation: answers of the list that are still on their way must not land on the next page's address.
    window.location.assign("/incident?id=" + encodeURIComponent(chosen(api).data.id));
  }

  async function close() {
    const api = grid();
    if (api) await select(api, []);
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

  let turn = Promise.resolve(); // one key after the other: the second J goes on from where the first one led
  function after(deed) {
    turn = turn.then(deed).catch((error) => console.error(error));
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (!here()) return;
    if (event.key === "?") { event.preventDefault(); sheet(); return; }
    if (localStorage.getItem(OFF)) return;
    const search = document.getElementById("queue-words");
    const deeds = {
      j: () => after(() => move(1)), k: () => after(() => move(-1)), Enter: () => after(open), Escape: () => after(close),
      "/": () => { event.preventDefault(); if (search) search.focus(); },
    };
    const onLink = event.key === "Enter" && event.target.closest("a, button");
    if (deeds[event.key] && !onLink) deeds[event.key]();
  });
})();
