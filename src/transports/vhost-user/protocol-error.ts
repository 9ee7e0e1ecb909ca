/** `VERSION`, `FLAGS`, `SIZE`, `DESCRIPTORS`: a malformed message. `BACKLOG`: more than is kept for a peer. `FEATURES`: some that can't be without others. */
export type ProtocolErrorCode = 'VERSION' | 'FLAGS' | 'SIZE' | 'DESCRIPTORS' | 'BACKLOG' | 'FEATURES';

/** The peer sent what is no vhost-user message: the connection can't go on. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;

  /** @param message - which message, and what was wrong with it. */
  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
