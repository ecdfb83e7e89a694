// One event stream for all tabs of this browser (live-worker.js); it carries versions, never data.
// Without it the versions are asked for every few seconds. The badge tells since when they are stale.
(function () {
  "use strict";
  const STALE_MS = 20000;
  const POLL_MS = 5000;
  const known = {};
  let heard = Date.now();
  let untold = null; // versions that the page is not ready for yet, the newest of each topic
  let streamed = 0; // messages of the stream: a poll that one overtook is old

  function ready() {
    return window.dash_clientside && window.dash_clientside.set_props && document.getElementById("frame-content");
  }

  function take(versions) {
    heard = Date.now();
    const waiting = untold !== null;
    untold = Object.assign(untold || {}, versions);
    if (!waiting) deliver();
  }

  function deliver() {
    if (!ready()) return void setTimeout(deliver, 250);
    const versions = untold;
    untold = null;
    for (const [topic, version] of Object.entries(versions)) {
      if (known[topic] === version) continue;
      known[topic] = version;
      window.dash_clientside.set_props("tick-" + topic, { data: version });
    }
  }

  function signIn() {
    const here = window.location.pathname + window.location.search;
    window.location.assign("/sign-in?next=" + encodeURIComponent(here));
  }

  async function poll() {
    const before = streamed;
    try {
      const answer = await fetch("/live/versions", { headers: { Accept: "application/json" } });
      if (answer.status === 401) return signIn();
      if (!answer.ok) return;
      const versions = await answer.json();
      if (streamed === before) take(versions);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // no network: the badge says so
    }
  }

  function badge() {
    const element = document.getElementById("frame-stale");
    if (!element) return;
    const stale = Date.now() - heard > STALE_MS;
    const since = new Date(heard).toISOString().slice(11, 19) + " UTC";
    const text = stale ? "stale since " + since : "";
    if (element.textContent !== text) element.textContent = text;
  }

  let streaming = false;
  if (window.SharedWorker) {
    const worker = new SharedWorker("/assets/live-worker.js", { name: "grid-live" });
    worker.port.onmessage = function (message) {
      const said = message.data;
      streaming = said.kind !== "down";
      if (said.kind === "versions") {
        streamed += 1;
        take(said.versions);
      }
      if (said.kind === "beat") heard = Date.now();
      if (said.kind === "signed-out") signIn();
    };
    worker.port.start();
  }
  setInterval(function () {
    badge();
    if (!streaming && Date.now() - heard > POLL_MS) poll();
  }, 1000);
  setTimeout(() => !streaming && poll(), 1500);
})();
