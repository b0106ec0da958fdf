"""What customers see: asks the other services, one after the other."""

import os

import requests
from flask import Flask, jsonify

app = Flask(__name__)
CATALOG, RECOMMENDATIONS, PAYMENT = (os.environ[name] for name in ("CATALOG_URL", "RECOMMENDATIONS_URL", "PAYMENT_URL"))


def ask(method, url):
    response = requests.request(method, url, timeout=10)
    response.raise_for_status()
    return response


@app.get("/products/<int:product>")
def product(product):
    found = ask("GET", f"{CATALOG}/products/{product}").json()
    found["see_also"] = ask("GET", f"{RECOMMENDATIONS}/similar/{product}").json()
    return jsonify(found)


@app.post("/checkout/<int:product>")
def checkout(product):
    found = ask("GET", f"{CATALOG}/products/{product}").json()
    # The bank takes its time.
    ask("GET", f"{PAYMENT}/delay/1")
    return jsonify(ordered=found["name"])


@app.post("/refunds/<int:order>")
def refund(order):
    try:
        ask("POST", f"{PAYMENT}/status/503")
    except requests.HTTPError:
        return jsonify(error="the bank does not answer", order=order), 502
    return jsonify(refunded=order)
