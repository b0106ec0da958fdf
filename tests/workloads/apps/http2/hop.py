"""The contract of README.md for Hypercorn, as a plain ASGI application; calls go out by httpx over HTTP/2."""

import asyncio
import json
import os
from urllib.parse import parse_qs

import httpx

client = httpx.AsyncClient(http1=False, http2=True, verify=False)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    received, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
    status, body = await answer(scope, received)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for at in range(0, max(len(body), 1), 10000):
        part = body[at : at + 10000]
        await send({"type": "http.response.body", "body": part, "more_body": at + 10000 < len(body)})


async def answer(scope, received):
    kind, *rest = scope["path"].strip("/").split("/")
    told = {"service": os.environ.get("SERVICE", "hypercorn"), "pid": os.getpid(), "id": rest[-1], "next": None}
    if kind == "fail":
        return 500, json.dumps(told).encode()
    if kind in ("body", "chunked"):
        return 200, b"x" * int(rest[0])
    if kind == "slow":
        await asyncio.sleep(int(rest[0]) / 1000)
    if kind == "upload":
        told["received"] = received
    via = parse_qs(scope["query_string"].decode()).get("via", [""])[0]
    if kind == "hop" and via:
        first, _, others = via.partition(",")
        response = await client.get(f"{first}/hop/{rest[0]}", params={"via": others} if others else None)
        response.raise_for_status()
        told["next"] = response.json()
    return 200, json.dumps(told).encode()
