import { effect } from '@preact/signals';
import type { RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { paletteVersion } from './palette.js';

/** ms between two pictures that only time makes different: smooth, and half of what the screen could. */
const PAUSE = 24;

/** A canvas to draw on, in CSS pixels. */
export interface Sheet {
  readonly context: CanvasRenderingContext2D;
  readonly width: number;
  readonly height: number;
}

/**
 * A canvas that is drawn anew, at most once a frame, whenever a signal that `draw` read has changed, or its size, or the colours. What `draw`
 * returns says whether time alone changes it: then it is drawn again.
 */
export function useCanvas(draw: (sheet: Sheet) => boolean): RefObject<HTMLCanvasElement | null> {
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef(draw);
  latest.current = draw;
  useEffect(() => {
    const element = canvas.current!;
    const context = element.getContext('2d')!;
    let frame = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stop = (): void => {};
    const paint = (): void => {
      frame = 0;
      stop();
      const { width, height } = fitted(element, context);
      let again = false;
      let first = true;
      stop = effect(() => {
        if (!first) {
          plan();
          return;
        }
        first = false;
        void paletteVersion.value;
        if (width > 0 && height > 0) again = latest.current({ context, width, height });
      });
      if (again) timer = setTimeout(plan, PAUSE);
    };
    const plan = (): void => {
      clearTimeout(timer);
      frame ||= requestAnimationFrame(paint);
    };
    const observer = new ResizeObserver(plan);
    observer.observe(element);
    plan();
    return () => {
      observer.disconnect();
      stop();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, []);
  return canvas;
}

/** Gives the canvas as many pixels as the screen has for it. */
function fitted(
  element: HTMLCanvasElement,
  context: CanvasRenderingContext2D,
): { width: number; height: number } {
  const { clientWidth: width, clientHeight: height } = element;
  const scale = devicePixelRatio || 1;
  const wide = Math.round(width * scale);
  const high = Math.round(height * scale);
  if (element.width !== wide || element.height !== high) {
    element.width = wide;
    element.height = high;
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { width, height };
}
