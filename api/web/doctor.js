// What the training doctor found: what is wrong now, with figure, threshold and remedy; what has passed in a line.

import { el, short, words } from "./words.js";

export class Doctor {
  constructor() {
    this.findings = new Map();
    this.node = el("section", { class: "panel doctor", hidden: true, "aria-label": "Diagnosis" });
  }

  // A later word on the same illness and place takes the place of an earlier one.
  learn(finding) {
    this.findings.set(`${finding.code} ${finding.path || finding.name || ""}`, finding);
    this.show();
  }

  show() {
    const all = [...this.findings.values()];
    const now = all.filter((one) => one.state !== "gone").sort((a, b) => (b.severity === "error") - (a.severity === "error"));
    const past = all.filter((one) => one.state === "gone");
    this.node.hidden = !all.length;
    this.node.replaceChildren(
      el("h3", {}, "Diagnosis"),
      ...now.map(card),
      ...(past.length ? [el("p", { class: "sub" }, `Has passed: ${past.map(heading).join("; ")}.`)] : []));
  }
}

function card(finding) {
  const measured = Number.isFinite(finding.measured);
  return el("article", { class: `finding ${finding.severity || "error"}` },
    el("h4", {}, el("span", { class: "weight" }, finding.severity || "error"), heading(finding)),
    measured && el("p", { class: "figure" }, el("strong", {}, short(finding.measured)), ` ${finding.unit}; threshold `, el("strong", {}, short(finding.threshold))),
    finding.explanation && el("p", {}, finding.explanation),
    finding.next_step && el("p", {}, el("strong", {}, "Next: "), finding.next_step),
    el("details", {}, el("summary", {}, finding.patch ? "Source of the threshold, change of the spec" : "Source of the threshold"),
      el("p", { class: "sub" }, finding.source || ""),
      finding.patch && el("pre", { class: "said" }, JSON.stringify(finding.patch, null, 1))));
}

function heading(finding) {
  const place = finding.layer || finding.path || finding.name;
  return `${finding.title || words(finding.code)}${place ? `, ${place}` : ""}`;
}
