"""What a person sees in Prefect's user interface: the form, progress, plan, receipts, pictures, a retry.

In a headless Chromium. Pictures of what it saw are kept in the folder that AGGRADE_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from make_runs import record
from prefect_sites import Site, set_up

import aggrade
from flows.demo_servers import prefect_server

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(3000)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SESSIONS = 30
"""So many that even an idle machine is at work while a page is opened and looked at."""

PATIENCE = 900_000
"""Milliseconds for what has to come about in the end."""


@pytest.fixture
def site(tmp_path):
    """Give a site with a worker, five good recordings and one that is torn."""
    with prefect_server(tmp_path / "prefect") as server:
        (tmp_path / "site").mkdir()
        site = Site(tmp_path / "site", server.environment)
        site.url = server.ui_url
        for number in range(SESSIONS):
            record(site.recordings, f"sub-{number:02}", first=100 * number, seconds=60, rate=250.0)
        record(site.recordings, "torn", rate=250.0)
        torn = site.recordings / "torn" / "recording.xdf"
        torn.write_bytes(torn.read_bytes()[:200])
        set_up(site)
        with site.worker():
            yield site


@pytest.fixture
def page(site):
    """Open a page; every request that it sends goes to this machine."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    asked = set()
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000}, base_url=site.url)
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.add(request.url.split("/")[2].split(":")[0]))
        yield page
        browser.close()
    assert asked == {"127.0.0.1"}


@pytest.fixture
def keep(page, tmp_path):
    """Give what keeps a picture of the page under a name."""
    folder = Path(os.environ.get("AGGRADE_SCREENSHOTS", tmp_path / "screenshots"))

    def keep(name):
        path = folder / f"prefect-{name}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 10_000

    return keep


def start(page, keep, **texts):
    """Open a deployment's form, fill in texts by the names of parameters, submit it; open the run."""
    page.goto("/deployments")
    page.get_by_role("link", name="pipeline").first.click()
    page.get_by_text("Runs", exact=True).last.wait_for()
    keep("deployment")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").first.click()
    page.get_by_role("button", name="Submit").wait_for()
    for name, text in texts.items():
        field = page.locator(".schema-form-property", has=page.get_by_text(name, exact=True)).first
        field.locator("textarea").first.fill(text)
    keep("form")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("View run").first.wait_for()
    page.goto("/runs")
    page.locator('a[href^="/runs/flow-run/"]').first.click()
    page.wait_for_url("**/flow-run/**")


def open_artifact(page, text):
    """Open the artifact that is described by a text, from the page of its run."""
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text(text).first.click()
    page.wait_for_url("**/artifacts/**")
    page.get_by_text("Key", exact=True).wait_for()


def percents(page):
    """Yield what a progress artifact shows, from now until it is at its end."""
    shown = ""
    while shown != "Progress: 100%":
        page.reload()
        text = page.get_by_text("Progress: ").first
        text.wait_for()
        shown = text.inner_text()
        yield float(shown.removeprefix("Progress: ").rstrip("%"))


def test_a_person_runs_looks_mends_and_retries(site, page, keep):
    """The form starts a run whose progress moves; what it did is seen; it is retried once its input is mended."""
    start(page, keep, store="data/browsed")
    run = page.url
    page.get_by_text("Running", exact=True).first.wait_for(timeout=PATIENCE)
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text(f"ingest: {SESSIONS + 1} sessions").first.wait_for(timeout=PATIENCE)
    open_artifact(page, f"ingest: {SESSIONS + 1} sessions")
    seen = list(percents(page))
    keep("progress")
    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    page.goto(run)
    page.get_by_text("Failed", exact=True).first.wait_for(timeout=PATIENCE)
    keep("failed")
    for text, name in {
        "What this run has done": "receipts",
        "Quality of the windows": "quality",
        "What could not be done": "failures",
        "What this run will do": "plan",
    }.items():
        page.goto(run)
        open_artifact(page, text)
        keep(name)
    record(site.recordings, "torn", rate=250.0)
    page.goto(run)
    page.get_by_role("button", name="Retry").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    page.get_by_text("Completed", exact=True).first.wait_for(timeout=PATIENCE)
    page.get_by_text("Task Runs", exact=True).click()
    page.get_by_text("Cached").first.wait_for()
    keep("retried")
    landed = aggrade.open_windows(site.folder / "data" / "browsed")["session"].values.tolist()
    assert sorted(landed) == [*(f"sub-{number:02}" for number in range(SESSIONS)), "torn"]
