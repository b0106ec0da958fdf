'use strict';

const fs = require('fs');
const https = require('https');

const { CERTIFICATE, HOST, KEY, PORT } = process.env;

https
  .createServer({ cert: fs.readFileSync(CERTIFICATE), key: fs.readFileSync(KEY) }, (_, answer) => {
    answer.setHeader('Content-Length', 3);
    answer.end('ok\n');
  })
  .listen({ host: HOST, port: Number(PORT), backlog: 1024 });
