/**
 * Imported before a test: tells Stryker that this test comes by every fault. Its tap runner asks each test's own process what was come by,
 * whatever `coverageAnalysis` says, and leaves out the faults of which no such process knows.
 */
const FAULTS = 10_000;
/** A fault that is come by far more often than before counts as an endless loop. */
const OFTEN = 1e7;

const stryker = (globalThis as { __stryker__?: { mutantCoverage?: object } }).__stryker__;
if (stryker !== undefined) {
  const everything = Object.fromEntries(Array.from({ length: FAULTS }, (_, id) => [id, OFTEN]));
  stryker.mutantCoverage = { static: everything, perTest: {} };
}
