"""A gRPC server of any service whose methods are named as the client names them: see client.py.

`Hop` answers as README.md says, and goes on along the metadata `via`, plaintext only.
"""

import json
import os
import threading
from concurrent import futures

import grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        kind, argument = call.method.rsplit("/", 1)[1].split("-")[:2]
        number = int(argument)
        if kind == "Hop":
            return grpc.unary_unary_rpc_method_handler(lambda _, context: hop(call.method, context))
        if kind == "Unary":
            return grpc.unary_unary_rpc_method_handler(lambda message, _: message)
        if kind == "Download":
            return grpc.unary_stream_rpc_method_handler(lambda message, _: (message for _ in range(number)))
        if kind == "Upload":
            return grpc.stream_unary_rpc_method_handler(lambda messages, _: b"%d" % len(list(messages)))
        if kind == "Talk":
            return grpc.stream_stream_rpc_method_handler(lambda messages, _: (message for message in messages))
        if kind == "Fail":
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(CODES[number], "as asked"))
        if kind in ("Deadline", "Cancel"):
            return grpc.unary_unary_rpc_method_handler(hang)
        return None


channels = {}
lock = threading.Lock()


def channel(base):
    with lock:
        if base not in channels:
            channels[base] = grpc.insecure_channel(base.partition("://")[2], [("grpc.enable_http_proxy", 0)])
        return channels[base]


def hop(method, context):
    told = {"service": os.environ.get("SERVICE"), "pid": os.getpid(), "id": method[1:].partition(".")[0], "next": None}
    first, _, others = dict(context.invocation_metadata()).get("via", "").partition(",")
    if first:
        metadata = [("via", others)] if others else []
        told["next"] = json.loads(channel(first).unary_unary(method)(b"", metadata=metadata, timeout=30))
    return json.dumps(told).encode()


def hang(message, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(10)
    return message


server = grpc.server(futures.ThreadPoolExecutor(32), [Echo()])
address = f"{os.environ['HOST']}:{os.environ['PORT']}"
if os.environ.get("KEY"):
    with open(os.environ["KEY"], "rb") as key, open(os.environ["CERTIFICATE"], "rb") as certificate:
        server.add_secure_port(address, grpc.ssl_server_credentials([(key.read(), certificate.read())]))
else:
    server.add_insecure_port(address)
server.start()
server.wait_for_termination()
