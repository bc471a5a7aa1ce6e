// BERT's tokenizer of a tokenizer.json, with the same ids as Hugging Face `tokenizers` gives. The npm package splits
// words into pieces; its own normalizer and splitter differ from the original in capital sigmas, ideographs beyond
// 16 bits and whatever Unicode added later, so these two are here.
import { Tokenizer } from "./tokenizers/tokenizers.min.js";
import { CONTROL, IDEOGRAPH, MARK, PUNCTUATION, SPACE } from "./unicode.js";

// Whether a code point is in one of the ranges.
function among(text) {
  const ranges = text.trim().split(/\s+/).map((range) => range.split("-").map((end) => parseInt(end, 16)));
  return (point) => {
    let low = 0;
    let high = ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const [first, last = first] = ranges[middle];
      if (point < first) high = middle - 1;
      else if (point > last) low = middle + 1;
      else return true;
    }
    return false;
  };
}

const isControl = among(CONTROL);
const isSpace = among(SPACE);
const isMark = among(MARK);
const isIdeograph = among(IDEOGRAPH);
const isPunctuation = among(PUNCTUATION);
// Spaces for the splitter alone: a normalizer that cleans takes them out as control characters.
const isBreak = (point) => isSpace(point) || point === 0x0b || point === 0x0c || point === 0x85;

function each(text, change) {
  let made = "";
  for (const character of text) made += change(character, character.codePointAt(0));
  return made;
}

// In the original's order, each character by itself.
export function normalizer({ clean_text: cleans, handle_chinese_chars: parts, strip_accents: strips, lowercase }) {
  return (text) => {
    let made = text;
    if (cleans) made = each(made, (c, point) => (isControl(point) ? "" : isSpace(point) ? " " : c));
    if (parts) made = each(made, (c, point) => (isIdeograph(point) ? ` ${c} ` : c));
    if (strips ?? lowercase) made = each(made.normalize("NFD"), (c, point) => (isMark(point) ? "" : c));
    if (lowercase) made = each(made, (c) => c.toLowerCase());
    return made;
  };
}

export function words(text) {
  const found = [];
  let open = false;
  for (const character of text) {
    const point = character.codePointAt(0);
    if (isBreak(point)) {
      open = false;
    } else if (isPunctuation(point) || !open) {
      found.push(character);
      open = !isPunctuation(point);
    } else {
      found[found.length - 1] += character;
    }
  }
  return found;
}

// `context`: a longer text loses its end, but not its last token. Returns a function from a text to its ids.
export function bertTokenizer(document, context) {
  const tokenizer = new Tokenizer(document, {});
  tokenizer.normalizer = normalizer(document.normalizer);
  tokenizer.pre_tokenizer = words;
  return (text) => {
    const { ids } = tokenizer.encode(text);
    return ids.length <= context ? ids : [...ids.slice(0, context - 1), ids.at(-1)];
  };
}
