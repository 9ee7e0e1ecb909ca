/** A well-formed request that can't be carried out. Nothing changed; the connection goes on. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}
