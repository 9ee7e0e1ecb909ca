/**
 * Measures contenders in turns, each once a round and each round begun by another, so that a machine that changes its speed meanwhile
 * is the same for all.
 *
 * @returns for each contender, in the order given, its samples by round.
 */
export async function alternate<Sample>(
  rounds: number,
  contenders: readonly (() => Promise<Sample>)[],
): Promise<Sample[][]> {
  const samples = contenders.map((): Sample[] => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (round + turn) % contenders.length;
      samples[index]!.push(await contenders[index]!());
    }
  }
  return samples;
}
