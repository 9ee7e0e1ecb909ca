import { effect, type Signal, signal } from '@preact/signals';

const NAMES = [
  'ground',
  'panel',
  'raised',
  'line',
  'line-strong',
  'ink',
  'ink-2',
  'ink-3',
  'accent',
  'accent-soft',
  'available',
  'taken',
  'used',
  'broken',
  'free',
] as const;

/** The colours of the style sheet, for what is drawn. */
export type Palette = Readonly<Record<(typeof NAMES)[number], string>>;

export type Theme = 'auto' | 'light' | 'dark';
const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];
const KEPT_AS = 'virtio-misc-theme';

/** `auto` is as the system has it. */
export const theme: Signal<Theme> = signal(THEMES.find((one) => one === kept()) ?? 'auto');

/** Goes up when colours changed. */
export const paletteVersion: Signal<number> = signal(0);

function kept(): string | null {
  try {
    return localStorage.getItem(KEPT_AS);
  } catch {
    return null;
  }
}

let colours: Palette | undefined;

/** What the colours are now. */
export function palette(): Palette {
  if (colours !== undefined) return colours;
  const probe = document.createElement('span');
  document.body.append(probe);
  const entries = NAMES.map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  });
  probe.remove();
  colours = Object.fromEntries(entries) as Palette;
  return colours;
}

/** The other of dark and light. */
export function toggleTheme(): void {
  const dark =
    theme.value === 'dark' || (theme.value === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
  theme.value = dark ? 'light' : 'dark';
}

function changed(): void {
  colours = undefined;
  paletteVersion.value = paletteVersion.peek() + 1;
}

/** Has the page wear the theme, and keep it. */
export function wearTheme(): void {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed);
  effect(() => {
    const { dataset } = document.documentElement;
    if (theme.value === 'auto') delete dataset.theme;
    else dataset.theme = theme.value;
    try {
      if (theme.value === 'auto') localStorage.removeItem(KEPT_AS);
      else localStorage.setItem(KEPT_AS, theme.value);
    } catch {
      // A browser that keeps nothing forgets this, too.
    }
    changed();
  });
}
