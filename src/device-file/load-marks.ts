/** In the address of a module: which load of a device's file it belongs to. */
export const LOAD_PARAMETER = 'virtio-misc-load';

/** The last load of each device's file: what its modules read is on the disk still, until one of them is saved. */
export const lastLoads: Set<string> = new Set();

/** The path of a module's address as its owner knows it. */
export function pathOf(url: string): string {
  return decodeURIComponent(new URL(url).pathname);
}

/** Text in which files are named as their owner knows them. */
export function withoutMarks(text: string): string {
  return text
    .replaceAll(new RegExp(`(file://[^\\s?'"]*)\\?${LOAD_PARAMETER}=\\d+`, 'g'), (_, url: string) =>
      pathOf(url),
    )
    .replaceAll(new RegExp(`\\?${LOAD_PARAMETER}=\\d+`, 'g'), '');
}
