// What the checker asks of a cell's output: which controls it has, and whether it changed.
// Installed in the page as `window.explorerProbe`; every function takes the cell's element.
(() => {
  const CONTROLS = [
    "input:not([type=hidden]):not([type=file])", "select", "textarea", "button", "summary",
    "[role=slider]", "[role=button]", "[role=tab]", "[role=switch]", "[role=checkbox]", "[role=radio]",
    ".slider-rail-touch-rect", ".updatemenu-button",
  ].join(",");
  // State that a browser or a theme keeps on a control, and that is no effect of moving it.
  const STATE = new Set(["class", "style", "tabindex", "aria-pressed", "aria-selected", "aria-checked", "aria-valuenow",
    "aria-valuetext", "open", "checked", "value", "data-value"]);
  const numbers = new WeakMap();
  let last = 0;

  function* walk(root) {
    for (const node of root.children) {
      yield node;
      yield* walk(node);
      if (node.shadowRoot) yield* walk(node.shadowRoot);
    }
  }

  const outputs = (cell) => [...cell.querySelectorAll(".jp-OutputArea-output")];
  const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";
  const text = (node) => (node ? node.textContent.trim().replace(/\s+/g, " ") : "");

  const isNumber = (part) => part.nodeType === Node.ELEMENT_NODE && text(part) !== "" && !Number.isNaN(Number(text(part)));

  function labelOf(node) {
    const by = (node.getAttribute("aria-labelledby") ?? "").split(/\s+/).filter(Boolean);
    const named = by.map((id) => text(node.getRootNode().getElementById?.(id))).join(" ");
    const outer = [...(node.labels ?? [])].map((label) => [...label.childNodes]
      .filter((part) => part !== node && !part.matches?.("output, select, input") && !isNumber(part)).map(text)
      .filter(Boolean).join(" ")).join(" ").trim();
    const own = node.matches("button, summary, [role]") ? text(node) : "";
    const widget = text(node.closest(".jupyter-widgets")?.querySelector(".widget-label"));
    const plotly = text(node.closest(".slider-group, .updatemenu-container")?.querySelector("text"));
    return (node.getAttribute("aria-label") || named || outer || own || node.title || widget || plotly || "").slice(0, 80);
  }

  function kindOf(node) {
    if (node.matches(".slider-rail-touch-rect")) return "plotly slider";
    if (node.matches(".updatemenu-button")) return "button";
    const role = node.getAttribute("role");
    if (node.tagName === "INPUT") return ["button", "submit", "reset"].includes(node.type) ? "button" : node.type;
    if (["SELECT", "TEXTAREA"].includes(node.tagName)) return node.tagName.toLowerCase();
    return { slider: "role slider", switch: "checkbox", checkbox: "checkbox", radio: "radio" }[role] ?? "button";
  }

  function elements(cell) {
    const found = outputs(cell).flatMap((area) => [...walk(area)]).filter((node) => node.matches(CONTROLS) && shown(node));
    return found.filter((node) => !node.closest(".modebar-container"));
  }

  function find(cell) {
    const seen = {};
    return elements(cell).map((node) => {
      if (!numbers.has(node)) numbers.set(node, ++last);
      const control = { number: numbers.get(node), kind: kindOf(node), label: labelOf(node) };
      const key = `${control.kind} ${control.label}`;
      seen[key] = (seen[key] ?? 0) + 1;
      return { ...control, nth: seen[key] };
    });
  }

  // The element of a control that `find` named, or its successor where the widget has drawn itself anew.
  function locate(cell, { number, kind, label, nth }) {
    const all = elements(cell);
    const same = all.find((node) => numbers.get(node) === number);
    return same ?? all.filter((node) => kindOf(node) === kind && labelOf(node) === label)[nth - 1] ?? null;
  }

  // What shows the control itself, and so proves nothing when it changes: label, <output for>, a readout beside it.
  function own(cell, node) {
    const parts = [node, node.closest("label"), ...(node.labels ?? []),
      node.closest(".widget-slider, .slider-group, .updatemenu-container")];
    if (node.id) parts.push(...outputs(cell).flatMap((area) => [...area.querySelectorAll(`output[for~="${node.id}"]`)]));
    const beside = node.closest("label")?.parentElement ?? node.parentElement;
    if (beside && "value" in node && node.value !== "" && elements(cell).filter((other) => beside.contains(other)).length === 1) {
      parts.push(...[...beside.querySelectorAll("span, b, strong, code, output, em")].filter(
        (leaf) => !leaf.children.length && (leaf.tagName === "OUTPUT" || Number(text(leaf)) === Number(node.value))));
    }
    return new Set(parts.filter(Boolean));
  }

  function written(node, skip) {
    if (node.nodeType === Node.TEXT_NODE) return node.data;
    if (node.nodeType !== Node.ELEMENT_NODE || skip.has(node)) return "";
    const isControl = node.matches(CONTROLS);
    const attributes = [...node.attributes].filter(({ name }) => !(isControl && STATE.has(name)))
      .map(({ name, value }) => `${name}=${value}`).join(" ");
    const value = isControl && "value" in node && node.type !== "radio" ? `value:${node.value}` : "";
    let pixels = "";
    if (node.tagName === "CANVAS") {
      try { pixels = node.toDataURL(); } catch { pixels = "unreadable"; }
    }
    const inner = [...node.childNodes, ...(node.shadowRoot?.childNodes ?? [])].map((child) => written(child, skip)).join("");
    return `<${node.tagName} ${attributes} ${value} ${pixels}>${inner}`;
  }

  const state = (cell, node) => outputs(cell).map((area) => written(area, node ? own(cell, node) : new Set())).join("\n");
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  // An explorer that waits for Python's answer is not at rest; it has longer to answer than an animation has to end.
  const ANSWER = 60000;
  const waits = (cell) => cell.querySelector(".jp-OutputArea-output .explorer.busy") !== null;

  async function rests(cell, milliseconds) {
    const begun = performance.now();
    let end = begun + milliseconds;
    let before = state(cell, null);
    while (performance.now() < end) {
      await pause(100);
      const now = state(cell, null);
      if (waits(cell)) end = Math.min(performance.now() + milliseconds, begun + ANSWER);
      else if (now === before) return true;
      before = now;
    }
    return false;
  }

  // `remember` keeps what a control says of itself and the state beside it; `moved` and `changed` wait until they differ.
  const ownValue = (node) => node?.value ?? node?.getAttribute("aria-valuenow") ?? node?.getAttribute("transform");
  let kept = {};
  function remember(cell, control) {
    const node = locate(cell, control);
    kept = { value: ownValue(node), state: state(cell, node) };
  }
  async function until(test, milliseconds) {
    const end = performance.now() + milliseconds;
    do {
      await pause(25);
      if (test()) return true;
    } while (performance.now() < end);
    return false;
  }
  const moved = (cell, control, milliseconds) =>
    until(() => ownValue(locate(cell, control)) !== kept.value, milliseconds);
  const changed = (cell, control, milliseconds) =>
    until(() => state(cell, locate(cell, control)) !== kept.state, milliseconds);

  window.explorerProbe = { find, locate, rests, remember, moved, changed };
})();
