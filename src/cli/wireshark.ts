import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { dissector } from '../record/dissector.js';
import { DEVICE_LIST, findDevice } from './device-options.js';

/** `virtio-misc wireshark`: what Wireshark needs to show recordings. */
export function wiresharkCommand(): Command {
  return new Command('wireshark')
    .summary('print a dissector for Wireshark, to show recordings by name')
    .description(
      `Prints a dissector in Lua for what 'serve' or 'vm' wrote with --record. It knows the structs of this package's devices and of the\nstandard ones; those of devices that are named here can be filtered by, too.\n\n  virtio-misc wireshark > ~/.local/lib/wireshark/plugins/virtio-misc.lua\n  virtio-misc wireshark ./my-device.ts > virtio.lua && tshark -X lua_script:virtio.lua -r FILE\n\nDevices:\n${DEVICE_LIST}`,
    )
    .argument('[device...]', 'devices of your own, by their files')
    .action(async (names: string[]) => {
      const devices = [];
      for (const name of names) devices.push((await findDevice(name, {})).make({}));
      const template = readFileSync(new URL('../../../src/record/virtio-misc.lua', import.meta.url), 'utf8');
      process.stdout.write(dissector(template, devices));
    });
}
