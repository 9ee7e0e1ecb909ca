/** Whether a device is named by its file. */
export function isDeviceFile(name: string): boolean {
  return /\.m?[jt]s$/.test(name);
}
