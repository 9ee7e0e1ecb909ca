/**
 * C0 and C1 controls, what separates lines, and what changes the direction of text (Unicode's Bidi_Control): these steer a terminal,
 * or make a line look like another.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const STEERING = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text from elsewhere as it may be shown: what would steer the terminal is written as `\x1b` or `\u202e`. */
export function printable(text: string): string {
  return text.replace(STEERING, escaped);
}

function escaped(character: string): string {
  const code = character.charCodeAt(0).toString(16);
  return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u${code.padStart(4, '0')}`;
}
