// Shared by all tabs: holds the one event stream and hands its versions on.
"use strict";
const ports = new Set();
const newest = {};
let source = null;

function tell(message) {
  for (const port of ports) port.postMessage(message);
}

function open() {
  if (source && source.readyState !== EventSource.CLOSED) return;
  source = new EventSource("/live");
  source.addEventListener("versions", function (event) {
    const versions = JSON.parse(event.data);
    Object.assign(newest, versions);
    tell({ kind: "versions", versions: versions });
  });
  source.addEventListener("beat", () => tell({ kind: "beat" }));
  source.addEventListener("signed-out", function () {
    source.close();
    tell({ kind: "signed-out" });
  });
  source.onerror = () => tell({ kind: "down" });
}

setInterval(() => ports.size && open(), 5000);
self.onconnect = function (event) {
  const port = event.ports[0];
  ports.add(port);
  port.start();
  open();
  if (Object.keys(newest).length) port.postMessage({ kind: "versions", versions: newest });
};
