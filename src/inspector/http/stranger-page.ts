/** Marks that mean something in HTML. */
const MARKS: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** What a browser shows that is not let in. It loads nothing. */
export const STRANGER_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/**
 * A page that says how the inspector is opened.
 *
 * @param why - one line: what was wrong.
 */
export function strangerPage(why: string): string {
  const text = why.replace(/[&<>"]/g, (mark) => MARKS[mark]!);
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>virtio-misc</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 34em; margin: 12vh auto; padding: 0 1.5em }
code { font: 14px/1.5 ui-monospace, monospace }
</style>
<h1>This inspector does not know your browser yet</h1>
<p>${text}.</p>
<p>When it started, the program wrote a line with an address that ends in a token:</p>
<p><code>inspector at http://127.0.0.1:40123/?token=...</code></p>
<p>Open that one here. It lets one browser in, once, and from then on this address is enough. If it was used already, in another
browser or by another person, start the program again: it has a new one then.</p>
`;
}
