"use strict";

const express = require("express");
const http = require("http");

const service = process.env.SERVICE || "express";
const app = express();

const answer = (id, more) => ({ service, pid: process.pid, id, ...more });

function getJson(url) {
  return new Promise((resolve, reject) => {
    http
      .get(url, (response) => {
        const pieces = [];
        response.on("data", (piece) => pieces.push(piece));
        response.on("error", reject);
        response.on("end", () => {
          if (response.statusCode !== 200) {
            reject(new Error(`${url}: ${response.statusCode}`));
          } else {
            resolve(JSON.parse(Buffer.concat(pieces)));
          }
        });
      })
      .on("error", reject);
  });
}

app.get("/hop/:id", async (request, response, next) => {
  const [first, ...rest] = (request.query.via || "").split(",").filter(Boolean);
  if (!first) {
    response.json(answer(request.params.id, { next: null }));
    return;
  }
  const query = rest.length ? `?via=${encodeURIComponent(rest.join(","))}` : "";
  try {
    const inner = await getJson(`${first}/hop/${request.params.id}${query}`);
    response.json(answer(request.params.id, { next: inner }));
  } catch (error) {
    next(error);
  }
});

app.get("/slow/:ms/:id", (request, response) => {
  setTimeout(
    () => response.json(answer(request.params.id, { next: null })),
    Number(request.params.ms),
  );
});

app.get("/fail/:id", (request, response) => {
  response.status(500).json(answer(request.params.id, { next: null }));
});

app.get("/body/:size/:id", (request, response) => {
  response.type("application/octet-stream").send(Buffer.alloc(Number(request.params.size), "x"));
});

app.get("/chunked/:size/:id", (request, response) => {
  response.type("application/octet-stream");
  for (let left = Number(request.params.size); left > 0; left -= 1000) {
    response.write(Buffer.alloc(Math.min(left, 1000), "x"));
  }
  response.end();
});

app.post("/upload/:id", (request, response) => {
  let received = 0;
  request.on("data", (piece) => (received += piece.length));
  request.on("end", () => response.json(answer(request.params.id, { received })));
});

app.listen(Number(process.env.PORT || 8080), process.env.HOST || "127.0.0.1");
