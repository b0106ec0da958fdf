// A server that asks another one, in the ways in which Node.js works on several requests at once.
//
// usage: gate.js agent|fetch|pool|worker|queue|batch
//
// GET /<way>/<id> makes calls of GET /<way>-<n>/<id> at BACKEND: one; two, one after the other; three at
// once; one from a timer's callback; one behind a file. Fewer connections than requests, but for `fetch`. `worker`:
// as `agent`, in a thread of its own. `queue`: a queue of the program's own before the agent, in which the end of one
// call begins the next one. `batch`: calls wait for a timer of the first of them, which begins them all.
"use strict";

const fs = require("fs");
const http = require("http");
const { isMainThread, Worker } = require("worker_threads");

const { HOST, PORT, BACKEND } = process.env;
const CONNECTIONS = 8;
const kind = process.argv[2];

function client() {
  if (kind === "fetch") {
    return async (path) => (await fetch(BACKEND + path)).text();
  }
  if (kind === "pool") {
    const { Pool } = require("/srv/npm/undici");
    const pool = new Pool(BACKEND, { connections: CONNECTIONS });
    return async (path) => (await pool.request({ path, method: "GET" })).body.text();
  }
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const get = (path) =>
    new Promise((resolve, reject) => {
      http
        .get(BACKEND + path, { agent }, (response) => {
          response.resume();
          response.on("end", resolve);
        })
        .on("error", reject);
    });
  return { queue: queued, batch: batched }[kind]?.(get) ?? get;
}

function queued(get) {
  const waiting = [];
  let free = CONNECTIONS;
  const next = () => {
    while (free > 0 && waiting.length > 0) {
      const [path, resolve, reject] = waiting.shift();
      free -= 1;
      get(path)
        .then(resolve, reject)
        .finally(() => {
          free += 1;
          next();
        });
    }
  };
  return (path) =>
    new Promise((resolve, reject) => {
      waiting.push([path, resolve, reject]);
      next();
    });
}

function batched(get) {
  let batch = [];
  const begin = () => {
    for (const [path, resolve, reject] of batch) {
      get(path).then(resolve, reject);
    }
    batch = [];
  };
  return (path) =>
    new Promise((resolve, reject) => {
      if (batch.push([path, resolve, reject]) === 1) {
        setTimeout(begin, 3);
      }
    });
}

const pause = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 10));

async function work(get, path) {
  const [, way, ident] = path.split("/");
  const call = (number) => get(`/${way}-${number}/${ident}`);
  if (way === "one") {
    await call(0);
  } else if (way === "two") {
    await call(0);
    await pause();
    await call(1);
  } else if (way === "three") {
    await Promise.all([0, 1, 2].map(call));
  } else if (way === "task") {
    await pause().then(() => call(0));
  } else {
    await fs.promises.stat("/");
    await call(0);
  }
}

if (kind === "worker" && isMainThread) {
  new Worker(__filename, { argv: process.argv.slice(2) });
} else {
  const get = client();
  http
    .createServer((request, response) => {
      work(get, request.url).then(
        () => response.end("ok"),
        (error) => {
          console.error(error);
          response.writeHead(500).end();
        },
      );
    })
    .listen(PORT, HOST);
}
