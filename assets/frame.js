// The frame's own behaviour: theme, zone of times, navigation rail. No data passes here.
(function () {
  "use strict";
  const root = document.documentElement;

  function wanted() {
    return localStorage.getItem("grid-zone") === "local" ? "local" : "utc";
  }

  function pad(number) {
    return String(number).padStart(2, "0");
  }

  function local(moment) {
    const minutes = -moment.getTimezoneOffset();
    const sign = minutes < 0 ? "-" : "+";
    const size = Math.abs(minutes);
    const zone = sign + pad(Math.floor(size / 60)) + ":" + pad(size % 60);
    return `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())} ` +
      `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())} ${zone}`;
  }

  function label(element) {
    const moment = new Date(element.getAttribute("datetime"));
    if (!Number.isNaN(moment.getTime())) element.dataset.local = local(moment);
  }

  function labelAll(node) {
    if (node.nodeType !== Node.ELEMENT_NODE) return;
    if (node.matches("time")) label(node);
    node.querySelectorAll("time").forEach(label);
  }

  function tell() {
    const clock = document.getElementById("frame-zone");
    if (!clock) return;
    const now = new Date();
    clock.textContent = wanted() === "local" ? local(now) : now.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  }

  root.dataset.zone = wanted();
  new MutationObserver(function (changes) {
    for (const change of changes) {
      if (change.type === "attributes") label(change.target);
      change.addedNodes.forEach(labelAll);
    }
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["datetime"] });
  setInterval(tell, 1000);

  const none = () => window.dash_clientside.no_update;
  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    frame: {
      theme: function (clicks) {
        if (clicks) {
          const next = root.dataset.mantineColorScheme === "light" ? "dark" : "light";
          document.cookie = `grid-theme=${next}; path=/; max-age=31536000; samesite=strict`;
          window.location.reload(); // charts are drawn for one scheme; the address holds all state
        }
        return none();
      },
      zone: function (clicks) {
        if (clicks) localStorage.setItem("grid-zone", wanted() === "local" ? "utc" : "local");
        root.dataset.zone = wanted();
        tell();
        return none();
      },
      rail: function (opened, navbar) {
        return Object.assign({}, navbar, { collapsed: { mobile: !opened } });
      },
      closeRail: function () {
        return false;
      },
    },
  });
})();
