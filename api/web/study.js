// The chosen study: first what it found and how far to trust that, then its curves, its table, its trials and its spec.

import * as api from "./api.js";
import { confirmed } from "./confirm.js";
import { Panel } from "./panels.js";
import { sortable } from "./sortable.js";
import { badge, counted } from "./studies.js";
import { capital, el, over, span, told, track, words } from "./words.js";
import { yaml } from "./yaml.js";

const EVERY = 1500;
const MOST_SEEDS = 100;
const CERTAINTY = {
  clear: ["Clear", "The difference stands out from its uncertainty."],
  weak: ["Weak", "It points this way, but luck alone may have done it. More seeds would tell."],
  none: ["No conclusion", "These trials cannot tell, and that is an answer too. More seeds may help."],
};

export class StudyView {
  constructor(node, id) {
    Object.assign(this, { node, id, open: true, charts: [], drawn: "", trialText: "", specText: "" });
    this.head = el("div", { class: "panel head" }, el("p", { class: "sub" }, "Loading the study…"));
    this.deeds = el("div", { class: "panel deeds", hidden: true });
    this.result = el("div", { class: "reports", hidden: true });
    this.trials = el("section", { class: "panel report", hidden: true, "aria-label": "Trials" });
    this.spec = el("section", { class: "panel report", hidden: true, "aria-label": "Spec" });
    node.replaceChildren(el("a", { class: "button back", href: "#/studies" }, "All studies"), this.head, this.result, this.trials, this.deeds, this.spec);
  }

  async start() {
    await this.renew();
    this.tick();
  }

  close() {
    this.open = false;
    clearTimeout(this.timer);
    this.forgetCharts();
  }

  // Ask again while it runs and somebody looks.
  tick() {
    clearTimeout(this.timer);
    if (!this.open || !this.study || over(this.study)) return;
    const look = () => (document.hidden ? Promise.resolve() : this.renew().catch(() => {}));
    this.timer = setTimeout(() => look().then(() => this.tick()), EVERY);
  }

  async renew() {
    try {
      const study = await api.study(this.id);
      if (this.open) this.show(study);
    } catch (problem) {
      if (problem.status !== 404 || !this.open) throw problem;
      this.close();
      this.node.replaceChildren(gone());
    }
  }

  show(study) {
    this.study = study;
    this.showHead();
    this.showResult();
    this.showTrials();
    this.showDeeds();
    this.showSpec();
  }

  showHead() {
    const { study } = this;
    this.head.replaceChildren(...[
      el("div", { class: "title" }, el("h2", {}, study.name), badge(study)),
      this.progress(),
      study.message && el("p", { class: study.state === "failed" ? "message bad" : "message" }, study.message),
      study.state === "cancelled" && el("p", { class: "message" }, "It was cancelled before it came to a conclusion. Trials that had finished keep their jobs."),
      !over(study) && study.result && el("p", { class: "message" }, "More trials are running. The conclusion below is the one from before them."),
      el("dl", { class: "facts" }, facts(study).map(([term, text]) => el("div", { class: term === "Id" && "whole" }, el("dt", {}, term), el("dd", {}, text)))),
    ].filter(Boolean));
  }

  progress() {
    const { study } = this;
    if (over(study)) return null;
    const running = study.trials.running || 0;
    const held = study.trials.queued && !running ? ", waiting for a worker" : "";
    const text = `${counted(study)} trials are over${running ? `, ${running} running` : ""}${held}`;
    const done = study.table.reduce((sum, trial) => sum + trial.progress, 0) / Math.max(1, study.table.length);
    return el("div", { class: "numbers sub" }, track(done, "Progress of the study", true), text);
  }

  // Drawn once for each conclusion: what stands there may be in use.
  showResult() {
    const { result } = this.study;
    const text = JSON.stringify(result);
    if (text === this.drawn) return;
    this.drawn = text;
    this.forgetCharts();
    this.result.hidden = !result;
    if (!result) return;
    this.charts = result.panels.map((panel) => new Panel(panel));
    this.result.replaceChildren(verdict(result), this.picture(), this.table());
  }

  forgetCharts() {
    for (const chart of this.charts) chart.resized.disconnect();
    this.charts = [];
  }

  picture() {
    const source = `/v1/studies/${this.id}/figure.svg`;
    const link = el("a", { class: "sub", href: source, target: "_blank", rel: "noopener" }, "Open as a picture");
    return el("section", { class: "panel report", hidden: !this.charts.length },
      el("div", { class: "chart-head" }, el("h3", {}, "Curves"), link), el("div", { class: "plots wide" }, this.charts.map((chart) => chart.node)));
  }

  table() {
    const { columns, rows } = this.study.result;
    const numbers = new Map(this.study.table.filter((trial) => trial.job).map((trial) => [trial.job, trial.number]));
    const cell = (value, column) => (column === "job" && numbers.has(value) ? el("a", { href: `#/jobs/${value}` }, `trial ${numbers.get(value) + 1}`) : told(value));
    return el("section", { class: "panel report" }, el("h3", {}, "Table"), sortable("Table of the study", columns, rows, cell));
  }

  showTrials() {
    const { table } = this.study;
    const text = JSON.stringify(table);
    if (text === this.trialText) return;
    this.trialText = text;
    const names = [...new Set(table.flatMap((trial) => Object.keys(trial.varied)))];
    const focused = this.trials.contains(document.activeElement) ? document.activeElement.dataset.job : null;
    const scroll = this.trials.querySelector(".scroll");
    const place = [scroll?.scrollLeft || 0, scroll?.scrollTop || 0];
    this.trials.hidden = !table.length;
    this.trials.replaceChildren(el("h3", {}, "Trials"), el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Every trial" },
      el("table", { class: "figures trials" }, el("thead", {}, el("tr", {}, ["trial", ...names.map(words), "state", words(this.study.metric)].map((head) => el("th", { scope: "col", class: head === "state" && "state" }, head)))),
        el("tbody", {}, table.map((trial) => one(trial, names))))));
    this.trials.querySelector(".scroll").scrollTo(...place);
    if (focused) this.trials.querySelector(`[data-job="${focused}"]`)?.focus({ preventScroll: true });
  }

  // Rebuilt when what may be done changes, so that what is being typed stays.
  showDeeds() {
    const { study } = this;
    const kind = JSON.stringify([study.state, study.cancel_requested, study.spec.seeds]);
    if (this.deeds.dataset.kind === kind) return;
    this.deeds.dataset.kind = kind;
    this.wrong = el("div", { class: "wrong", role: "alert" });
    const finished = over(study);
    const button = (act, text, run, off = false) => el("button", { type: "button", class: "button danger", "data-act": act, disabled: off, onclick: run }, text);
    this.deeds.hidden = false;
    this.deeds.replaceChildren(...[
      el("h3", {}, "Go on"),
      el("div", { class: "actions" }, study.type !== "search" && study.state !== "cancelled" && !study.cancel_requested && this.extension(),
        finished ? button("delete", "Delete the study", () => this.remove()) : button("cancel", study.cancel_requested ? "Cancelling" : "Cancel the study", () => this.cancel(), study.cancel_requested)),
      this.wrong].filter(Boolean));
  }

  extension() {
    const seeds = el("input", { type: "number", id: "more-seeds", min: "1", max: String(MOST_SEEDS), value: "2", required: true, "aria-describedby": "more-seeds-note" });
    const form = el("form", { class: "extend", novalidate: true }, el("label", { for: "more-seeds" }, "Seeds to add"), seeds,
      el("button", { type: "submit", class: "button strong", "data-act": "extend" }, "Extend the study"),
      el("span", { class: "sub", id: "more-seeds-note" }, `It has ${this.study.spec.seeds} for each variant; what has been trained is kept.`));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.act(() => api.extendStudy(this.id, seeds.value === "" ? null : Number(seeds.value)));
    });
    return form;
  }

  async cancel() {
    const question = { title: "Cancel this study?", text: "Its waiting and running trials are discarded. Trials that have finished keep their jobs.", no: "Go on", yes: "Cancel the study" };
    if (await confirmed(question)) await this.act(() => api.cancelStudy(this.id));
  }

  async remove() {
    const question = { title: "Delete this study?", text: "Its trials' jobs and their models are deleted with it. This cannot be undone.", no: "Keep it", yes: "Delete the study" };
    if (!(await confirmed(question))) return;
    try {
      await api.deleteStudy(this.id);
      location.hash = "#/studies";
    } catch (problem) {
      this.complain(problem);
    }
  }

  async act(ask) {
    this.wrong.replaceChildren();
    try {
      const study = await ask();
      if (!this.open) return;
      this.show(study);
      this.tick();
      this.node.dispatchEvent(new CustomEvent("moved", { bubbles: true }));
    } catch (problem) {
      this.complain(problem);
    }
  }

  complain(problem) {
    const said = problem.status ? [...problem.mistakes.map((one) => `${one.path}: ${one.message}. ${one.hint || ""}`), !problem.mistakes.length && [problem.message, problem.hint].filter(Boolean).join(" ")] : ["The server cannot be reached. Nothing was changed."];
    this.wrong.replaceChildren(...said.filter(Boolean).map((text) => el("p", {}, text)));
  }

  showSpec() {
    const text = JSON.stringify(this.study.spec);
    if (text === this.specText) return;
    this.specText = text;
    const forms = { YAML: yaml(this.study.spec), JSON: `${JSON.stringify(this.study.spec, null, 2)}\n` };
    const shown = el("pre", { class: "said spec", tabindex: "0", "aria-label": "Spec of the study" }, forms.YAML);
    const chips = Object.keys(forms).map((name) => el("button", { type: "button", class: "chip", "aria-pressed": String(name === "YAML"), onclick: () => {
      shown.textContent = forms[name];
      for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.textContent === name));
    } }, name));
    const copy = el("button", { type: "button", class: "chip", onclick: () => navigator.clipboard?.writeText(shown.textContent).then(() => { copy.textContent = "Copied"; }) }, "Copy");
    this.spec.hidden = false;
    this.spec.replaceChildren(el("details", {}, el("summary", {}, "Spec, with every default"), el("div", { class: "filters", role: "group", "aria-label": "Form of the spec" }, chips, copy), shown));
  }
}

function verdict(result) {
  const [word, meaning] = CERTAINTY[result.certainty] || [capital(words(result.certainty)), ""];
  return el("section", { class: `panel verdict ${result.certainty}`, "aria-label": "Verdict" },
    el("h3", {}, "Verdict"), el("p", { class: "sentence" }, result.verdict),
    el("p", { class: "sure" }, el("strong", {}, word), ` ${meaning}`),
    result.findings.length > 0 && el("ul", { class: "findings" }, result.findings.map((text) => el("li", {}, text))));
}

function one(trial, names) {
  const number = String(trial.number + 1);
  const live = trial.job && trial.state !== "deleted";
  const why = trial.message || (trial.reason && trial.reason !== "completed" ? words(trial.reason) : "");
  return el("tr", {},
    el("th", { scope: "row" }, live ? el("a", { href: `#/jobs/${trial.job}`, "data-job": trial.job, "aria-label": `Job of trial ${number}` }, number) : number),
    names.map((name) => el("td", {}, told(trial.varied[name]))),
    el("td", { class: "state" }, el("span", { class: `badge ${trial.state}` }, trial.state), trial.state === "running" && track(trial.progress, `Progress of trial ${number}`), why && el("span", { class: "sub why" }, why)),
    el("td", {}, trial.score === null ? "" : told(trial.score)));
}

function facts(study) {
  const end = study.finished_at ? Date.parse(study.finished_at) : Date.now();
  const took = (end - Date.parse(study.created_at)) / 1000;
  return [
    ["Type", words(study.type)],
    ["Data set", study.spec.job?.dataset?.name || study.spec.job?.dataset?.upload || study.spec.job?.environment?.name || "–"],
    ["Judged by", words(study.metric)],
    ["Trials", counted(study)],
    ["Seeds each", study.spec.seeds === undefined ? null : String(study.spec.seeds)],
    ["Began", new Date(study.created_at).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })],
    [over(study) ? "Took" : "Since", span(took)],
    ["Id", el("code", {}, study.id)],
  ].filter(([, text]) => text !== null);
}

function gone() {
  return el("div", { class: "nothing" }, el("p", {}, "There is no such study. It may have been deleted."), el("p", {}, el("a", { href: "#/studies" }, "All studies")));
}
