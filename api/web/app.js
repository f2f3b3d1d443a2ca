// The page: sign in, the lists of jobs and of studies, and what of them is open (the part of the address after #).

import * as api from "./api.js";
import { Detail, badge, scores } from "./detail.js";
import { Studies } from "./studies.js";
import { StudyView } from "./study.js";
import { StudyForm } from "./study_form.js";
import { age, el, over, short, track } from "./words.js";

const JOBS_EVERY = 2000;
const FLEET_EVERY = 5000;
const NOTHING = {
  jobs: "Choose a job to see its curves, its result and its log.",
  studies: "Choose a study to see what it found, its curves and its trials.",
};

const $ = (id) => document.getElementById(id);
const seen = { rows: new Map(), state: "", older: [], cursor: null, detail: null, opened: "", view: "jobs", busy: false, timers: [] };
const studies = new Studies($("study-table"), $("more-studies"), $("studies-empty"));
const ID = "([0-9a-f-]{36})";
const PLACES = [
  [new RegExp(`^#/jobs/${ID}$`), "jobs", Detail],
  [new RegExp(`^#/jobs/${ID}/study$`), "jobs", StudyForm],
  [new RegExp(`^#/studies/${ID}$`), "studies", StudyView],
  [/^#\/studies\/?$/, "studies", null],
];

async function start() {
  stop();
  try {
    await listJobs();
  } catch (problem) {
    return problem.status === 401 ? showGate() : complain(problem);
  }
  $("gate").hidden = true;
  $("yard").hidden = $("leave").hidden = $("views").hidden = false;
  every(JOBS_EVERY, renewList);
  every(FLEET_EVERY, showFleet);
  showFleet().catch(complain);
  route();
}

function stop() {
  seen.timers.forEach(clearInterval);
  seen.timers = [];
  seen.detail?.close();
  seen.detail = null;
  seen.opened = "";
}

// The list that is shown; that of the studies only while one of them, or any job, is running or waits.
async function renewList() {
  if (seen.view === "jobs") await listJobs();
  else if (studies.running || seen.busy) await listStudies();
}

async function listStudies() {
  await studies.renew();
  $("studies-loading").hidden = true;
}

function every(milliseconds, work) {
  const turn = () => document.hidden || work().catch((problem) => (problem.status === 401 ? showGate() : complain(problem)));
  seen.timers.push(setInterval(turn, milliseconds));
}

function showGate() {
  stop();
  if (new URLSearchParams(location.search).has("token")) {
    $("sign-in-wrong").textContent = "The key in this link is unknown, expired or revoked.";
    history.replaceState(null, "", "/");
  }
  $("yard").hidden = $("leave").hidden = $("views").hidden = true;
  $("gate").hidden = false;
  $("fleet").replaceChildren();
  $("token").focus();
}

async function listJobs() {
  const page = await api.jobs(seen.state);
  if (!seen.older.length) seen.cursor = page.next_cursor;
  const fresh = new Set(page.items.map((job) => job.id));
  showJobs([...page.items, ...seen.older.filter((job) => !fresh.has(job.id))]);
}

function showJobs(jobs) {
  const kept = new Map();
  for (const job of jobs) {
    const text = JSON.stringify(job) + age(job.created_at);
    const old = seen.rows.get(job.id);
    if (old?.text === text) kept.set(job.id, old);
    else kept.set(job.id, { text, node: row(job) });
  }
  const focused = document.activeElement?.closest?.("#rows tr")?.dataset.id;
  seen.rows = kept;
  $("rows").replaceChildren(...[...kept.values()].map((entry) => entry.node));
  if (focused) document.querySelector(`#rows tr[data-id="${focused}"] a`)?.focus({ preventScroll: true });
  $("empty").hidden = jobs.length > 0;
  $("job-table").hidden = jobs.length === 0;
  $("more").hidden = !seen.cursor;
  mark();
}

function row(job) {
  const [score] = scores(job.result);
  const what = [job.dataset, job.labels.join(", ")].filter(Boolean).join(", ");
  return el("tr", { "data-id": job.id },
    el("td", {}, el("a", { class: "name", href: `#/jobs/${job.id}` }, job.name), el("span", { class: "sub" }, what)),
    el("td", { class: "state" }, badge(job), job.state === "running" && track(job.progress, `Progress of ${job.name}`)),
    el("td", { class: "score" }, score ? short(score.value) : over(job) ? "–" : ""),
    el("td", { class: "age sub" }, age(job.created_at)));
}

async function older() {
  const page = await api.jobs(seen.state, seen.cursor);
  seen.older.push(...page.items);
  seen.cursor = page.next_cursor;
  await listJobs();
}

function filter(state) {
  seen.state = state;
  seen.older = [];
  for (const chip of $("filters").children) chip.setAttribute("aria-pressed", chip.dataset.state === state);
  listJobs().catch(complain);
}

async function showFleet() {
  const [workers, queue] = await Promise.all([api.workers(), api.queue()]);
  const count = workers.items.length;
  const busy = workers.items.filter((worker) => worker.busy).length;
  seen.busy = busy > 0 || Object.values(queue.depth).some(Boolean);
  const who = count ? `${count} ${count === 1 ? "worker" : "workers"}, ${busy} busy` : "No worker is connected";
  $("fleet").replaceChildren(el("i", { class: count ? "lamp on" : "lamp" }), `${who}, ${queue.depth.queued || 0} queued`);
}

function route() {
  const [match, view, View] = PLACES.map(([pattern, ...rest]) => [pattern.exec(location.hash), ...rest]).find(([found]) => found) || [null, "jobs", null];
  const id = (View && match[1]) || null;
  look(view);
  if (seen.opened !== location.hash || !id) {
    seen.detail?.close();
    seen.detail = id && new View($("detail"), id);
    seen.opened = location.hash;
    seen.detail?.start().catch(failed);
  }
  if (!id) $("detail").replaceChildren(el("p", { class: "nothing" }, NOTHING[view]));
  $("yard").classList.toggle("open", Boolean(id));
  mark();
}

// Which list is shown.
function look(view) {
  const changed = seen.view !== view;
  seen.view = view;
  $("list").hidden = view !== "jobs";
  $("studies").hidden = view !== "studies";
  document.querySelector(".skip").href = view === "jobs" ? "#list" : "#studies";
  for (const link of $("views").children) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (view === "studies") listStudies().catch(complain);
  else if (changed) listJobs().catch(complain);
}

// What was opened could not be loaded: said where it would stand.
function failed(problem) {
  complain(problem);
  if (!problem.status || $("detail").querySelector("h2")) return;
  $("detail").replaceChildren(el("p", { class: "nothing" }, [problem.message, problem.hint].filter(Boolean).join(" ")));
}

function mark() {
  const chosen = seen.detail?.id;
  for (const [id, { node }] of seen.rows) {
    node.classList.toggle("chosen", id === chosen);
    const link = node.querySelector("a");
    if (id === chosen) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
  studies.mark(chosen);
}

function complain(problem) {
  if (!problem.status && !$("lost").hidden) return;
  const toast = $("toast");
  toast.textContent = problem.status ? [problem.message, problem.hint].filter(Boolean).join(" ") : "Something went wrong on this page. Reload it.";
  toast.hidden = false;
  clearTimeout(complain.timer);
  complain.timer = setTimeout(() => { toast.hidden = true; }, 5000);
}

// After the server was away, what is open asks once: it may have moved on meanwhile.
function comeBack() {
  if ($("lost").hidden) return;
  $("lost").hidden = true;
  if (seen.detail?.study) seen.detail.renew().then(() => seen.detail?.tick()).catch(() => {});
  else if (seen.detail && !$("detail").querySelector("h2")) { seen.opened = ""; route(); }
}

$("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  $("sign-in-wrong").textContent = "";
  try {
    await api.signIn($("token").value.trim());
    $("token").value = "";
    await start();
  } catch (problem) {
    $("sign-in-wrong").textContent = problem.message;
  }
});
$("leave").addEventListener("click", () => api.signOut().then(showGate, complain));
$("more").addEventListener("click", () => older().catch(complain));
$("filters").addEventListener("click", (event) => { if (event.target.dataset.state !== undefined) filter(event.target.dataset.state); });
$("detail").addEventListener("problem", (event) => complain(event.detail));
$("more-studies").addEventListener("click", () => studies.next().catch(complain));
$("detail").addEventListener("moved", () => listStudies().catch(complain));
window.addEventListener("hashchange", () => { if (!$("yard").hidden && !/^#[a-z]+$/.test(location.hash)) route(); });
window.addEventListener("lost", () => { $("lost").hidden = false; });
window.addEventListener("reached", comeBack);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !$("yard").hidden && seen.view === "studies") listStudies().catch(complain); });

start();
