// What a finished job tells beyond its score: classes taken for each other, forecasts beside the truth, texts, files.

import * as api from "./api.js";
import { plot } from "./plot.js";
import { bytes, capital, el, short, track, words } from "./words.js";

const MOST_CLASSES = 26;
const MODEL = "model.safetensors";

// Panels, most telling first; none for a job without a result.
export function report(job) {
  const result = job.result;
  if (!result) return [];
  return [
    classes(result.report),
    forecast(result),
    reconstruction(job),
    job.task === "language_model" && job.state === "succeeded" ? writing(job) : null,
    figures(result),
    files(job),
  ].filter(Boolean);
}

// The network, drawn by the server; a wide one is scrolled.
export function picture(job) {
  if (!job.outline?.layers?.length) return null;
  const source = `/v1/jobs/${job.id}/network.svg`;
  const count = job.outline.layers.filter((layer) => !layer.path?.endsWith(".activation")).length;
  const image = el("img", { src: source, alt: `The network: ${count} layers, ${job.outline.parameters.toLocaleString("en")} parameters`, loading: "lazy" });
  return panel("Network", el("a", { class: "picture", href: source, target: "_blank", rel: "noopener", title: "Open the picture by itself" }, image));
}

function panel(title, ...parts) {
  return el("section", { class: "panel report" }, el("h3", {}, title), ...parts);
}

function classes(told) {
  if (!Array.isArray(told?.classes)) return null;
  const matrix = told.confusion_matrix;
  return panel("Classes",
    matrix && told.classes.length <= MOST_CLASSES && confusion(told.classes.map((one) => one.class), matrix),
    mixed(told),
    el("details", { open: told.classes.length <= 5 }, el("summary", {}, "Every class"), table(["class", "precision", "recall", "F1", "rows"],
      [...told.classes.map((one) => [one.class, share(one.precision), share(one.recall), share(one.f1), one.support.toLocaleString("en")]),
        ["mean of classes", share(told.macro.precision), share(told.macro.recall), share(told.macro.f1), ""]])));
}

function confusion(names, matrix) {
  const head = el("tr", {}, el("th", { class: "corner", scope: "col" }, "is ↓ taken for →"), names.map((name) => el("th", { scope: "col" }, el("span", {}, name))));
  const rows = matrix.map((counts, i) => {
    const total = counts.reduce((a, b) => a + b, 0) || 1;
    return el("tr", {}, el("th", { scope: "row" }, names[i]), counts.map((count, j) => {
      const cell = el("td", { class: i === j ? "hit" : count ? "slip" : "none", title: `${names[i]} taken for ${names[j]}: ${count} of ${total}` }, count ? String(count) : "·");
      cell.style.setProperty("--share", (count ? 0.12 + 0.88 * (count / total) : 0).toFixed(3));
      if (count / total > 0.55) cell.classList.add("strong");
      return cell;
    }));
  });
  const text = "A line for the rows of each class, a column for what the network took them for; test part.";
  return el("div", {}, el("p", { class: "sub" }, text), el("div", { class: "scroll" },
    el("table", { class: names.length > 14 ? "confusion dense" : "confusion", "aria-label": "Confusion matrix" }, el("thead", {}, head), el("tbody", {}, rows))));
}

function mixed({ classes: all, confusion_matrix: matrix }) {
  const pairs = (matrix || []).flatMap((counts, i) => counts.map((count, j) => ({ i, j, count }))).filter((p) => p.i !== p.j && p.count);
  pairs.sort((a, b) => b.count - a.count);
  if (!pairs.length) return matrix && el("p", { class: "sub" }, "No row was taken for another class.");
  const told = pairs.slice(0, 3).map((p) => `${all[p.i].class} for ${all[p.j].class} (${p.count})`);
  return el("p", { class: "sub" }, `Most often mistaken: ${told.join(", ")}.`);
}

function forecast(result) {
  const { forecasts, naive = {}, horizon } = result;
  if (!forecasts && !Object.keys(naive).length) return null;
  const shown = (forecasts?.rows || []).map((row, k) => plot(`Example ${k + 1} of the test part`, [
    row.seen && { name: "seen", kind: "seen", points: row.seen.map((v, i) => [i + 1 - row.seen.length, v]) },
    { name: "truth", kind: "truth", points: row.truth.map((v, i) => [i + 1, v]) },
    { name: "forecast", kind: "guess", points: row.forecast.map((v, i) => [i + 1, v]) },
  ].filter(Boolean), "step"));
  const [measure, lines] = Object.entries(horizon || {})[0] || [];
  const kinds = ["guess", "naive", "truth"];
  const ahead = lines && plot(`${capital(words(measure))} by step ahead`, Object.entries(lines).map(([name, values], k) => (
    { name, kind: kinds[k] || "seen", points: values.map((v, i) => [i + 1, v]) })), "step");
  return panel("Forecast", beside(result.test, naive), shown.length > 0 && el("div", { class: "plots" }, shown), ahead);
}

// The network's error beside those of forecasts that learn nothing.
function beside(test = {}, naive) {
  const metric = Object.keys(Object.values(naive)[0] || {}).find((name) => Number.isFinite(test[name]));
  if (!metric) return null;
  const rows = [["This network", test[metric]], ...Object.entries(naive).map(([name, scores]) => [words(name), scores[metric]])];
  const best = rows.reduce((a, b) => (b[1] < a[1] ? b : a));
  const verdict = best === rows[0] ? "better than the forecasts that learn nothing" : `${best[0]}, which learns nothing, is better`;
  return el("div", { class: "bars" }, el("p", { class: "sub" }, `${capital(words(metric))} on the test part: ${verdict}.`), bars(rows));
}

function bars(rows, say = short) {
  const most = Math.max(...rows.map(([, value]) => Math.abs(value))) || 1;
  return rows.map(([name, value], k) => el("div", { class: `bar ${k ? "theirs" : "ours"}` },
    el("span", {}, name), track(Math.abs(value) / most), el("span", { class: "value" }, say(value))));
}

function reconstruction(job) {
  const { reconstruction: told, latent } = job.result;
  if (!told) return null;
  const rows = [["Output", told.output], ["Noisy input", told.input]].filter(([, value]) => Number.isFinite(value));
  const gain = Number.isFinite(told.gain) ? `The network takes away noise: ${told.gain >= 0 ? "+" : "−"}${Math.abs(told.gain).toFixed(2)} ${told.unit} against its input. ` : "";
  const narrow = latent ? `At its narrowest, ${latent.layer} gives ${latent.numbers.toLocaleString("en")} numbers for a row, ${share(latent.share_of_input)} of the input.` : "";
  const heard = ["before.wav", "after.wav", "clean.wav"].filter((name) => job.artifacts.some((file) => file.name === name));
  return panel(capital(words(told.measure)), el("div", { class: "bars" }, bars(rows, (value) => `${value.toFixed(2)} ${told.unit}`)),
    (gain || narrow) && el("p", { class: "sub" }, gain + narrow),
    heard.length > 0 && el("div", { class: "sounds" }, heard.map((name) => el("label", {}, el("span", {}, capital(name.replace(".wav", ""))), el("audio", { controls: true, preload: "none", src: file(job, name) })))));
}

// Ask a language model to go on with a text.
function writing(job) {
  const prompt = el("textarea", { rows: "2", maxlength: "2000", spellcheck: "false", "aria-label": "Text to go on with" }, "ROMEO:\n");
  const said = el("pre", { class: "said", hidden: true, "aria-live": "polite" });
  const button = el("button", { type: "submit", class: "button strong" }, "Go on");
  const form = el("form", { class: "writing" }, prompt, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = prompt.value;
    button.disabled = true;
    try {
      const found = await api.post(`/v1/models/${job.id}/predict`, { inputs: [text] });
      said.replaceChildren(el("span", { class: "given" }, text), found.predictions[0].text);
      said.hidden = false;
    } catch (problem) {
      said.dispatchEvent(new CustomEvent("problem", { detail: problem, bubbles: true }));
    }
    button.disabled = false;
  });
  return panel("It writes", form, said);
}

function figures(result) {
  const flat = Object.entries(result.report || {}).filter(([name, value]) => Number.isFinite(value) && !(name in (result.test || {})));
  const rows = Object.entries(result.test || {}).filter(([, value]) => Number.isFinite(value));
  if (rows.length + flat.length < 2) return null;
  const last = result.metrics || {};
  const columns = [["validation", (name) => last[`val_${name}`]], ["training", (name) => last[name]]].filter(([, of]) => rows.some(([name]) => Number.isFinite(of(name))));
  const told = [...rows, ...flat].map(([name, value]) => [words(name), short(value), ...columns.map(([, of]) => short(of(name)))]);
  return panel("Figures", table(["", "test", ...columns.map(([head]) => head)], told));
}

function files(job) {
  if (job.state !== "succeeded" || job.artifacts.length < 2) return null;
  const rows = job.artifacts.map((one) => el("li", {}, el("a", { href: file(job, one.name), download: true }, one.name), el("span", { class: "sub" }, bytes(one.size))));
  return panel("Files", el("ul", { class: "files" }, rows));
}

function table(heads, rows) {
  return el("div", { class: "scroll" }, el("table", { class: "figures" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, k) => (k ? el("td", {}, cell) : el("th", { scope: "row" }, cell))))))));
}

const file = (job, name) => (name === MODEL ? `/v1/models/${job.id}/export?format=safetensors` : `/v1/models/${job.id}/files/${name}`);
const share = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(1)}\u00a0%` : "–");
