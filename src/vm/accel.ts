import { accessSync, constants } from 'node:fs';

/** Where Linux offers KVM. */
const KVM = '/dev/kvm';

/** The accelerator to take unless one is named: KVM where this user may use it. The device is not opened to find out. */
export function bestAccel(device: string = KVM): 'kvm' | 'tcg' {
  try {
    accessSync(device, constants.R_OK | constants.W_OK);
    return 'kvm';
  } catch {
    return 'tcg';
  }
}
