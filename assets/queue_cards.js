// The queue of a narrow screen: one card per row of the grid, made in the browser from the rows that are there anyway.
(function () {
  "use strict";
  const SHAPES = { critical: "diamond-filled", high: "triangle-filled", medium: "circle-filled", low: "square-filled" };
  const MARKS = { simulated: "flask", replayed: "player-play", exercise: "target" };
  const html = (type, className, children, more) => ({
    namespace: "dash_html_components", type: type, props: Object.assign({ className: className, children: children }, more),
  });
  const icon = (name) => html("Span", "icon", null, { style: { "--icon": `url(/assets/icons/${name}.svg)` }, "aria-hidden": "true" });

  function card(row) {
    const marks = [
      html("Span", "badge tone-" + row.severity, [icon(SHAPES[row.severity]), row.severity]),
      html("Span", "chip status-" + row.status, [html("Span", "dot"), row.status.replaceAll("-", " ")]),
    ];
    if (row.origin) marks.push(html("Span", "badge outlined tone-medium", [icon(MARKS[row.origin]), row.origin]));
    if (row.waits) marks.push(html("Span", "badge outlined tone-accent", [icon("list-check"), row.waits === 1 ? "playbook waits" : row.waits + " playbooks wait"]));
    const body = [
      html("Div", "case-marks", marks),
      html("Strong", "", row.title),
      html("Span", "muted small", `${row.case} · ${row.assignee} · ${row.age}`),
    ];
    const href = "/incident?id=" + encodeURIComponent(row.id);
    return { namespace: "dash_core_components", type: "Link", props: { href: href, className: "card", children: body } };
  }

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.desk = Object.assign(window.dash_clientside.desk || {}, {
    cards: (rows) => (rows || []).map(card),
  });
})();
