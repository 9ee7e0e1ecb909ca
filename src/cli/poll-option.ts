import { InvalidArgumentError, Option } from 'commander';

const NANOSECONDS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6 };
/** ns. What a program does longer than that is not polling. */
const MOST = 1e9;

/** `--poll`, for the commands that serve: `true`, or for how many ns. */
export function pollOption(): Option {
  return new Option(
    '--poll [time]',
    'look at the rings after each request instead of waiting for kicks: for so long, such as 50us, or as long as it pays',
  ).argParser((text) => {
    const [, number, unit] = /^(\d+(?:\.\d+)?)(ns|us|ms)$/.exec(text) ?? [];
    const time = Number(number) * (NANOSECONDS[unit!] ?? Number.NaN);
    if (!(time > 0 && time <= MOST))
      throw new InvalidArgumentError('write a time such as 50us, or none at all.');
    return time;
  });
}
