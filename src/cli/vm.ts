import { Command } from 'commander';
export function vmCommand(): Command {
  return new Command('vm');
}
