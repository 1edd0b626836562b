// The card page's script. The page works without it; with it, digits are grouped as they are typed, errors show at
// once, and the card leaves the browser only as HPKE (RFC 9180) ciphertext for the vault's own key.
//
// It reads no text of its own: issuer ranges, words and the public keys all come from the page.

import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { XWing } from "@hpke/hybridkem-x-wing";

const form = document.getElementById("card-form");
const inputs = Object.fromEntries(["number", "expiry", "code", "holder"].map((name) => [name, document.getElementById(name)]));
const issuers = JSON.parse(form.dataset.issuers).map(([first, last, brand, lengths, codeLength]) => ({
  first,
  last,
  brand,
  lengths,
  codeLength,
}));
const brandNames = JSON.parse(form.dataset.brandNames);
const submitButton = document.getElementById("send");
const status = document.getElementById("status");
const kems = { "x-wing": XWing, x25519: DhkemX25519HkdfSha256 };
const recipient = firstUsable(JSON.parse(form.dataset.keys));
let sending = false;

const words = (flaw) => document.querySelector(`#words [data-flaw="${flaw}"]`).textContent;

const isDigit = (codePoint) => /\p{Nd}/u.test(String.fromCodePoint(codePoint));

// Digits of any script (an Arabic or Devanagari keyboard) as ASCII: Unicode encodes each script's ten in a row from zero.
const asciiDigits = (text) =>
  text.normalize("NFKC").replace(/\p{Nd}/gu, (digit) => {
    let value = 0;
    while (isDigit(digit.codePointAt(0) - value - 1)) value += 1;
    return String(value);
  });

// Everything but digits dropped. The vault reads the same text with its own, stricter eyes.
const digitsOf = (text) => asciiDigits(text).replace(/\D/g, "");

const issuerOf = (digits) =>
  issuers.find(({ first, last }) => {
    const head = digits.slice(0, first.length);
    return head.length === first.length && first <= head && head <= last;
  });

function passesLuhn(digits) {
  let total = 0;
  [...digits].reverse().forEach((digit, place) => {
    const value = Number(digit) * (1 + (place % 2));
    total += value > 9 ? value - 9 : value;
  });
  return total % 10 === 0;
}

function grouped(digits, issuer) {
  const sizes = issuer?.brand === "amex" ? [4, 6, 5] : [4, 4, 4, 4, 3];
  const parts = [];
  let rest = digits;
  for (const size of sizes) {
    if (rest) parts.push(rest.slice(0, size));
    rest = rest.slice(size);
  }
  return parts.join(" ") + rest;
}

// Rewrites a field and keeps the caret after the same digit, so that editing in the middle does not jump.
function rewrite(input, text) {
  if (input.value === text) return;
  const digitsBefore = digitsOf(input.value.slice(0, input.selectionStart)).length;
  const atEnd = input.selectionStart === input.value.length;
  input.value = text;
  let caret = 0;
  for (let seen = 0; seen < digitsBefore && caret < text.length; caret += 1) if (/\d/.test(text[caret])) seen += 1;
  if (document.activeElement === input) input.setSelectionRange(atEnd ? text.length : caret, atEnd ? text.length : caret);
}

function formatNumber() {
  const digits = digitsOf(inputs.number.value).slice(0, 19);
  const issuer = issuerOf(digits);
  rewrite(inputs.number, grouped(digits, issuer));
  const name = issuer ? brandNames[issuer.brand] : "";
  const hint = document.getElementById("number-brand");
  if (hint.textContent !== name) hint.textContent = name;
}

// Puts the slash in after two digits; a slash the person types as well is not a second one.
function formatExpiry(event) {
  if (event.inputType?.startsWith("delete")) return;
  const typed = asciiDigits(inputs.expiry.value).replace(/[\s/.-]+/g, "/");
  const [, month, year] = /^(\d{2})\/?(\d{0,4})$/.exec(typed) ?? [];
  if (month) rewrite(inputs.expiry, `${month}/${year}`);
}

function numberFlaw() {
  const digits = digitsOf(inputs.number.value);
  if (!digits) return "number_missing";
  const issuer = issuerOf(digits);
  if (issuer && !issuer.lengths.includes(digits.length)) {
    return digits.length < Math.max(...issuer.lengths) ? "number_incomplete" : "number_invalid";
  }
  if (digits.length < 12) return "number_incomplete";
  if (!passesLuhn(digits)) return "number_invalid";
  return issuer ? null : "number_unsupported";
}

function expiryFlaw() {
  const typed = asciiDigits(inputs.expiry.value).replace(/\s/g, "");
  if (!typed) return "expiry_missing";
  const match = /^(\d{1,2})[/.-](\d{2}|\d{4})$|^(\d{2})(\d{2}|\d{4})$/.exec(typed);
  if (!match) return "expiry_invalid";
  const month = Number(match[1] ?? match[3]);
  const year = Number((match[2] ?? match[4]).slice(-2)) + 2000;
  if (month < 1 || month > 12) return "expiry_invalid";
  // The person's own calendar: the card is good through the last day of its month.
  return new Date(year, month, 1) <= new Date() ? "expiry_past" : null;
}

function codeFlaw() {
  const digits = digitsOf(inputs.code.value);
  if (!digits) return inputs.code.value.trim() ? "code_invalid" : "code_missing";
  const issuer = issuerOf(digitsOf(inputs.number.value));
  return (issuer ? digits.length === issuer.codeLength : digits.length === 3 || digits.length === 4) ? null : "code_length";
}

const holderFlaw = () => (inputs.holder.value.trim() ? null : "holder_missing");

const flawOf = { number: numberFlaw, expiry: expiryFlaw, code: codeFlaw, holder: holderFlaw };

function showFlaw(name, flaw) {
  const error = document.getElementById(`${name}-error`);
  const text = flaw ? words(flaw) : "";
  if (error.textContent !== text) error.textContent = text;
  if (flaw) inputs[name].setAttribute("aria-invalid", "true");
  else inputs[name].removeAttribute("aria-invalid");
}

function showSummary(flaws) {
  const items = flaws.map(({ name, text }) => {
    const link = document.createElement("a");
    link.href = `#${name}`;
    link.textContent = text;
    const item = document.createElement("li");
    item.append(link);
    return item;
  });
  document.getElementById("summary-list").replaceChildren(...items);
  document.getElementById("summary").hidden = items.length === 0;
}

// To the first field with an error, whose description is the error; where no field is to blame, to the summary.
function focusFirstFlaw() {
  (form.querySelector("[aria-invalid]") ?? document.getElementById("summary")).focus();
}

// The first key, in the page's order of preference, with which this browser seals a trial text: X-Wing, or X25519 where
// that fails. Null where it has no WebCrypto: the form then posts plain over TLS, as without this script.
async function firstUsable(keys) {
  for (const key of keys) {
    try {
      const suite = new CipherSuite({ kem: new kems[key.suite](), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
      const recipient = { ...key, suite, publicKey: await suite.kem.deserializePublicKey(bytesOf(key.public_key)) };
      await sealTo(recipient, new Uint8Array(1));
      return recipient;
    } catch {
      continue;
    }
  }
  return null;
}

function bytesOf(base64url) {
  const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0)).buffer;
}

const textOf = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

async function sealTo({ suite, key_id, info, publicKey }, plaintext) {
  const sender = await suite.createSenderContext({ recipientPublicKey: publicKey, info: new TextEncoder().encode(info) });
  const ct = await sender.seal(plaintext);
  return { sealed_kid: key_id, sealed_enc: textOf(sender.enc), sealed_ct: textOf(ct) };
}

function seal(recipient) {
  const typed = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value]));
  return sealTo(recipient, new TextEncoder().encode(JSON.stringify(typed)));
}

// What is typed loses its names, so that the form cannot post it; only the sealed parts go.
function postSealed(parts) {
  for (const input of Object.values(inputs)) input.removeAttribute("name");
  for (const [name, value] of Object.entries(parts)) {
    const hidden = document.createElement("input");
    hidden.type = "hidden";
    hidden.name = name;
    hidden.value = value;
    hidden.dataset.sealed = "";
    form.append(hidden);
  }
  form.submit();
}

function setSending(now) {
  sending = now;
  submitButton.setAttribute("aria-disabled", String(now));
  status.textContent = now ? words("sealing") : "";
}

async function onSubmit(event) {
  event.preventDefault();
  if (sending) return;
  const flaws = Object.entries(flawOf)
    .map(([name, find]) => ({ name, flaw: find() }))
    .filter(({ flaw }) => flaw);
  for (const name of Object.keys(inputs)) showFlaw(name, flaws.find((found) => found.name === name)?.flaw);
  showSummary(flaws.map(({ name, flaw }) => ({ name, text: words(flaw) })));
  if (flaws.length) {
    focusFirstFlaw();
    return;
  }
  setSending(true);
  const usable = await recipient;
  if (!usable) {
    form.submit();
    return;
  }
  try {
    postSealed(await seal(usable));
  } catch {
    setSending(false);
    showSummary([{ name: "send", text: words("sealing_failed") }]);
    focusFirstFlaw();
  }
}

// Back from the next page: nothing of the card is left in the form.
function onReturn(event) {
  if (!event.persisted) return;
  for (const [name, input] of Object.entries(inputs)) input.name = name;
  for (const hidden of form.querySelectorAll("[data-sealed]")) hidden.remove();
  inputs.number.value = "";
  inputs.code.value = "";
  formatNumber();
  setSending(false);
}

inputs.number.addEventListener("input", formatNumber);
inputs.expiry.addEventListener("input", formatExpiry);
for (const [name, input] of Object.entries(inputs)) {
  input.addEventListener("blur", () => input.value.trim() && showFlaw(name, flawOf[name]()));
  input.addEventListener("input", () => input.hasAttribute("aria-invalid") && showFlaw(name, flawOf[name]()));
}
form.addEventListener("submit", onSubmit);
window.addEventListener("pageshow", onReturn);
formatNumber();
if (!document.getElementById("summary").hidden) focusFirstFlaw();
