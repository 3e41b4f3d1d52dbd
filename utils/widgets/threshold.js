// A classifier's threshold: counts, rates and curves, all from the targets and scores, as scikit-learn has them.

const TOTAL = 1000; // what the confusion matrix adds up to
const [SIDE, LEFT, TOP] = [200, 34, 8];

/** How many of each class reach the threshold: [tp, fp, fn, tn]. */
function countsAt(targets, scores, threshold) {
  const counts = [0, 0, 0, 0];
  scores.forEach((score, i) => { counts[(score >= threshold ? 0 : 2) + (targets[i] === (score >= threshold ? 1 : 0) ? 0 : 1)] += 1; });
  return [counts[0], counts[1], counts[3], counts[2]];
}

/** The same counts as if a share of all examples were positive: each class keeps its own rates. */
function atShare([tp, fp, fn, tn], share) {
  const [positives, negatives] = [tp + fn, fp + tn];
  return [(share * tp) / positives, ((1 - share) * fp) / negatives, (share * fn) / positives, ((1 - share) * tn) / negatives];
}

/** What is reported of counts (or shares); 0 where a denominator is 0. */
function measures([tp, fp, fn, tn]) {
  const over = (part, whole) => (whole ? part / whole : 0);
  return {
    accuracy: over(tp + tn, tp + fp + fn + tn), precision: over(tp, tp + fp), recall: over(tp, tp + fn),
    f1: over(2 * tp, 2 * tp + fp + fn), falseAlarms: over(fp, fp + tn),
  };
}

/** Counts at each distinct score, from the highest down: what every possible threshold gives. */
function everyThreshold(targets, scores) {
  const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]);
  const positives = targets.reduce((a, b) => a + b, 0);
  let [tp, fp] = [0, 0];
  const points = [];
  order.forEach((i, place) => {
    if (targets[i]) tp += 1; else fp += 1;
    if (place + 1 === order.length || scores[order[place + 1]] !== scores[i]) {
      points.push({ threshold: scores[i], counts: [tp, fp, positives - tp, targets.length - positives - fp] });
    }
  });
  return points;
}

/** Both curves and their areas (trapezoids for ROC, average precision for the other) at a share of positives. */
function curves(points, share) {
  const roc = [[0, 0]];
  const pr = [];
  let [area, average, before] = [0, 0, 0];
  for (const { counts } of points) {
    const { precision, recall, falseAlarms } = measures(atShare(counts, share));
    const [x, y] = roc.at(-1);
    area += ((falseAlarms - x) * (recall + y)) / 2;
    average += (recall - before) * precision;
    before = recall;
    roc.push([falseAlarms, recall]);
    pr.push([recall, precision]);
  }
  return { roc, pr, area, average };
}

function render({ model, el }) {
  const root = stage("threshold");
  const told = teller();
  const [targets, scores, classes] = ["targets", "scores", "classes"].map((name) => model.get(name));
  const points = everyThreshold(targets, scores);
  const own = targets.reduce((a, b) => a + b, 0) / targets.length;
  const repaint = framed(paint);

  const threshold = slider("Threshold", { min: 0.01, max: 0.99, step: 0.01, value: model.get("threshold"), shown: (value) => value.toFixed(2), onmove: repaint });
  const share = slider(`Share of ${classes[1]}`, { min: 1, max: 99, value: Math.round(100 * own), shown: (value) => `${value} %`, onmove: repaint });
  const cells = ["right", "wrong", "wrong", "right"].map((kind) => make("td", { class: kind }));
  const [tn, fp, fn, tp] = cells;
  const table = make("table", { "aria-label": `Confusion matrix of ${TOTAL} examples` },
    make("tr", {}, make("th", { text: `of ${TOTAL}` }), ...classes.map((name) => make("th", { text: `called ${name}` }))),
    make("tr", {}, make("th", { text: `is ${classes[0]}` }), tn, fp),
    make("tr", {}, make("th", { text: `is ${classes[1]}` }), fn, tp));
  const [histogram, roc, pr] = [0, 0, 0].map(() => draw("svg", { viewBox: `0 0 ${SIDE + LEFT + 8} ${SIDE + TOP + 34}`, "aria-hidden": "true" }));
  const captions = ["", "", ""].map(() => make("figcaption"));

  /** Axes from 0 to 1 with names. */
  function axes(x, y) {
    const [right, bottom] = [LEFT + SIDE, TOP + SIDE];
    return [
      draw("path", { class: "axis", d: `M${LEFT} ${TOP}V${bottom}H${right}` }),
      draw("text", { x: LEFT + SIDE / 2, y: bottom + 30, "text-anchor": "middle", text: x }),
      draw("text", { transform: `translate(11 ${TOP + SIDE / 2}) rotate(-90)`, "text-anchor": "middle", text: y }),
      ...[0, 1].flatMap((value) => [
        draw("text", { x: LEFT + SIDE * value, y: bottom + 15, "text-anchor": "middle", text: String(value) }),
        draw("text", { x: LEFT - 6, y: bottom - SIDE * value + 4, "text-anchor": "end", text: value || y !== "examples" ? String(value || 0) : "" }),
      ]).filter((text) => y !== "examples" || text.getAttribute("text-anchor") === "middle"),
    ];
  }

  const place = ([x, y]) => [LEFT + SIDE * x, TOP + SIDE * (1 - y)];
  const line = (some) => draw("polyline", { class: "curve", points: some.map((point) => place(point).map((at) => at.toFixed(1)).join(",")).join(" ") });
  const dot = (point) => draw("circle", { class: "point", cx: place(point)[0], cy: place(point)[1], r: 6 });

  /** How the scores of each class lie, the positives upwards, the negatives downwards from the middle. */
  function bars(weights) {
    const bins = [0, 1].map(() => new Float64Array(25));
    scores.forEach((score, i) => { bins[targets[i]][Math.min(24, Math.floor(25 * score))] += weights[targets[i]]; });
    const peak = Math.max(...bins[0], ...bins[1]);
    return bins.flatMap((counts, label) => [...counts].map((count, i) => {
      const height = Math.sqrt(count / peak) * (SIDE / 2 - 4);
      return draw("rect", {
        class: label ? "bar one" : "bar zero", x: LEFT + (SIDE * i) / 25, width: SIDE / 25 - 1,
        y: TOP + SIDE / 2 - (label ? height : 0), height,
      });
    }));
  }

  function paint() {
    const pi = share.value / 100;
    const shares = atShare(countsAt(targets, scores, threshold.value), pi);
    const found = measures(shares);
    const drawn = curves(points, pi);
    [[tp, 0, "true positives"], [fp, 1, "false positives"], [fn, 2, "false negatives"], [tn, 3, "true negatives"]].forEach(([cell, i, name]) => {
      cell.replaceChildren(make("b", { text: (TOTAL * shares[i]).toFixed(1) }), make("small", { text: name }));
      cell.style.setProperty("--share", `${(60 * Math.sqrt(shares[i])).toFixed(0)}%`);
    });
    const x = LEFT + SIDE * threshold.value;
    histogram.replaceChildren(...axes("score", "examples"), ...bars([(1 - pi) / (1 - own), pi / own]),
      draw("line", { class: "cut", x1: x, x2: x, y1: TOP, y2: TOP + SIDE }),
      draw("text", { x: LEFT + 4, y: TOP + 12, text: classes[1] }), draw("text", { x: LEFT + 4, y: TOP + SIDE - 6, text: classes[0] }));
    roc.replaceChildren(...axes("false positive rate", "recall"),
      draw("line", { class: "chance", x1: LEFT, y1: TOP + SIDE, x2: LEFT + SIDE, y2: TOP }), line(drawn.roc), dot([found.falseAlarms, found.recall]));
    const level = place([0, pi])[1];
    pr.replaceChildren(...axes("recall", "precision"),
      draw("line", { class: "chance", x1: LEFT, y1: level, x2: LEFT + SIDE, y2: level }), line(drawn.pr), dot([found.recall, found.precision]));
    captions[0].textContent = "Scores (root of the counts)";
    captions[1].textContent = `ROC curve, area ${drawn.area.toFixed(3)}`;
    captions[2].textContent = `Precision–recall, average ${drawn.average.toFixed(3)}`;
    told.say(`Threshold ${threshold.value.toFixed(2)}, ${share.value} % ${classes[1]}: accuracy ${found.accuracy.toFixed(3)}, precision ${found.precision.toFixed(3)}, `
      + `recall ${found.recall.toFixed(3)}, F1 ${found.f1.toFixed(3)}. Always answering “${classes[pi >= 0.5 ? 1 : 0]}” has accuracy ${Math.max(pi, 1 - pi).toFixed(2)}.`);
  }

  root.append(
    make("div", { class: "row" }, threshold.box, share.box),
    table, ...told.parts,
    make("div", { class: "pictures" }, ...[histogram, roc, pr].map((picture, i) => make("figure", {}, captions[i], picture))),
  );
  el.append(root);
  paint();
}

export default { render };
