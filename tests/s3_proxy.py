"""A proxy before a real S3 server that records requests and breaks them on demand.

It passes requests through unchanged, with the ``Host`` that the client signed, so that the server checks
signatures as if it had been asked directly::

    with s3_proxy(server) as proxy:
        proxy.break_next("lose-reply", kind="PUT", key="zarr.json")
        S3Storage("s3://bucket", proxy.storage_options).write(…)
        assert proxy.count()["PUT"] == 2
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

FAULTS = ("409", "501", "503", "503-after", "corrupt", "hold", "lose-reply", "lose-request", "truncate")
_CODES = {409: "ConditionalRequestConflict", 501: "NotImplemented", 503: "SlowDown"}
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}


@dataclass
class Request:
    """One request as it reached the proxy.

    `kind` is GET, HEAD, PUT, COPY, DELETE, LIST or POST: an upload whose source is another object is a COPY, a
    deletion of many by POST a DELETE, and a GET of a bucket a LIST. `key` leaves out the bucket. `began` and
    `ended` are the proxy's own seconds; `received` the bytes of the answer's body.
    """

    method: str
    bucket: str
    key: str
    query: str
    headers: dict[str, str]
    size: int
    status: int = 0
    fault: str | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float = float("inf")
    received: int = 0

    @property
    def kind(self):
        """Return what the request is to aggrade."""
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "COPY"
        if self.method == "POST" and "delete" in self.query.split("&"):
            return "DELETE"
        return "LIST" if self.method == "GET" and not self.key else self.method

    @property
    def condition(self):
        """Return the condition that the request names, if any."""
        return self.headers.get("if-none-match") or self.headers.get("if-match")


@dataclass
class Fault:
    """What is to happen to requests for which `matches` holds, the next `times` times after `skip` of them.

    ``409``, ``501``, ``503`` and ``lose-request`` happen before the server sees the request; ``503-after`` and
    ``lose-reply`` after it took effect; ``corrupt`` changes a byte of what is sent; ``truncate`` cuts the reply in
    half; ``hold`` waits before the server sees the request until `release` is set, and sets `reached` first.
    """

    action: str
    matches: object
    times: int = 1
    skip: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """The proxy as its user sees it.

    With `ignored_headers` it behaves as a server that does not know them: it leaves them out and signs the request
    again. With `latency` each answer comes so many seconds later, so that requests sent together overlap.
    """

    def __init__(self, server):
        self._server = server
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.requests: list[Request] = []
        self.endpoint = ""
        self.ignored_headers: set[str] = set()
        self.latency = 0.0

    @property
    def credentials(self):
        """Return what signs requests to the server."""
        return Credentials(self._server.key, self._server.secret)

    @property
    def storage_options(self):
        """Return what leads a storage through the proxy."""
        return {**self._server.storage_options, "endpoint_url": self.endpoint}

    @property
    def environment(self):
        """Return the environment variables that lead s3fs and boto3 through the proxy."""
        return {**self._server.environment, "AWS_ENDPOINT_URL": self.endpoint}

    def clear(self):
        """Forget the requests so far."""
        with self._lock:
            self.requests.clear()

    def count(self):
        """Return the number of requests by kind."""
        with self._lock:
            return Counter(request.kind for request in self.requests)

    def round_trips(self):
        """Return how many requests waited for one another: the longest chain of which none overlap."""
        chain, free = 0, 0.0
        with self._lock:
            spans = sorted((request.ended, request.began) for request in self.requests)
        for ended, began in spans:
            if began >= free:
                chain, free = chain + 1, ended
        return chain

    def writes(self):
        """Return the requests that change the store or try to."""
        with self._lock:
            return [one for one in self.requests if one.kind not in {"GET", "HEAD", "LIST"}]

    def object_bytes(self):
        """Return the bytes of the objects that were sent and received; lists of names are none."""
        with self._lock:
            there = [one for one in self.requests if one.status < 300 and one.key]
        sent = sum(one.size for one in there if one.kind == "PUT")
        return sent, sum(one.received for one in there if one.kind == "GET")

    def break_next(self, action, *, kind=None, key=None, times=1, skip=0):
        """Break the next requests of a kind (None: any) whose key ends with `key`; return the `Fault`."""
        assert action in FAULTS

        def matches(request):
            return (kind is None or request.kind == kind) and request.key.endswith(key or "")

        fault = Fault(action, matches, times, skip)
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self):
        """Break nothing from now on, and let go of what is held."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.release.set()

    def record(self, request):
        """Note a request; return the fault that it meets, if any."""
        with self._lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.matches(request):
                    if fault.skip:
                        fault.skip -= 1
                    elif fault.times:
                        fault.times -= 1
                        request.fault = fault.action
                        return fault
        return None


@contextmanager
def s3_proxy(server):
    """Run a proxy before `server` (a `flows.demo_servers.S3Server`) for the length of a ``with`` block."""
    proxy = Proxy(server)
    upstream = urlsplit(server.endpoint).netloc
    handler = type("Handler", (_Handler,), {"proxy": proxy, "upstream": upstream})
    listener = _Listener(("127.0.0.1", 0), handler)
    proxy.endpoint = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.heal()
        listener.shutdown()
        thread.join()
        listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing of clients that go away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy
    upstream: str

    def handle_any(self):
        """Pass one request on, or break it."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, bucket, key, query, headers, len(body))
        fault = self.proxy.record(request)
        self._serve(request, fault, body)
        request.ended = min(request.ended, time.monotonic())

    def _serve(self, request, fault, body):
        action = fault.action if fault else None
        if action == "hold":
            fault.reached.set()
            fault.release.wait()
        if action == "lose-request":
            return self._hang_up()
        if action in {"409", "501", "503"}:
            request.status = int(action)
            return self._refuse(request.status)
        request.status, reply_headers, reply = self._ask(_corrupted(body) if action == "corrupt" else body)
        request.received = len(reply)
        if self.proxy.latency:
            time.sleep(self.proxy.latency)
        request.ended = time.monotonic()
        if action == "lose-reply":
            return self._hang_up()
        if action == "503-after":
            return self._refuse(503)
        return self._reply(request.status, reply_headers, reply, cut=action == "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _ask(self, body):
        upstream = http.client.HTTPConnection(self.upstream, timeout=120)
        with closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._passed_on(body):
                if name.lower() not in _HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            response = upstream.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def _passed_on(self, body):
        if self.proxy.ignored_headers.isdisjoint(name.lower() for name in self.headers):
            return self.headers.items()
        dropped = self.proxy.ignored_headers | {"authorization", "x-amz-date"}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        request = AWSRequest(self.command, self.proxy.endpoint + self.path, kept, body)
        S3SigV4Auth(self.proxy.credentials, "s3", "us-east-1").add_auth(request)
        return request.headers.items()

    def _refuse(self, status):
        text = f"<?xml version='1.0'?><Error><Code>{_CODES[status]}</Code><Message>Not now.</Message></Error>"
        self._reply(status, {"Content-Type": "application/xml"}, text.encode())

    def _reply(self, status, headers, body, *, cut=False):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers.items()}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self):
        self.close_connection = True
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        """Say nothing."""


def _corrupted(body):
    return bytes([body[0] ^ 1]) + body[1:]
