import os
import time

import requests
from flask import Flask, Response, request

app = Flask(__name__)
SERVICE = os.environ.get("SERVICE", "flask")


def answer(ident, **more):
    return {"service": SERVICE, "pid": os.getpid(), "id": ident, **more}


@app.get("/hop/<ident>")
def hop(ident):
    first, _, rest = request.args.get("via", "").partition(",")
    if not first:
        return answer(ident, next=None)
    params = {"via": rest} if rest else None
    response = requests.get(f"{first}/hop/{ident}", params=params, timeout=30)
    response.raise_for_status()
    return answer(ident, next=response.json())


@app.get("/slow/<int:ms>/<ident>")
def slow(ms, ident):
    time.sleep(ms / 1000)
    return answer(ident, next=None)


@app.get("/fail/<ident>")
def fail(ident):
    return answer(ident, next=None), 500


@app.get("/body/<int:size>/<ident>")
def body(size, ident):
    return Response(b"x" * size, mimetype="application/octet-stream")


@app.get("/chunked/<int:size>/<ident>")
def chunked(size, ident):
    def pieces():
        left = size
        while left:
            piece = min(left, 1000)
            left -= piece
            yield b"x" * piece

    return Response(pieces(), mimetype="application/octet-stream")


@app.post("/upload/<ident>")
def upload(ident):
    return answer(ident, received=len(request.get_data()))
