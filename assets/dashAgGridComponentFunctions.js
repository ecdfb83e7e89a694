// Cells of the grids: marks with shape and word, times in the chosen zone, links inside the product.
(function () {
  "use strict";
  const shapes = { critical: "diamond-filled", high: "triangle-filled", medium: "circle-filled", low: "square-filled" };
  const functions = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const make = () => window.React.createElement;

  functions.GridMark = function (props) {
    const word = String(props.value ?? "");
    if (!word) return null;
    if (props.kind === "severity") {
      const style = { "--icon": `url(/assets/icons/${shapes[word] || "circle-filled"}.svg)` };
      const shape = make()("span", { className: "icon", style: style, "aria-hidden": true });
      return make()("span", { className: "badge tone-" + word }, shape, word);
    }
    const dot = make()("span", { className: "dot" });
    return make()("span", { className: "chip status-" + word }, dot, word.replaceAll("-", " "));
  };

  functions.GridWaits = function (props) {
    if (!props.value) return null;
    const told = props.value + (props.value === 1 ? " playbook waits" : " playbooks wait") + " for a person";
    const sign = make()("span", { className: "icon", style: { "--icon": "url(/assets/icons/list-check.svg)" }, "aria-hidden": true });
    return make()("span", { className: "badge outlined tone-accent", title: told, "aria-label": told, role: "img" }, sign, String(props.value));
  };

  functions.GridTime = function (props) {
    if (!props.value) return null;
    const text = String(props.value).slice(0, 19).replace("T", " ") + " UTC";
    return make()("time", { className: "time", dateTime: props.value }, make()("span", { className: "utc" }, text));
  };

  functions.GridLink = function (props) {
    const href = props.data && props.data[props.colDef.field + "_href"];
    if (!href) return props.value ?? null;
    const follow = function (event) {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      window.history.pushState({}, "", href);
      window.dispatchEvent(new CustomEvent("_dashprivate_pushstate"));
      window.scrollTo(0, 0);
    };
    return make()("a", { href: href, className: "link", onClick: follow }, props.value);
  };
})();
