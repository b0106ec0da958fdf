"use strict";

// What others looked at.
const express = require("express");
const app = express();

app.get("/similar/:product", (request, response) => {
  const product = Number(request.params.product);
  response.json([product + 1, product + 3]);
});

app.listen(Number(process.env.PORT), process.env.HOST);
