"""Studies on the page, in a real browser against a real server."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from tests.api.chromium import Chromium
from tests.api.stage import House, iris
from tests.api.test_studies import seeds, work

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed on this machine")


@pytest.fixture
def address(house: House) -> Iterator[str]:
    """The same application on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(house.app, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = server.force_exit = True
    thread.join(10)
    listener.close()


@pytest.fixture
def page(house: House, address: str, tmp_path: Path) -> Iterator[Chromium]:
    """A browser that has opened the link."""
    house.key("user", "read", "submit", "cancel")
    browser = Chromium(str(PROGRAM), tmp_path / "profile")
    browser.call("Page.navigate", url=f"{address}/?token={house.secrets['user']}")
    browser.wait("document.querySelector('#yard') && !document.querySelector('#yard').hidden")
    yield browser
    browser.close()
    assert browser.troubles == []


def test_a_study_is_begun_at_a_job_watched_extended_and_deleted(house: House, page: Chromium) -> None:
    page.js("location.hash = '#/studies'")
    page.wait("document.querySelector('#studies-empty').innerText.includes('trainyard study examples/')")
    job = house.queue(house.secrets["user.tenant"])
    work(house)
    page.js(f"location.hash = '#/jobs/{job}'")
    page.wait("document.querySelector('[data-act=study]') !== null")
    page.js("document.querySelector('[data-act=study]').click()")
    page.wait("document.querySelector('input[value=seeds]') !== null")
    page.js("document.querySelector('input[value=seeds]').click()")
    seeds_field = "document.querySelector('#study-seeds')"
    type_in = f"(i => {{ i.value = '%s'; i.dispatchEvent(new Event('input', {{bubbles: true}})); }})({seeds_field})"
    page.js(type_in % "0")
    page.wait("document.querySelector('#study-seeds-wrong').textContent")
    assert page.js("document.querySelector('#study-seeds').getAttribute('aria-invalid')") == "true"
    page.js(type_in % "3")
    page.wait("document.querySelector('.study-form .message').textContent.startsWith('3 trials')")
    page.js("document.querySelector('.study-form [type=submit]').click()")
    page.wait("location.hash.startsWith('#/studies/') && document.querySelectorAll('.trials tbody tr').length === 3")
    work(house)
    page.wait("document.querySelector('.verdict .sentence')?.textContent.includes('0.9')")
    assert page.js("document.querySelectorAll('.study-chart path, .study-chart circle').length") > 0
    assert page.js("document.querySelectorAll('.sortable a[href^=\"#/jobs/\"]').length") == 3
    page.js("document.querySelector('#more-seeds').value = 1; document.querySelector('[data-act=extend]').click()")
    page.wait("document.querySelectorAll('.trials tbody tr').length === 4")
    work(house)
    page.wait("document.querySelector('[data-act=delete]') !== null")
    page.js("document.querySelector('[data-act=delete]').click()")
    page.js("document.querySelector('#ask [value=yes]').click()")
    page.wait("location.hash === '#/studies' && !document.querySelector('#studies-empty').hidden")


def test_a_search_is_begun_with_a_range_and_choices_in_plain_words(house: House, page: Chromium) -> None:
    job = house.queue(house.secrets["user.tenant"])
    work(house)
    page.js(f"location.hash = '#/jobs/{job}/study'")
    page.wait("document.querySelector('input[value=search]') !== null")
    page.js("document.querySelector('input[value=search]').click()")
    space = page.js("document.querySelector('#study-space').value")
    assert space == "training.optimizer.learning_rate: 0.0005 to 0.5 log"
    told = f"{space}\\ntraining.batch_size: 8, 16\\nnetwork.layers[0].units: 4 to 32 step 4"
    typed = f"(i => {{ i.value = '{told}'; i.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
    page.js(f"{typed}(document.querySelector('#study-space'))")
    page.wait("document.querySelector('.study-form .message').textContent.startsWith('20 trials')")
    page.js("document.querySelector('.study-form [type=submit]').click()")
    page.wait("location.hash.startsWith('#/studies/') && document.querySelectorAll('.trials tbody tr').length === 1")
    user = house.client(headers={"Authorization": f"Bearer {house.secrets['user']}"})
    begun = user.get("/v1/studies").json()["items"][0]
    assert begun["trials"] == {"queued": 1, "waiting": 19}
    found = house.record.studies.get(house.secrets["user.tenant"], begun["id"]).spec["space"]
    assert (
        found["training.optimizer.learning_rate"] | {"low": 0.0005, "high": 0.5, "scale": "log"}
        == (found["training.optimizer.learning_rate"])
    )
    assert found["training.batch_size"]["choices"] == [8, 16]
    assert [found["network.layers[0].units"][name] for name in ("low", "high", "step")] == [4, 32, 4]


def test_a_link_opens_a_study_and_one_that_is_gone_is_said_to_be(house: House, page: Chromium) -> None:
    user = house.client(headers={"Authorization": f"Bearer {house.secrets['user']}"})
    id = user.post("/v1/studies", json=seeds(job=iris())).json()["id"]
    page.js(f"location.hash = '#/studies/{id}'")
    page.wait("document.querySelector('#detail h2')?.textContent === 'luck'")
    page.js("document.querySelector('[data-act=cancel]').click()")
    page.js("document.querySelector('#ask [value=yes]').click()")
    page.wait("document.querySelector('[data-act=cancel]')?.disabled || document.querySelector('[data-act=delete]')")
    work(house)
    page.wait("document.querySelector('#detail .badge').textContent === 'cancelled'")
    page.js("location.hash = '#/studies/01a20d9a-0000-7000-8000-000000000000'")
    page.wait("document.querySelector('#detail').innerText.includes('There is no such study')")


def test_the_spec_that_the_page_shows_as_yaml_is_the_study(house: House, page: Chromium) -> None:
    user = house.client(headers={"Authorization": f"Bearer {house.secrets['user']}"})
    study = user.post("/v1/studies", json=seeds()).json()
    page.js(f"location.hash = '#/studies/{study['id']}'")
    text = page.wait("document.querySelector('.spec')?.textContent")
    found = user.post("/v1/studies/validate", content=text, headers={"Content-Type": "application/yaml"})
    assert found.json()["spec"] == study["spec"]
