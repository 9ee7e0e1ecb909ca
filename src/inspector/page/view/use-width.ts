import { type Signal, useSignal } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

/** How wide an element is, CSS pixels. */
export function useWidth<Element extends HTMLElement>(): [RefObject<Element | null>, Signal<number>] {
  const element = useRef<Element>(null);
  const width = useSignal(600);
  useEffect(() => {
    if (element.current === null) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry !== undefined) width.value = entry.contentRect.width;
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  });
  return [element, width];
}
