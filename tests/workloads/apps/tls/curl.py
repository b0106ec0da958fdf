"""Opens its connections with the wheel's libcurl, prints their ports, waits for a line, then requests
`/<tag>/<own port>/<number>` on each."""

import sys
import threading

import pycurl

host, port, tag, connections, requests = sys.argv[1:6]


def get(handle, path):
    handle.setopt(pycurl.URL, f"https://{host}:{port}{path}")
    handle.perform()
    assert handle.getinfo(pycurl.RESPONSE_CODE) == 200
    return handle.getinfo(pycurl.LOCAL_PORT)


def open_one():
    handle = pycurl.Curl()
    handle.setopt(pycurl.SSL_VERIFYPEER, 0)
    handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.WRITEFUNCTION, lambda _: None)
    return handle, get(handle, "/open")


def run(handle, own):
    for number in range(int(requests)):
        get(handle, f"/{tag}/{own}/{number}")


opened = [open_one() for _ in range(int(connections))]
print(*[own for _, own in opened], flush=True)
sys.stdin.readline()
running = [threading.Thread(target=run, args=each) for each in opened]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
