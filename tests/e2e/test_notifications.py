"""Notifications, from a real Prefect server to a real listener: off until a webhook is named, then of what went wrong.

On PostgreSQL: with SQLite a server that is busy may lose events (docs/operations.md).
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from postgres_server import postgres_server
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Crashed, Failed
from prefect_sites import Site
from waiting import wait_until

from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]


class Listener(ThreadingHTTPServer):
    """Keeps what is posted to it on this machine."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Posted)
        self.url = f"http://127.0.0.1:{self.server_port}/key"
        self.posted = []


class _Posted(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def listener():
    """Give a webhook on this machine."""
    with Listener() as listener:
        thread = Thread(target=listener.serve_forever)
        thread.start()
        yield listener
        listener.shutdown()
        thread.join()


@flow
def nothing():
    """Do nothing: only states of its runs are set."""


def test_who_is_told_what(listener, tmp_path):
    """Nobody of anything, until a webhook is named; then of runs of aggrade's that failed or crashed, and of no others."""
    with postgres_server() as database, prefect_server(tmp_path / "prefect", database) as server:
        site = Site(tmp_path, server.environment)
        api = {PREFECT_API_URL: server.api_url}
        with temporary_settings(api), get_client(sync_client=True) as client:

            def ends(name, state, tags=("aggrade",)):
                run = client.create_flow_run(nothing, name=name, tags=list(tags))
                client.set_flow_run_state(run.id, state, force=True)
                return run.id

            site.run("python", "-m", "deployments.setup")
            ends("untold", Failed(message="nobody asked"))
            site.environment["AGGRADE_NOTIFY_URL"] = listener.url
            site.run("python", "-m", "deployments.setup")
            ends("strange", Failed(message="not ours"), tags=())
            ends("good", Completed(message="all is well"))
            failed = ends("bad", Failed(message="sub-7: no stream"))
            crashed = ends("dead", Crashed(message="killed"))
            wait_until(lambda: len(listener.posted) >= 2, "two messages", seconds=300)
    assert {path for path, _ in listener.posted} == {"/key"}
    told = sorted(message["text"].split() for _, message in listener.posted)
    page = f"{server.ui_url}/runs/flow-run"
    assert told == [
        ["nothing:", "Crashed", "dead", "killed", f"{page}/{crashed}"],
        ["nothing:", "Failed", "bad", "sub-7:", "no", "stream", f"{page}/{failed}"],
    ]
