// "Study this job": what to vary, in the words of the schema of studies; what it would cost, and every mistake at its field.

import * as api from "./api.js";
import { fieldsOf, read, write } from "./study_fields.js";
import { capital, el, span, words } from "./words.js";

const QUESTIONS = {
  learning_rates: "Which learning rates are too small, good, too big?",
  learning_rate_range: "Where do good learning rates lie? One short run.",
  gradient_descent: "Stochastic, mini-batch or batch: what does each cost here?",
  data_size: "Does more data help, and whom: the network, or a classical model?",
  seeds: "How much of a result is luck?",
  grid: "Which combination of some values is best?",
  search: "Which values are good, in a space too large for a grid?",
};
const PAUSE = 400;

export class StudyForm {
  constructor(node, id) {
    Object.assign(this, { node, id, open: true, asked: 0 });
    node.replaceChildren(el("p", { class: "nothing" }, "Loading the job…"));
  }

  async start() {
    const [job, schema] = await Promise.all([api.job(this.id), api.studySchema()]);
    if (!this.open) return;
    Object.assign(this, { job, schema });
    this.build();
    this.choose(job.task === "reinforcement" ? "seeds" : "learning_rates");
  }

  close() {
    this.open = false;
    clearTimeout(this.timer);
  }

  build() {
    const radio = (kind) => el("label", { class: "kind" },
      el("input", { type: "radio", name: "kind", value: kind, onchange: () => this.choose(kind) }), el("span", {}, el("b", {}, capital(words(kind))), el("span", { class: "sub" }, QUESTIONS[kind])));
    const title = el("h2", { tabindex: "-1" }, `Study ${this.job.name}`);
    this.fields = el("div", { class: "fields" });
    this.wrong = el("div", { class: "wrong", role: "alert" });
    this.cost = el("p", { class: "message", role: "status" });
    this.begin = el("button", { type: "submit", class: "button strong" }, "Begin the study");
    const form = el("form", { class: "panel head study-form", novalidate: true }, title,
      el("fieldset", {}, el("legend", {}, "What to ask"), el("div", { class: "kinds" }, Object.keys(QUESTIONS).map(radio))),
      this.fields, this.wrong, this.cost, el("div", { class: "actions" }, this.begin, el("a", { class: "button", href: `#/jobs/${this.id}` }, "Back to the job")));
    form.addEventListener("submit", (event) => { event.preventDefault(); this.submit(); });
    form.addEventListener("input", () => this.later());
    this.node.replaceChildren(form);
    title.focus({ preventScroll: true });
  }

  choose(kind) {
    this.kind = kind;
    this.node.querySelector(`input[value="${kind}"]`).checked = true;
    this.parts = [{ name: "name", form: "text", value: `${this.job.name} ${words(kind)}`.slice(0, 128), about: "" }, ...fieldsOf(this.schema, kind, this.job.spec)];
    this.fields.replaceChildren(...this.parts.map((part) => this.field(part)));
    this.later(0);
  }

  field(part) {
    const id = `study-${part.name}`;
    const attributes = { id, name: part.name, "aria-describedby": `${id}-about ${id}-wrong`, spellcheck: "false" };
    part.node = part.form === "switch" ? el("input", { ...attributes, type: "checkbox" })
      : part.form === "lines" ? el("textarea", { ...attributes, rows: "3" })
        : el("input", { ...attributes, type: "text", inputmode: part.form === "number" ? "decimal" : false, autocomplete: "off" });
    write(part);
    part.wrong = el("p", { class: "wrong", id: `${id}-wrong` });
    return el("div", { class: `field ${part.form}` }, el("label", { for: id }, capital(words(part.name))), part.node, el("p", { class: "sub", id: `${id}-about` }, part.about), part.wrong);
  }

  spec() {
    const { labels = [], ...job } = this.job.spec;
    const kept = labels.filter((label) => !label.startsWith("study-"));
    return { schema: "trainyard-study/v1", type: this.kind, labels: kept.slice(0, 15), ...Object.fromEntries(this.parts.map((part) => [part.name, read(part)]).filter(([, value]) => value !== undefined)), job: { ...job, labels: kept } };
  }

  later(pause = PAUSE) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.plan(), pause);
  }

  // What it would cost, as it stands now; an answer that comes too late is dropped.
  async plan() {
    const turn = ++this.asked;
    try {
      const plan = await api.planStudy(this.spec());
      if (turn !== this.asked || !this.open) return;
      this.blame([]);
      const time = plan.wall_seconds === null ? "How long it takes is known once a job like it has finished." : `About ${span(plan.wall_seconds)} on the workers that are here.`;
      const who = plan.workers.length ? "" : " No worker that fits it is connected: it will wait.";
      this.cost.textContent = `${plan.trials} ${plan.trials === 1 ? "trial" : "trials"}, ${Math.min(plan.parallel, plan.trials)} at once at most, judged by ${words(plan.metric)}. ${time}${who}`;
    } catch (problem) {
      if (turn === this.asked && this.open) this.explain(problem);
    }
  }

  async submit() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.begin.disabled = true;
    try {
      const study = await api.beginStudy(this.spec());
      location.hash = `#/studies/${study.id}`;
    } catch (problem) {
      this.explain(problem);
      this.node.querySelector("[aria-invalid]")?.focus();
    }
    this.begin.disabled = false;
  }

  explain(problem) {
    this.cost.textContent = "";
    if (!problem.status) return this.blame([{ path: "", message: "The server cannot be reached; nothing was sent", hint: "" }]);
    this.blame(problem.mistakes.length ? problem.mistakes : [{ path: "", message: problem.message, hint: problem.hint }]);
  }

  // Every mistake at the field that it begins with; what has no field here stands above the buttons with its path.
  blame(mistakes) {
    const sentence = (one) => [one.message.replace(/\.?$/, "."), one.hint].filter(Boolean).join(" ");
    const homeless = new Set(mistakes);
    for (const part of this.parts) {
      const mine = mistakes.filter((one) => one.path.split(/[.[]/)[0] === part.name);
      mine.forEach((one) => homeless.delete(one));
      part.wrong.textContent = mine.map((one) => `${one.path === part.name ? "" : `${one.path}: `}${sentence(one)}`).join(" ");
      if (mine.length) part.node.setAttribute("aria-invalid", "true"); else part.node.removeAttribute("aria-invalid");
    }
    this.wrong.replaceChildren(...[...homeless].map((one) => el("p", {}, one.path && el("code", {}, one.path), one.path && " ", sentence(one))));
  }
}
