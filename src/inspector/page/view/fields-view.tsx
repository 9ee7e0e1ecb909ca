import type { Signal } from '@preact/signals';
import type { JSX } from 'preact';
import type { FieldView } from '../../protocol.js';
import type { Stretch } from './bytes-view.js';

/** What bytes mean, as a tree; where one is pointed at, its bytes stand out. */
export function FieldsView({
  fields,
  marked,
  fresh,
}: {
  readonly fields: readonly FieldView[];
  readonly marked: Signal<Stretch | undefined>;
  /** Whether a field's bytes changed a short while ago. */
  readonly fresh?: (field: FieldView) => boolean;
}): JSX.Element {
  return (
    <dl class="fields">
      {fields.map((field) => (
        <Field key={`${field.offset} ${field.name}`} field={field} marked={marked} fresh={fresh} />
      ))}
    </dl>
  );
}

function Field({
  field,
  marked,
  fresh,
}: {
  readonly field: FieldView;
  readonly marked: Signal<Stretch | undefined>;
  readonly fresh: ((field: FieldView) => boolean) | undefined;
}): JSX.Element {
  const { name, offset, size, type, value, fields } = field;
  const point = (): void => {
    marked.value = { offset, size };
  };
  const leave = (): void => {
    marked.value = undefined;
  };
  return (
    <>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a mouse and the focus do the same, and nothing else. */}
      <div
        class={fresh?.(field) ? 'field fresh' : 'field'}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its bytes stand out while it has the focus.
        tabIndex={0}
        onMouseEnter={point}
        onMouseLeave={leave}
        onFocus={point}
        onBlur={leave}
      >
        <dt title={`${type}, ${size} B at ${offset}`}>{name}</dt>
        <dd>{value ?? ''}</dd>
        <span class="type">{type}</span>
      </div>
      {fields === undefined ? null : (
        <div class="within">
          <FieldsView fields={fields} marked={marked} {...(fresh && { fresh })} />
        </div>
      )}
    </>
  );
}
