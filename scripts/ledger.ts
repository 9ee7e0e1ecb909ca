/*
 * npm run ledger: writes docs/conformance.md, which says where each rule of the specifications is kept.
 */
import { writeFileSync } from 'node:fs';
import { readLedger } from './ledger/ledger.js';
import { ledgerPage } from './ledger/page.js';

const ledger = readLedger();
for (const mistake of ledger.mistakes) console.error(mistake);
if (ledger.mistakes.length > 0) process.exitCode = 1;
else writeFileSync(new URL('../../docs/conformance.md', import.meta.url), ledgerPage(ledger));
