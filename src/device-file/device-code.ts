/** One file of a device's code, as a load of it read it. */
export interface CodeModule {
  /** Without types. */
  readonly text: string;
  /** Of the file. */
  readonly hash: string;
  /** What it imports of the author's own files, and where that was found. */
  readonly imports: ReadonlyMap<string, string>;
}

/** The code of a device, as one load read it: another process may load the same, whatever is on the disk by then. */
export interface DeviceCode {
  /** The device's file. */
  readonly main: string;
  /** That and what it imports, by path: all but packages. */
  readonly modules: ReadonlyMap<string, CodeModule>;
}

type Written = readonly [path: string, text: string, hash: string, imports: readonly [string, string][]];

export function encodeCode({ main, modules }: DeviceCode): Uint8Array {
  const written = [...modules].map(
    ([path, { text, hash, imports }]): Written => [path, text, hash, [...imports]],
  );
  return new TextEncoder().encode(JSON.stringify({ main, modules: written }));
}

/** @throws SyntaxError for what is none. */
export function decodeCode(bytes: Uint8Array): DeviceCode {
  const { main, modules } = JSON.parse(new TextDecoder().decode(bytes)) as {
    main: string;
    modules: readonly Written[];
  };
  return {
    main,
    modules: new Map(
      modules.map(([path, text, hash, imports]) => [path, { text, hash, imports: new Map(imports) }]),
    ),
  };
}
