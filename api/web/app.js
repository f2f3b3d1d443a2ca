// The page: sign in, the list of jobs, and which of them is open (the part of the address after #).

import * as api from "./api.js";
import { Detail, badge, scores } from "./detail.js";
import { age, el, over, short, track } from "./words.js";

const JOBS_EVERY = 2000;
const FLEET_EVERY = 5000;

const $ = (id) => document.getElementById(id);
const seen = { rows: new Map(), state: "", older: [], cursor: null, detail: null, timers: [] };

async function start() {
  stop();
  try {
    await listJobs();
  } catch (problem) {
    return problem.status === 401 ? showGate() : complain(problem);
  }
  $("gate").hidden = true;
  $("yard").hidden = $("leave").hidden = false;
  every(JOBS_EVERY, listJobs);
  every(FLEET_EVERY, showFleet);
  showFleet().catch(complain);
  route();
}

function stop() {
  seen.timers.forEach(clearInterval);
  seen.timers = [];
  seen.detail?.close();
  seen.detail = null;
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
  $("yard").hidden = $("leave").hidden = true;
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
  document.querySelector(".jobs").hidden = jobs.length === 0;
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
  const who = count ? `${count} ${count === 1 ? "worker" : "workers"}, ${busy} busy` : "No worker is connected";
  $("fleet").replaceChildren(el("i", { class: count ? "lamp on" : "lamp" }), `${who}, ${queue.depth.queued || 0} queued`);
}

function route() {
  const id = /^#\/jobs\/([0-9a-f-]{36})$/.exec(location.hash)?.[1] || null;
  if (id !== (seen.detail?.id || null)) {
    seen.detail?.close();
    seen.detail = id && new Detail($("detail"), id, () => {});
    seen.detail?.start().catch(complain);
  }
  if (!id) $("detail").replaceChildren(el("p", { class: "nothing" }, "Choose a job to see its curves, its result and its log."));
  $("yard").classList.toggle("open", Boolean(id));
  mark();
}

function mark() {
  for (const [id, { node }] of seen.rows) {
    node.classList.toggle("chosen", id === seen.detail?.id);
    const link = node.querySelector("a");
    if (id === seen.detail?.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
}

function complain(problem) {
  const toast = $("toast");
  toast.textContent = problem.status ? [problem.message, problem.hint].filter(Boolean).join(" ") : "The server cannot be reached. Trying again.";
  toast.hidden = false;
  clearTimeout(complain.timer);
  complain.timer = setTimeout(() => { toast.hidden = true; }, 5000);
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
window.addEventListener("hashchange", route);

start();
