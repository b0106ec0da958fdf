"""Many clients at once, each with a connection of its own: ask.py HOST:PORT TAG CLIENTS ROUNDS [WAIT].

Prints `half` when half of the rounds are done, and with WAIT goes on when it has read a line.
"""

import http.client
import random
import sys
import threading
import time

TARGET, TAG, CLIENTS, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
WAYS = ["one", "two", "three", "task", "thread"]
failed = []
halves = threading.Barrier(CLIENTS + 1)


def ask(client):
    try:
        connection = http.client.HTTPConnection(TARGET, timeout=60)
        for number in range(ROUNDS):
            if number == ROUNDS // 2:
                halves.wait()
                halves.wait()
            way = WAYS[(client + number) % len(WAYS)]
            connection.request("GET", f"/{way}/{TAG}-{client}-{number}")
            response = connection.getresponse()
            if response.status != 200 or response.read() != b"ok":
                raise RuntimeError(f"{response.status} of {way}")
            time.sleep(random.random() / 200)
    except Exception as error:
        failed.append(error)
        halves.abort()
        raise


threads = [threading.Thread(target=ask, args=(client,)) for client in range(CLIENTS)]
for thread in threads:
    thread.start()
halves.wait()
print("half", flush=True)
if len(sys.argv) > 5:
    sys.stdin.readline()
halves.wait()
for thread in threads:
    thread.join()
sys.exit(1 if failed else 0)
