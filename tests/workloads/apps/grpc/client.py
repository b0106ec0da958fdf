"""Calls `/<tag>.Echo/<kind>-<argument>-<worker>-<number>`, kinds as below. All workers share one connection.

Makes one call, prints `connected`, waits for a line, makes the call again, then all others, each once.
"""

import sys
import threading
import time

import grpc

address, tag, workers, rounds, certificate = sys.argv[1:6]
MESSAGE = b"m" * 100

if certificate:
    with open(certificate, "rb") as file:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(file.read()))
else:
    channel = grpc.insecure_channel(address)


def method(kind, argument, worker, number):
    return f"/{tag}.Echo/{kind}-{argument}-{worker}-{number}"


def fails(call, expected):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == expected, error
    except grpc.FutureCancelledError:
        assert expected == grpc.StatusCode.CANCELLED
    else:
        raise AssertionError(f"not {expected}")


def cancelled(path):
    call = channel.unary_unary(path).future(MESSAGE)
    time.sleep(0.05)
    call.cancel()
    return call.result()


def run(worker):
    for number in range(int(rounds)):
        name = lambda kind, argument: method(kind, argument, worker, number)
        assert channel.unary_unary(name("Unary", 0))(MESSAGE) == MESSAGE
        assert len(list(channel.unary_stream(name("Download", 3))(MESSAGE))) == 3
        assert channel.stream_unary(name("Upload", 4))(iter([MESSAGE] * 4)) == b"4"
        assert len(list(channel.stream_stream(name("Talk", 2))(iter([MESSAGE] * 2)))) == 2
        fails(lambda: channel.unary_unary(name("Fail", 5))(MESSAGE), grpc.StatusCode.NOT_FOUND)
        fails(lambda: channel.unary_unary(name("Fail", 13))(MESSAGE), grpc.StatusCode.INTERNAL)
        if number == 0:
            deadline = channel.unary_unary(name("Deadline", 0))
            fails(lambda: deadline(MESSAGE, timeout=0.1), grpc.StatusCode.DEADLINE_EXCEEDED)
            fails(lambda: cancelled(name("Cancel", 0)), grpc.StatusCode.CANCELLED)


failures = []


def guarded(worker):
    try:
        run(worker)
    except BaseException as error:
        failures.append(error)


first = channel.unary_unary(method("Unary", 0, "first", 0))
first(MESSAGE)
print("connected", flush=True)
sys.stdin.readline()
first(MESSAGE)
threads = [threading.Thread(target=guarded, args=(worker,)) for worker in range(int(workers))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
channel.close()
if failures:
    raise failures[0]
