// The chosen job: state and progress, live curves, the result beside its baseline, the log.

import * as api from "./api.js";
import { Chart } from "./chart.js";
import { confirmed } from "./confirm.js";
import { Doctor } from "./doctor.js";
import { picture, report } from "./report.js";
import { capital, el, over, short, span, track, words } from "./words.js";

const LOG_LINES = 2000;
const CANCEL = { title: "Cancel this job?", text: "What it has learned so far is discarded. To keep the model, stop it instead.", no: "Go on training", yes: "Cancel the job" };

export class Detail {
  constructor(node, id) {
    Object.assign(this, { node, id, points: new Map(), charts: new Map(), lines: 0, open: true });
    this.head = el("div", { class: "panel head" });
    this.result = el("div", { class: "panel", hidden: true });
    this.report = el("div", { class: "reports", hidden: true });
    this.picture = el("div", { class: "reports", hidden: true });
    this.doctor = new Doctor();
    this.chartBox = el("div", { class: "charts" });
    this.logText = el("pre", { class: "log", role: "log", tabindex: "0", "aria-label": "Log" });
    this.log = el("section", { class: "panel", hidden: true }, el("h3", {}, "Log"), this.logText);
    const back = el("a", { class: "button back", href: "#/" }, "All jobs");
    node.replaceChildren(back, this.head, this.result, this.doctor.node, this.report, this.chartBox, this.picture, this.log);
  }

  async start() {
    await this.refresh();
    const after = this.job.event_number;
    const [points, lines, found] = await Promise.all([api.metrics(this.id), api.logs(this.id), api.diagnostics(this.id)]);
    if (!this.open) return;
    for (const p of points.items) this.learn(p.name, p.step, p.value);
    for (const line of lines.items) this.say(line.level, line.text);
    for (const finding of found.items) this.doctor.learn(finding);
    this.draw();
    if (!over(this.job)) this.source = api.watch(this.id, after, (event) => this.hear(event));
    this.tick();
  }

  close() {
    this.open = false;
    this.source?.close();
    clearTimeout(this.timer);
    for (const chart of this.charts.values()) chart.resized.disconnect();
  }

  async refresh() {
    const job = await api.job(this.id);
    if (!this.open) return;
    this.job = job;
    this.showHead();
    this.showResult();
    this.showReport();
  }

  tick() {
    if (!this.open || over(this.job)) return;
    this.timer = setTimeout(() => this.refresh().catch(() => {}).then(() => this.tick()), 1500);
  }

  hear(event) {
    if (event.kind === "metric") {
      for (const [name, value] of Object.entries(event.data.values || {})) this.learn(name, event.data.step, value);
      this.draw();
    } else if (event.kind === "log") {
      this.say(event.data.level, event.data.text);
    } else if (event.kind === "diagnostic") {
      this.doctor.learn(event.data);
    } else if (event.kind === "state") {
      if (["succeeded", "failed", "cancelled"].includes(event.data.state)) this.source.close();
      this.refresh().catch(() => {});
    }
  }

  learn(name, step, value) {
    if (!Number.isFinite(value)) return;
    if (!this.points.has(name)) this.points.set(name, new Map());
    this.points.get(name).set(step, value);
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => { this.drawing = 0; this.showCharts(); });
  }

  showCharts() {
    const groups = new Map();
    for (const [name, points] of this.points) {
      const base = name.replace(/^(val|batch)_/, "");
      const kind = name === base ? "train" : name.startsWith("val_") ? "val" : "batch";
      groups.set(base, { ...groups.get(base), [kind]: [...points].sort((a, b) => a[0] - b[0]) });
    }
    for (const [name, lines] of [...groups].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b))) {
      if (Math.max(...Object.values(lines).map((line) => line.length)) < 2) continue;
      if (name === "learning_rate" && lines.train.every((p) => p[1] === lines.train[0][1])) continue;
      if (!this.charts.has(name)) {
        this.charts.set(name, new Chart(name));
        this.chartBox.append(this.charts.get(name).node);
      }
      this.charts.get(name).show(lines);
    }
  }

  say(level, text) {
    const bottom = this.logText.scrollHeight - this.logText.scrollTop - this.logText.clientHeight < 30;
    this.logText.append(el("span", { class: level || "info" }, `${text}\n`));
    if (this.logText.childElementCount > LOG_LINES) this.logText.firstChild.remove();
    this.log.hidden = false;
    if (bottom) this.logText.scrollTop = this.logText.scrollHeight;
  }

  showHead() {
    const job = this.job;
    const focused = document.activeElement?.dataset?.act;
    this.head.replaceChildren(...[
      el("div", { class: "title" }, el("h2", {}, job.name), badge(job)),
      this.progress(),
      message(job),
      el("dl", { class: "facts" }, facts(job).map(([term, text]) => el("div", { class: ["Id", "Verdict"].includes(term) && "whole" }, el("dt", {}, term), el("dd", {}, text)))),
      this.actions(),
    ].filter(Boolean));
    if (focused) this.head.querySelector(`[data-act="${focused}"]`)?.focus();
  }

  // Once each: what stands there may be in use.
  showReport() {
    for (const [box, panels] of [[this.picture, [picture(this.job)]], [this.report, over(this.job) ? report(this.job) : []]]) {
      if (!box.hidden || !panels.filter(Boolean).length) continue;
      box.replaceChildren(...panels.filter(Boolean));
      box.hidden = false;
    }
  }

  progress() {
    const job = this.job;
    if (job.state !== "running") return null;
    const steps = job.total_steps ? `step ${job.step.toLocaleString("en")} of ${job.total_steps.toLocaleString("en")}` : `step ${job.step}`;
    const eta = job.eta_seconds === null ? "" : `, about ${span(job.eta_seconds)} left`;
    return el("div", { class: "numbers sub" }, track(job.progress, "Progress", true), `${capital(job.phase || "starting")}: ${steps}${eta}`);
  }

  actions() {
    const job = this.job;
    const button = (verb, text, kind, off) =>
      el("button", { type: "button", class: `button ${kind}`, "data-act": verb, disabled: off, onclick: () => this.act(verb) }, text);
    if (job.state === "succeeded") {
      return el("div", { class: "actions" }, el("a", { class: "button strong", href: `/v1/models/${job.id}/export?format=safetensors`, download: true }, "Download the model"), button("replay", "Replay", ""), button("retry", "Retry", ""), studying(job));
    }
    if (over(job)) return el("div", { class: "actions" }, button("retry", "Retry", "strong"), studying(job));
    return el("div", { class: "actions" },
      job.state === "running" && button("stop", job.stop_requested ? "Stopping" : "Stop and keep the model", "", job.stop_requested || job.cancel_requested),
      button("cancel", job.cancel_requested ? "Cancelling" : "Cancel", "danger", job.cancel_requested),
      job.state === "running" && studying(job));
  }

  async act(verb) {
    if (verb === "cancel" && !(await confirmed(CANCEL))) return;
    try {
      const child = await api.act(this.id, verb);
      if (child.id !== this.id) location.hash = `#/jobs/${child.id}`;
    } catch (problem) {
      this.node.dispatchEvent(new CustomEvent("problem", { detail: problem, bubbles: true }));
    }
    await this.refresh().catch(() => {});
  }

  // A moving picture of what the agent learned, where the job left one.
  episode() {
    if (!this.job.artifacts.some((file) => file.name === EPISODE)) return null;
    const text = `${this.job.name} plays ${this.job.dataset}`;
    return el("img", { class: "episode", src: `/v1/models/${this.job.id}/files/${EPISODE}`, alt: text, loading: "lazy" });
  }

  showResult() {
    const rows = scores(this.job.result);
    this.result.hidden = !rows.length;
    if (!rows.length) return;
    const [ours] = rows;
    const most = Math.max(...rows.map((row) => Math.abs(row.value)), ours.fraction ? 1 : 0) || 1;
    this.result.replaceChildren(el("div", { class: "result" },
      el("div", {}, el("h3", {}, `Test ${words(ours.metric)}`), el("p", { class: "big" }, short(ours.value)), el("p", { class: "sub" }, verdict(rows))),
      rows.length > 1 && el("div", { class: "bars" }, rows.map((row) => el("div", { class: `bar ${row === ours ? "ours" : "theirs"}` },
        el("span", {}, row.name), track(Math.abs(row.value) / most), el("span", { class: "value" }, short(row.value))))),
      this.episode()));
  }
}

const EPISODE = "episode.gif";

const rank = (name) => ["loss", "accuracy"].indexOf(name) + 1 || (name === "learning_rate" ? 9 : 3);

// From a job to a study of it, and from a trial to the study that it is part of.
const studying = (job) => el("a", { class: "button", "data-act": "study", href: `#/jobs/${job.id}/study` }, "Study this job");
const studyOf = (job) => job.labels.find((label) => /^study-[0-9a-f-]{36}$/.test(label))?.slice("study-".length);

export function badge(job) {
  const wish = !over(job) && (job.cancel_requested ? "cancelling" : job.stop_requested ? "stopping" : "");
  return el("span", { class: `badge ${job.state}` }, wish || job.state);
}

// The score of a finished job, its baseline below it: [{name, metric, value, fraction}]
export function scores(result) {
  const { test = {}, baseline = {} } = result || {};
  const known = [baseline.metric, ...Object.keys(baseline.best?.scores || {}), "accuracy", "mean_squared_error", "episode_return"];
  // A job that measures something else of its own is told by that rather than by its loss.
  const metric = [...known, ...Object.keys(test).filter((name) => name !== "loss"), "loss"].find((name) => Number.isFinite(test[name]));
  if (!metric) return [];
  const better = /accuracy|score|return|precision|recall|ratio/.test(metric) ? "max" : "min";
  const row = (name, value) => ({ name, metric, value, better, fraction: metric.includes("accuracy") });
  const score = (model) => (metric === baseline.metric ? model?.score : model?.scores?.[metric]);
  const others = [baseline.best, baseline.trivial].filter((model) => Number.isFinite(score(model)));
  const solved = metric === "episode_return" && Number.isFinite(result.reward_threshold) ? [row("the mark for solved", result.reward_threshold)] : [];
  return [row("This network", test[metric]), ...solved, ...others.map((model) => row(words(model.name), score(model)))];
}

function verdict([ours, ...others]) {
  if (!others.length) return "";
  const best = others.reduce((a, b) => ((ours.better === "max" ? b.value > a.value : b.value < a.value) ? b : a));
  const gain = (ours.value - best.value) * (ours.better === "max" ? 1 : -1);
  if (gain === 0) return `Level with ${best.name}`;
  return gain > 0 ? `Better than ${best.name}` : `${best.name} is better`;
}

function message(job) {
  const place = job.queue?.position && `Number ${job.queue.position} in the queue${job.queue.waiting_for ? `, waiting for ${job.queue.waiting_for}` : ""}${job.queue.eta_seconds ? `, starts in about ${span(job.queue.eta_seconds)}` : ""}.`;
  const text = [job.message, place].filter(Boolean).join(" ");
  return text ? el("p", { class: job.state === "failed" ? "message bad" : "message" }, text) : null;
}

function facts(job) {
  const end = job.finished_at ? Date.parse(job.finished_at) : Date.now();
  const took = job.started_at ? (end - Date.parse(job.started_at)) / 1000 : null;
  return [
    ["Task", words(job.task || "–")],
    [job.task === "reinforcement" ? "Environment" : "Data set", job.dataset || "–"],
    ["Parameters", Number.isFinite(job.outline?.parameters) ? job.outline.parameters.toLocaleString("en") : null],
    ["Device", job.attempts.at(-1)?.device || job.device],
    job.reason && ["Reason", words(job.reason)],
    ["Training time", took === null ? null : span(took)],
    job.attempt > 1 && ["Attempt", String(job.attempt)],
    job.parent_id && [`${capital(job.origin || "child")} of`, el("a", { href: `#/jobs/${job.parent_id}` }, job.parent_id)],
    studyOf(job) && ["Trial of", el("a", { href: `#/studies/${studyOf(job)}` }, "its study")],
    job.result?.replay && ["Verdict", job.result.replay.message],
    ["Id", el("code", {}, job.id)],
  ].filter((fact) => fact && fact[1] !== null);
}
