/** How many processes are kept ready to take the place of one that dies, unless told. */
export const SPARES = 1;
/** And at most: one that kills more, as fast as they come, kills each. */
export const SPARES_MOST = 8;
