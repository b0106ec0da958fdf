// The contract of README.md on Node's own HTTP/2, calls going out on one session for each server.
import fs from 'node:fs';
import http2 from 'node:http2';

const { CERTIFICATE, HOST, KEY, PORT, SERVICE } = process.env;
const sessions = new Map();

function session(base) {
  let found = sessions.get(base);
  if (!found || found.closed || found.destroyed) {
    found = http2.connect(base, { rejectUnauthorized: false });
    sessions.set(base, found);
  }
  return found;
}

function get(base, path) {
  return new Promise((resolve, reject) => {
    const stream = session(base).request({ ':path': path });
    let status;
    let body = '';
    stream.setEncoding('utf8');
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (piece) => { body += piece; });
    stream.on('end', () => (status === 200 ? resolve(body) : reject(new Error(`status ${status}`))));
    stream.on('error', reject);
  });
}

async function serve(stream, headers) {
  const url = new URL(headers[':path'], 'http://any');
  const [kind, ...rest] = url.pathname.slice(1).split('/');
  const told = { service: SERVICE, pid: process.pid, id: rest[rest.length - 1], next: null };
  let received = 0;
  for await (const piece of stream) received += piece.length;
  if (kind === 'fail') {
    stream.respond({ ':status': 500, 'content-type': 'application/json' });
    stream.end(JSON.stringify(told));
    return;
  }
  if (kind === 'body' || kind === 'chunked') {
    stream.respond({ ':status': 200 });
    stream.end('x'.repeat(Number(rest[0])));
    return;
  }
  if (kind === 'slow') await new Promise((resolve) => { setTimeout(resolve, Number(rest[0])); });
  if (kind === 'upload') told.received = received;
  const [first, ...others] = (url.searchParams.get('via') || '').split(',');
  if (kind === 'hop' && first) {
    const query = others.length ? `?via=${encodeURIComponent(others.join(','))}` : '';
    told.next = JSON.parse(await get(first, `/hop/${rest[0]}${query}`));
  }
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(told));
}

const server = KEY
  ? http2.createSecureServer({ cert: fs.readFileSync(CERTIFICATE), key: fs.readFileSync(KEY) })
  : http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  serve(stream, headers).catch(() => {
    if (!stream.headersSent) stream.respond({ ':status': 502 }, { endStream: true });
  });
});
server.listen({ host: HOST, port: Number(PORT), backlog: 1024 });
