// Plain data as YAML, in the form in which people write specs: two spaces, short lists of plain values on one line.

const PLAIN = /^[A-Za-z_][\w./+-]*(?: [\w./+-]+)*$/;
const WORDS = /^(?:true|false|yes|no|on|off|null|y|n|nan|inf)$/i;
const LINE = 88;

export function yaml(value) {
  return `${block(value, "").join("\n")}\n`;
}

function block(value, indent) {
  if (Array.isArray(value) && value.length) return value.flatMap((item) => listed(item, indent));
  if (holds(value)) return Object.entries(value).flatMap(([key, part]) => named(key, part, indent));
  return [indent + flow(value)];
}

function named(key, part, indent) {
  const short = flow(part);
  const flat = !holds(part) && !(Array.isArray(part) && part.some((item) => typeof item === "object" && item !== null));
  if (flat && indent.length + key.length + short.length < LINE) return [`${indent}${text(key)}: ${short}`];
  if (!part || typeof part !== "object") return [`${indent}${text(key)}: ${short}`];
  return [`${indent}${text(key)}:`, ...block(part, `${indent}  `)];
}

function listed(item, indent) {
  const short = flow(item);
  if (typeof item !== "object" || item === null || indent.length + short.length < LINE) return [`${indent}- ${short}`];
  const [first, ...rest] = block(item, `${indent}  `);
  return [`${indent}- ${first.trimStart()}`, ...rest];
}

// On one line: [1, 2], {type: adam, learning_rate: 0.01}
function flow(value) {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.entries(value).map(([key, part]) => `${text(key)}: ${flow(part)}`).join(", ")}}`;
  return typeof value === "string" ? text(value) : typeof value === "number" ? number(value) : String(value);
}

// YAML 1.1 takes 1e-05 for a word: a power of ten needs its point.
const number = (value) => String(value).replace(/^(-?\d+)e/, "$1.0e");
const text = (value) => (PLAIN.test(value) && !WORDS.test(value) ? value : JSON.stringify(value));
const holds = (value) => Boolean(value) && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length > 0;
