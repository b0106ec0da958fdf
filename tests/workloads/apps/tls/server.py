"""HTTPS with the standard library: `threads` reads and writes on sockets, `events` through memory BIOs."""

import asyncio
import http.server
import os
import ssl
import sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.environ["CERTIFICATE"], os.environ["KEY"])
address = (os.environ["HOST"], int(os.environ["PORT"]))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024

    # The handshake is the thread's, not the listener's.
    def finish_request(self, request, client):
        try:
            request = context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with request:
            self.RequestHandlerClass(request, client, self)


async def serve(reader, writer):
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def events():
    server = await asyncio.start_server(serve, *address, ssl=context, backlog=1024)
    await server.serve_forever()


if sys.argv[1] == "threads":
    Server(address, Handler).serve_forever()
else:
    asyncio.run(events())
