import { Option } from 'commander';

/** `--no-type-check`, for the commands that serve. */
export function typeCheckOption(): Option {
  return new Option(
    '--no-type-check',
    "do not check the types of a device's file, where TypeScript is installed",
  );
}
