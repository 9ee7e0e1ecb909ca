import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { queueKey } from '../model/model.js';
import { type Session, useSession } from '../session.js';
import { drawAxis, drawHold, drawNow } from './draw-axis.js';
import { drawDeviceLane } from './draw-device-lane.js';
import { drawQueueLane } from './draw-lane.js';
import { drawForgotten } from './draw-marks.js';
import type { Drawing, OpenItem, Target } from './drawing.js';
import { palette } from './palette.js';
import { type Band, bandsOf, NAMES_WIDTH } from './timeline-lanes.js';
import { TimelineTip } from './timeline-tip.js';
import { TimelineTools } from './timeline-tools.js';
import { useCanvas } from './use-canvas.js';

/** Kicks, requests and interrupts by time: wheel and `+`/`-` zoom, dragging and arrows move. */
export function Timeline(): JSX.Element {
  const session = useSession();
  const targets = useRef<Target[]>([]);
  const bands = useRef<readonly Band[]>([]);
  const hovered = useSignal<{ target: Target; x: number; y: number } | undefined>(undefined);
  const drag = useRef<{ x: number; from: number; moved: boolean } | undefined>(undefined);
  const canvas = useCanvas(({ context, width, height }) => {
    const { model } = session;
    void model.itemsVersion.value;
    const connection = session.connection.value;
    const chosen = session.queue.value?.queue;
    const window = session.shown;
    targets.current = [];
    const drawing: Drawing = {
      context,
      width,
      window,
      now: session.now,
      colours: palette(),
      chosen: session.chosen.value?.id,
      follows: session.follows.value && !model.recording,
      targets: targets.current,
    };
    bands.current = connection
      ? bandsOf(connection.connection, model.queuesOf(connection.connection), chosen, height)
      : [];
    drawAxis(drawing, bands.current, chosen, height);
    for (const band of bands.current) {
      const hold = model.holds.value.find(
        (one) => one.connection === band.connection && one.queue === band.queue,
      );
      if (hold !== undefined) drawHold(drawing, band, hold.since);
      const lane = model.lane(band.connection, band.queue);
      drawForgotten(drawing, band, lane.from);
      if (band.queue === undefined) drawDeviceLane(drawing, band, lane);
      else drawQueueLane(drawing, band, lane, openOf(session, band));
    }
    if (!model.recording) drawNow(drawing, height);
    return drawing.follows;
  });

  useEffect(() => {
    const element = canvas.current!;
    const timeAt = (x: number): number => {
      const { from, span } = session.shown;
      return from + ((x - NAMES_WIDTH) / Math.max(1, element.clientWidth - NAMES_WIDTH)) * span;
    };
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const { from, span } = session.shown;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
        session.show({ from: from + ((event.deltaX || event.deltaY) / element.clientWidth) * span, span });
      else session.zoom(1.0016 ** Math.max(-400, Math.min(400, event.deltaY)), timeAt(event.offsetX));
    };
    // Preact's own listeners are passive here, and could not keep the page from scrolling.
    element.addEventListener('wheel', wheel, { passive: false });
    return () => element.removeEventListener('wheel', wheel);
  }, []);

  const find = (event: MouseEvent): Target | undefined =>
    targets.current.findLast(
      ({ left, right, top, bottom }) =>
        event.offsetX >= left && event.offsetX <= right && event.offsetY >= top && event.offsetY <= bottom,
    );
  const move = (event: PointerEvent): void => {
    if (drag.current === undefined) {
      const target = find(event);
      hovered.value = target && { target, x: event.offsetX, y: event.offsetY };
      return;
    }
    const { x, from } = drag.current;
    if (Math.abs(event.offsetX - x) < 4 && !drag.current.moved) return;
    drag.current.moved = true;
    hovered.value = undefined;
    const { span } = session.shown;
    session.show({
      from: from - ((event.offsetX - x) / (canvas.current!.clientWidth - NAMES_WIDTH)) * span,
      span,
    });
  };
  const down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    canvas.current!.setPointerCapture(event.pointerId);
    drag.current = { x: event.offsetX, from: session.shown.from, moved: false };
  };
  const up = (event: PointerEvent): void => {
    const dragged = drag.current?.moved === true;
    drag.current = undefined;
    if (dragged) return;
    const target = find(event);
    if (target === undefined) return;
    const { item } = target;
    session.show(session.shown);
    if (item.type === 'chain') session.look(item);
    else if (item.type === 'open')
      item.id !== undefined && session.lookUp(item.connection, item.queue, item.id);
    else if (item.type === 'line' || item.type === 'warning' || item.type === 'event')
      session.pane.value = 'log';
  };
  return (
    <section class="panel timeline" aria-label="Timeline">
      <TimelineTools />
      <div class="track">
        <canvas
          ref={canvas}
          tabIndex={0}
          role="img"
          aria-label="Kicks, requests and interrupts by time. j and k choose a request, z zooms to it."
          onPointerMove={move}
          onPointerDown={down}
          onPointerUp={up}
          onPointerLeave={() => {
            hovered.value = undefined;
          }}
          onDblClick={(event) => {
            const target = find(event);
            if (target?.item.type === 'chain') session.zoomToChosen();
          }}
        />
        {hovered.value && <TimelineTip {...hovered.value} />}
      </div>
    </section>
  );
}

/** What the device has of a queue whose ring is looked at. */
function openOf(session: Session, { connection, queue }: Band): OpenItem[] {
  const ring = session.model.rings.value.get(queueKey(connection, queue));
  if (queue === undefined || ring === undefined || ring.layout === 'none') return [];
  return ring.inFlight.flatMap(({ taken, ...one }) =>
    taken === undefined ? [] : { type: 'open', time: taken, connection, queue, ...one },
  );
}
