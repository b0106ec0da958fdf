"""Opens its connections, prints their ports, waits for a line, then requests `/<tag>/<own port>/<number>` on each."""

import asyncio
import http.client
import ssl
import sys
import threading

mode, host, port, tag, connections, requests = sys.argv[1:7]
connections, requests = int(connections), int(requests)
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


def get(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200


def run(connection):
    own = connection.sock.getsockname()[1]
    for number in range(requests):
        get(connection, f"/{tag}/{own}/{number}")


def threads():
    opened = [http.client.HTTPSConnection(host, int(port), context=context) for _ in range(connections)]
    for connection in opened:
        get(connection, "/open")
    print(*[connection.sock.getsockname()[1] for connection in opened], flush=True)
    sys.stdin.readline()
    running = [threading.Thread(target=run, args=(connection,)) for connection in opened]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


async def ask(reader, writer, path):
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    await reader.readexactly(3)


async def events():
    async def each(reader, writer):
        own = writer.get_extra_info("sockname")[1]
        for number in range(requests):
            await ask(reader, writer, f"/{tag}/{own}/{number}")

    opened = [await asyncio.open_connection(host, int(port), ssl=context) for _ in range(connections)]
    await asyncio.gather(*[ask(*pair, "/open") for pair in opened])
    print(*[writer.get_extra_info("sockname")[1] for _, writer in opened], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.gather(*[each(*pair) for pair in opened])


if mode == "threads":
    threads()
else:
    asyncio.run(events())
