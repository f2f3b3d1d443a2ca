// The fields of a kind of study: from its schema to what people type, and back to what the API reads.

const SHARED = ["seeds", "metric", "parallel"];
const HIDDEN = new Set(["type", "schema", "name", "labels", "job", ...SHARED]);
const ABOUT = {
  learning_rates: "Rates to compare, separated by commas.",
  lowest: "The rate at which the run begins.",
  highest: "The rate at which it ends.",
  steps: "Updates of the run.",
  descents: "Batch sizes, separated by commas: 1 is stochastic, full is all rows.",
  fractions: "Shares of the train rows, separated by commas.",
  classical: "Compare with classical models on the same rows.",
  classical_seconds: "Time for the classical models in each job, in seconds.",
  longest: "With fewer rows, train for so many times as many epochs at most.",
  space: "One place in the job on each line, and its range or its choices: training.optimizer.learning_rate: 0.0001 to 0.1 log",
  trials: "Trials in all; the job as it stands is the first of them.",
  together: "Trials that begin at once, from what is known by then.",
  sampler: "tpe learns from the trials before, random does not.",
  pruner: "none, median or quartile: what is worse than the trials before is given up early.",
  vary: "One place in the job on each line, and its values: training.batch_size: 16, 64",
};

// [{ name, form: number | text | switch | list | lines, value, about }], its own fields first
export function fieldsOf(schema, kind, job) {
  const { properties } = Object.values(schema.$defs).find((one) => one.properties?.type?.const === kind);
  const own = Object.keys(properties).filter((name) => !HIDDEN.has(name));
  return [...own, ...SHARED].map((name) => ({
    name, form: formOf(name, properties[name]), value: (PROPOSED[name] ?? (() => properties[name].default))(job), about: ABOUT[name] || properties[name].description || "",
  }));
}

function formOf(name, property) {
  if (property.type === "boolean") return "switch";
  if (property.type === "array") return "list";
  if (property.type === "object") return "lines";
  return property.type === "integer" || property.type === "number" ? "number" : "text";
}

// To begin with: around the job's own learning rate, for a grid three values, for a search a wide range.
const PROPOSED = {
  vary: (job) => aroundRate(job, (rate) => [rate / 3, rate, rate * 3].map(short)),
  space: (job) => aroundRate(job, (rate) => ({ low: short(rate / 100), high: short(rate * 10), scale: "log" })),
};

function aroundRate(job, made) {
  const rate = job.training?.optimizer?.learning_rate ?? job.agent?.learning_rate;
  const place = job.training ? "training.optimizer.learning_rate" : "agent.learning_rate";
  return rate ? { [place]: made(rate) } : {};
}

const short = (value) => Number(value.toPrecision(3));

// Fill the field in.
export function write(part) {
  if (part.form === "switch") part.node.checked = part.value;
  else part.node.value = written(part);
}

function written({ form, value }) {
  if (form === "list") return value.map((one) => String(one.batch_size ?? one)).join(", ");
  if (form === "lines") return Object.entries(value).map(([place, value]) => `${place}: ${axisText(value)}`).join("\n");
  return value === null || value === undefined ? "" : String(value);
}

// Choices as they are, a range as low to high with its step and its scale.
function axisText(axis) {
  if (Array.isArray(axis)) return axis.join(", ");
  return `${axis.low} to ${axis.high}${axis.step ? ` step ${axis.step}` : ""}${axis.scale === "log" ? " log" : ""}`;
}

// What the field says; undefined where nothing was typed and the default holds.
export function read({ name, form, node }) {
  if (form === "switch") return node.checked;
  if (form === "lines") return Object.fromEntries(node.value.split("\n").filter((line) => line.trim()).map(name === "space" ? axis : pair));
  if (!node.value.trim()) return undefined;
  if (form === "list") return values(node.value);
  return form === "number" ? plain(node.value) : node.value.trim();
}

function pair(line) {
  const at = line.indexOf(":");
  return at < 0 ? [line.trim(), []] : [line.slice(0, at).trim(), values(line.slice(at + 1))];
}

function axis(line) {
  const [place, choices] = pair(line);
  const range = line.slice(line.indexOf(":") + 1).trim().match(/^(\S+) to (\S+)(?: step (\S+))?( log)?$/);
  if (!range) return [place, { choices }];
  const [, low, high, step, log] = range;
  return [place, { low: plain(low), high: plain(high), ...(step && { step: plain(step) }), ...(log && { scale: "log" }) }];
}

const values = (text) => text.split(",").filter((one) => one.trim()).map(plain);

// As YAML reads it: a number, true or false, else a word, which the API may refuse in its own words.
function plain(text) {
  const word = text.trim();
  const number = Number(word);
  if (Number.isFinite(number)) return number;
  return { true: true, false: false, null: null }[word] ?? word;
}
