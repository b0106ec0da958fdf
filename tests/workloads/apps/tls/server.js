'use strict';

const fs = require('fs');
const https = require('https');

const { CERTIFICATE, HOST, KEY, PORT } = process.env;

const server = https.createServer({ cert: fs.readFileSync(CERTIFICATE), key: fs.readFileSync(KEY) }, (_, answer) => {
  answer.setHeader('Content-Length', 3);
  answer.end('ok\n');
});
// A connection that waits for weft stays open.
server.keepAliveTimeout = 120000;
server.listen({ host: HOST, port: Number(PORT), backlog: 1024 });
