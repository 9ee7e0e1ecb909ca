/**
 * What compilers said, without what make says about itself, and with files named as their owner knows them.
 *
 * @param sources - the files that were copied into the folder `build` and compiled there.
 */
export function compilerWords(
  output: string,
  build: string,
  sources: readonly { readonly from: string; readonly to: string }[],
): string {
  let words = output
    .split('\n')
    .filter((line) => !/^(make(\[\d+\])?: |\s+[A-Z]+( \[M\])? +\S+$)/.test(line))
    .join('\n');
  for (const { from, to } of sources) words = words.replaceAll(`${build}/${to}`, from);
  return words.trim();
}
