/** A line of a source file in which a fault may be planted. */
export type Candidate = { file: string; line: number };

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The lines of a source file that hold code: no blank, comment, import, or lone bracket. */
export function codeLines(file: string, text: string): Candidate[] {
  const found: Candidate[] = [];
  let inComment = false;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line.startsWith('/*')) inComment = true;
    const code = !inComment && /\w/.test(line) && !/^(\/\/|import |export type |type |export \{)/.test(line);
    if (code) found.push({ file, line: index + 1 });
    if (line.endsWith('*/')) inComment = false;
  }
  return found;
}

/** `count` of the candidates, each at most once, in the order in which they stand. */
export function sample(candidates: Candidate[], count: number, random: () => number): Candidate[] {
  const pool = candidates.slice();
  const chosen = new Set<Candidate>();
  while (chosen.size < Math.min(count, candidates.length)) {
    const [one] = pool.splice(Math.floor(random() * pool.length), 1);
    if (one !== undefined) chosen.add(one);
  }
  return candidates.filter((candidate) => chosen.has(candidate));
}
