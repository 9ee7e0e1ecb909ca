import { InvalidArgumentError, Option } from 'commander';

/** `--metrics`. */
export function metricsOption(): Option {
  return new Option(
    '--metrics <port>',
    'serve metrics for Prometheus on 127.0.0.1; 0 for any port',
  ).argParser((text) => {
    if (!/^\d+$/.test(text) || Number(text) > 65_535)
      throw new InvalidArgumentError('write a port from 0 to 65535.');
    return Number(text);
  });
}
