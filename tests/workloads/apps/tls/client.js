// Opens its connections, prints their ports, waits for a line, then requests `/<tag>/<own port>/<number>` on each.
'use strict';

const https = require('https');

const [host, port, tag, connections, requests] = process.argv.slice(2);

// One agent for each connection.
function get(agent, path) {
  return new Promise((resolve, reject) => {
    const request = https.get({ agent, host, port, path, rejectUnauthorized: false }, (answer) => {
      const own = request.socket.localPort;
      answer.resume().on('end', () => resolve(own));
    });
    request.on('error', reject);
  });
}

async function main() {
  const agents = Array.from({ length: Number(connections) }, () => new https.Agent({ keepAlive: true, maxSockets: 1 }));
  const ports = await Promise.all(agents.map((agent) => get(agent, '/open')));
  console.log(ports.join(' '));
  await new Promise((resolve) => process.stdin.once('data', resolve).once('end', resolve));
  const run = async (agent, index) => {
    for (let number = 0; number < Number(requests); number += 1) {
      await get(agent, `/${tag}/${ports[index]}/${number}`);
    }
  };
  await Promise.all(agents.map(run));
  process.exit(0);
}

main();
