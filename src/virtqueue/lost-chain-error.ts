/** A chain's queue was closed under it: nobody waits for what a device still does for it. */
export class LostChainError extends TypeError {}
