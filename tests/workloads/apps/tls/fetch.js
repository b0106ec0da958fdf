// HTTPS of Bun and Deno: `serve`, or `get <host> <port> <tag> <connections> <requests>`, which opens its connections, prints numbers
// for them, waits for a line, then requests `/<tag>/<number>/<number of the request>` so many at a time. Which connection carries a
// request is the runtime's business.
import fs from 'node:fs';
import process from 'node:process';

const [verb, host, port, tag, connections, requests] = globalThis.Deno?.args ?? process.argv.slice(2);

function serve() {
  const { CERTIFICATE, HOST, KEY, PORT } = process.env;
  const [cert, key] = [CERTIFICATE, KEY].map((file) => fs.readFileSync(file, 'utf8'));
  const answer = () => new Response('ok\n');
  if (globalThis.Bun) {
    Bun.serve({ hostname: HOST, port: Number(PORT), tls: { cert, key }, idleTimeout: 120, fetch: answer });
  } else {
    Deno.serve({ hostname: HOST, port: Number(PORT), cert, key }, answer);
  }
}

// Deno takes its certificates from the command line, and is told to stay with HTTP/1.
const options = globalThis.Bun
  ? { tls: { rejectUnauthorized: false } }
  : { client: globalThis.Deno.createHttpClient({ http2: false }) };

async function get(path) {
  const answer = await fetch(`https://${host}:${port}${path}`, options);
  if (answer.status !== 200 || (await answer.text()) !== 'ok\n') {
    throw new Error(`${path}: ${answer.status}`);
  }
}

async function run() {
  const numbers = Array.from({ length: Number(connections) }, (_, index) => index);
  await Promise.all(numbers.map(() => get('/open')));
  console.log(numbers.join(' '));
  await new Promise((resolve) => process.stdin.once('data', resolve).once('end', resolve));
  await Promise.all(numbers.map(async (index) => {
    for (let number = 0; number < Number(requests); number += 1) {
      await get(`/${tag}/${index}/${number}`);
    }
  }));
  process.exit(0);
}

if (verb === 'serve') {
  serve();
} else {
  run();
}
