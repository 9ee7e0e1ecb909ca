import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

type Rgb = readonly [number, number, number];

const css = readFileSync(
  new URL('../../../../../src/inspector/page/style/tokens.css', import.meta.url),
  'utf8',
);
const themes = ['light', 'dark'] as const;

/** A colour of the style sheet, linear. */
function colour(name: string, theme: (typeof themes)[number]): Rgb {
  const [, ...both] = new RegExp(`--${name}: light-dark\\((#[0-9a-f]{6}), (#[0-9a-f]{6})\\)`).exec(css) ?? [];
  const hex = both[themes.indexOf(theme)];
  assert.ok(hex !== undefined, name);
  return [1, 3, 5].map((at) => {
    const part = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as unknown as Rgb;
}

function luminance([r, g, b]: Rgb): number {
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** WCAG 2.2. */
function contrast(a: Rgb, b: Rgb): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

/** How eyes with one kind of cone missing see colours (Machado and others, 2009, severity 1). */
const EYES: Readonly<Record<string, readonly Rgb[]>> = {
  all: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  'no long waves': [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  'no middle waves': [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  'no short waves': [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

/** Oklab: distances in it are as large as they look. */
function oklab([r, g, b]: Rgb): Rgb {
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

for (const theme of themes) {
  test(`text can be read: ${theme}`, () => {
    for (const ground of ['ground', 'panel', 'raised'])
      for (const ink of ['ink', 'ink-2', 'ink-3', 'accent', 'broken']) {
        const has = contrast(colour(ink, theme), colour(ground, theme));
        assert.ok(has >= (ink === 'ink-3' ? 4 : 4.5), `${ink} on ${ground}: ${has.toFixed(2)}`);
      }
    assert.ok(contrast(colour('on-accent', theme), colour('accent', theme)) >= 4.5);
  });

  for (const [eyes, rows] of Object.entries(EYES)) {
    test(`states are told apart: ${theme}, ${eyes}`, () => {
      const states = ['available', 'taken', 'used', 'broken'].map((name) => {
        const seen = rows.map((row) => {
          const [r, g, b] = colour(name, theme);
          return Math.min(1, Math.max(0, row[0] * r + row[1] * g + row[2] * b));
        }) as unknown as Rgb;
        return [name, oklab(seen)] as const;
      });
      for (const [i, [one, a]] of states.entries())
        for (const [other, b] of states.slice(i + 1)) {
          const distance = Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
          assert.ok(distance > 0.08, `${one} and ${other}: ${distance.toFixed(3)}`);
        }
    });
  }
}
