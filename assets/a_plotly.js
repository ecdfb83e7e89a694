// Keeps plotly inside the house: no "Share chart" button, no map outlines from a content network.
(function () {
  "use strict";
  const none = { type: "Topology", objects: {}, arcs: [] };
  const topojson = {};
  for (const scope of ["world", "usa", "europe", "asia", "africa", "north-america", "south-america", "oceania"]) {
    for (const resolution of ["50m", "110m"]) topojson[scope + "_" + resolution] = none;
  }
  window.PlotlyGeoAssets = { topojson: topojson };
  window.Plotly.setPlotConfig({ showSendToCloud: false, displaylogo: false, topojsonURL: "/assets/topojson/" });
})();
