// The list of studies: what each asks, how far its trials are, and what it found. Renewed while anything runs.

import * as api from "./api.js";
import { age, el, over, track, words } from "./words.js";

export class Studies {
  constructor(node, more, empty) {
    Object.assign(this, { body: node.querySelector("tbody"), table: node, more, empty, rows: new Map(), older: [], cursor: null, chosen: null });
    this.running = true;
  }

  async renew() {
    const page = await api.studies();
    if (!this.older.length) this.cursor = page.next_cursor;
    const fresh = new Set(page.items.map((study) => study.id));
    const all = [...page.items, ...this.older.filter((study) => !fresh.has(study.id))];
    this.running = all.some((study) => !over(study));
    this.show(all);
  }

  async next() {
    const page = await api.studies(this.cursor);
    this.older.push(...page.items);
    this.cursor = page.next_cursor;
    await this.renew();
  }

  forget() {
    this.older = [];
    return this.renew();
  }

  show(all) {
    const kept = new Map();
    for (const study of all) {
      const text = JSON.stringify(study) + age(study.created_at);
      const old = this.rows.get(study.id);
      kept.set(study.id, old?.text === text ? old : { text, node: row(study) });
    }
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.id : null;
    this.rows = kept;
    this.body.replaceChildren(...[...kept.values()].map((entry) => entry.node));
    if (focused) this.body.querySelector(`tr[data-id="${focused}"] a`)?.focus({ preventScroll: true });
    this.empty.hidden = all.length > 0;
    this.table.hidden = all.length === 0;
    this.more.hidden = !this.cursor;
    this.mark(this.chosen);
  }

  mark(chosen) {
    this.chosen = chosen;
    for (const [id, { node }] of this.rows) {
      node.classList.toggle("chosen", id === chosen);
      const link = node.querySelector("a");
      if (id === chosen) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  }
}

function row(study) {
  const what = [words(study.type), study.labels.join(", ")].filter(Boolean).join(", ");
  return el("tr", { "data-id": study.id },
    el("td", {}, el("a", { class: "name", href: `#/studies/${study.id}` }, study.name), el("span", { class: "sub" }, what),
      study.verdict && el("span", { class: "sub gist" }, study.verdict)),
    el("td", { class: "state" }, badge(study), !over(study) && track(study.progress, `Progress of ${study.name}`)),
    el("td", { class: "score" }, counted(study)),
    el("td", { class: "age sub" }, age(study.created_at)));
}

export function badge(study) {
  return el("span", { class: `badge ${study.state}` }, study.cancel_requested && !over(study) ? "cancelling" : study.state);
}

export function counted(study) {
  const all = Object.values(study.trials).reduce((a, b) => a + b, 0);
  const live = ["waiting", "queued", "running"].reduce((sum, state) => sum + (study.trials[state] || 0), 0);
  return live ? `${all - live} of ${all}` : String(all);
}
