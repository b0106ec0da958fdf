"""A server that asks another one, in the ways in which Python works on several requests at once.

usage: gate.py aiohttp|uvicorn|hypercorn|tornado|gevent|backend

GET /<way>/<id> makes calls of GET /<way>-<n>/<id> at BACKEND: one; two, one after the other; three at
once; one from a task of a task; one from a thread. Fewer connections than requests.
"""

import asyncio
import os
import random
import sys
import urllib.request

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
BACKEND = os.environ.get("BACKEND", "")
CONNECTIONS = 8


def call(way, number, ident):
    return f"{BACKEND}/{way}-{number}/{ident}"


def pause():
    return random.random() / 100


async def work(get, path):
    _, way, ident = path.split("/")
    if way == "one":
        await get(call(way, 0, ident))
    elif way == "two":
        await get(call(way, 0, ident))
        await asyncio.sleep(pause())
        await get(call(way, 1, ident))
    elif way == "three":
        await asyncio.gather(*[get(call(way, number, ident)) for number in range(3)])
    elif way == "task":

        async def child():
            await asyncio.sleep(pause())
            await get(call(way, 0, ident))

        await asyncio.create_task(asyncio.wait_for(child(), 30))
    elif way == "thread":
        await asyncio.to_thread(blocking, call(way, 0, ident))


def blocking(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        response.read()


def session():
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS))


def getter(client):
    async def get(url):
        async with client.get(url) as response:
            await response.read()

    return get


def serve_aiohttp():
    from aiohttp import web

    async def start(app):
        app["client"] = session()

    async def handle(request):
        await work(getter(request.app["client"]), request.path)
        return web.Response(text="ok")

    app = web.Application()
    app.on_startup.append(start)
    app.router.add_get("/{way}/{ident}", handle)
    web.run_app(app, host=HOST, port=PORT, access_log=None, print=None)


CLIENTS = []


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    if not CLIENTS:
        CLIENTS.append(session())
    await work(getter(CLIENTS[0]), scope["path"])
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


def serve_uvicorn():
    import uvicorn

    loop = os.environ.get("LOOP", "asyncio")
    uvicorn.run(asgi, host=HOST, port=PORT, loop=loop, log_level="warning", lifespan="off")


def serve_hypercorn():
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"{HOST}:{PORT}"]
    asyncio.run(serve(asgi, config))


def serve_tornado():
    from tornado.httpclient import AsyncHTTPClient
    from tornado.ioloop import IOLoop
    from tornado.web import Application, RequestHandler

    # Its queue begins a call where another one has ended.
    AsyncHTTPClient.configure(None, max_clients=CONNECTIONS)

    class Handle(RequestHandler):
        async def get(self):
            await work(AsyncHTTPClient().fetch, self.request.path)
            self.finish("ok")

    Application([("/.*", Handle)]).listen(PORT, HOST)
    IOLoop.current().start()


def serve_gevent():
    from gevent import monkey

    monkey.patch_all()
    import gevent
    import requests
    from gevent.pywsgi import WSGIServer

    client = requests.Session()
    pool = requests.adapters.HTTPAdapter(pool_maxsize=CONNECTIONS, pool_block=True)
    client.mount("http://", pool)

    def get(url):
        client.get(url, timeout=30).raise_for_status()

    def handle(environ, start):
        _, way, ident = environ["PATH_INFO"].split("/")
        if way == "three":
            calls = [gevent.spawn(get, call(way, number, ident)) for number in range(3)]
            gevent.joinall(calls, raise_error=True)
        elif way == "task":
            later = gevent.spawn(lambda: gevent.spawn_later(pause(), get, call(way, 0, ident)))
            later.get().get()
        else:
            get(call(way, 0, ident))
        if way == "two":
            gevent.sleep(pause())
            get(call(way, 1, ident))
        start("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    WSGIServer((HOST, PORT), handle, log=None).serve_forever()


def serve_backend():
    async def answer(reader, writer):
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(2 * pause())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def serve():
        server = await asyncio.start_server(answer, HOST, PORT, backlog=1000)
        await server.serve_forever()

    asyncio.run(serve())


globals()[f"serve_{sys.argv[1]}"]()
