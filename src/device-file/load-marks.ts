/** In the address of a module: which load of a device's file it belongs to. */
export const LOAD_PARAMETER = 'virtio-misc-load';

/** For each load of a device's file that matters still: whether what it read of a file is what is there now. */
export const currentLoads: Map<string, (path: string) => boolean> = new Map();

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
