"""Data sets that users bring: taken in as a stream or refused with a reason, private, versioned, ready for jobs."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import arrivals
from services.settings import Settings
from services.uploads.desk import Desk
from services.uploads.inspector import Inspector
from tests.api.stage import House, iris
from tests.services.uploaded.hostile import hostile_files
from tests.services.uploads_at_hand import Here, flowers

CSV = flowers()
PATH = "/v1/datasets/flowers"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A record whose body limit is smaller than the files that are sent."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", max_body_bytes=2_000, max_upload_bytes=100_000)


@pytest.fixture
def here(house: House) -> Here:
    """Look at files in this process, which saves the start of a child."""
    inspector = Here()
    house.record.desk.inspector = inspector  # type: ignore[assignment]
    return inspector


@pytest.fixture
def other(house: House) -> TestClient:
    """Somebody else, who may do everything with what is theirs."""
    return house.key("other", "admin")


def files(house: House) -> list[str]:
    """Every file of an upload, whole or half received."""
    return sorted(path.name for path in house.record.artifacts.folder.glob("*/uploads/*"))


def put(client: TestClient, body: Any = CSV, name: str = "flowers", **query: str) -> dict[str, Any]:
    """Send a file that is taken."""
    answer = client.put(f"/v1/datasets/{name}", content=body, params=query)
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())


def on(upload: str, **options: Any) -> dict[str, Any]:
    """A spec on an upload with two classes."""
    layers = [{"type": "dense", "units": 2, "activation": "softmax"}]
    return iris(dataset={"upload": upload, **options}, network={"layers": layers})


def test_a_table_is_taken_in_by_a_child_and_described(house: House, user: TestClient) -> None:
    answer = user.put(PATH, content=CSV)
    found = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/datasets/{found['id']}"
    assert (found["name"], found["kind"], found["size"]) == ("flowers", "table", len(CSV))
    assert (found["classes"], found["train"] + found["test"]) == (["blue", "red"], 240)
    assert "target" in found["options"]["properties"]
    assert found["survey"]["rows"] == 240
    assert user.get(PATH).json() == user.get(f"/v1/datasets/{found['id']}").json() == found
    assert len(files(house)) == 1


def test_a_real_child_refuses_with_a_reason_and_nothing_is_left(house: House, user: TestClient) -> None:
    answer = user.put(PATH, content=b"\x00\x01\x02\x03" * 100)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    (mistake,) = answer.json()["errors"]
    assert mistake["path"] == "body"
    assert mistake["message"]
    assert mistake["hint"]
    assert ".part" not in answer.text
    assert files(house) == []


def test_every_hostile_file_is_refused_with_a_reason_and_leaves_nothing(
    house: House, here: Here, user: TestClient
) -> None:
    hostile = hostile_files()
    assert len(hostile) >= 10
    for name, data in hostile.items():
        answer = user.put(PATH, content=data)
        assert answer.status_code in {413, 422}, name
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        (reason,) = problem["errors"] or [problem | {"message": problem["detail"]}]
        assert reason["message"], name
        assert reason["hint"], name
        assert files(house) == [], name


def test_the_same_content_again_changes_nothing(house: House, here: Here, user: TestClient) -> None:
    first, again = user.put(PATH, content=CSV), user.put(PATH, content=CSV)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert len(here.asked) == 1
    assert user.put("/v1/datasets/blossoms", content=CSV).json()["id"] == first.json()["id"]
    assert len(files(house)) == 1


def test_other_content_under_the_name_is_a_new_version(house: House, here: Here, user: TestClient) -> None:
    old, new = put(user), put(user, flowers(seed=2))
    assert old["id"] != new["id"]
    assert user.get(PATH).json()["id"] == new["id"]
    assert user.get(f"/v1/datasets/{old['id']}").json()["names"] == []
    assert put(user)["id"] == old["id"]
    assert user.get(PATH).json()["id"] == old["id"]
    assert len(files(house)) == 2


def test_uploads_come_before_the_built_in_sets_page_by_page(here: Here, user: TestClient) -> None:
    ids = [put(user, flowers(seed=k), f"set-{k}")["id"] for k in range(3)][::-1]
    rows, address, pages = [], "/v1/datasets?limit=2", 0
    while address:
        answer = user.get(address)
        rows += answer.json()["items"]
        address, pages = answer.links.get("next", {}).get("url", ""), pages + 1
        assert (answer.json()["next_cursor"] is None) == (not address)
    assert [row["id"] for row in rows[:3]] == ids
    names = [row["name"] for row in rows[3:]]
    assert {"digits", "mnist"} <= set(names)
    assert len(set(names)) == len(names) == len(user.get("/v1/datasets?limit=200").json()["items"]) - 3
    assert pages == -(-len(rows) // 2)
    for cursor in ("nonsense", "builtin.x", "builtin.", "builtin.9999999"):
        assert user.get("/v1/datasets", params={"cursor": cursor}).status_code == 422


def test_nobody_else_can_tell_that_it_exists(house: House, here: Here, user: TestClient, other: TestClient) -> None:
    id = put(user)["id"]
    for ref in (id, "flowers"):
        for method, path in (("GET", ""), ("GET", "/report"), ("GET", "/samples"), ("DELETE", "")):
            foreign = other.request(method, f"/v1/datasets/{ref}{path}")
            missing = other.request(method, f"/v1/datasets/{ref[:-1]}0{path}")
            assert foreign.status_code == missing.status_code == 404
            assert "flowers" not in str(foreign.json()["hint"])
        answer = other.post("/v1/jobs", json=on(ref))
        assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, "dataset.upload")
    assert id not in other.get("/v1/datasets").text
    assert put(other)["id"] != id
    assert user.get(PATH).json()["id"] == id
    assert len(files(house)) == 2


def test_it_takes_the_scope_to_submit(house: House) -> None:
    reader = house.key("reader", "read")
    assert reader.put(PATH, content=CSV).status_code == 403
    assert house.anonymous.put(PATH, content=CSV).status_code == 401
    assert files(house) == []


@pytest.mark.parametrize(
    "name",
    [
        *("..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "a%00b", "a%0ab", "a%20b", "-rf", ".hidden", "x" * 101, "ds_1"),
        *("ä", "a%5cb", "a;b", "%252e%252e", "CON:"),
    ],
)
def test_hostile_names_lead_nowhere(house: House, user: TestClient, name: str) -> None:
    answer = user.put(f"/v1/datasets/{name}", content=b"a,b\n1,2\n")
    assert answer.status_code in {404, 405, 422}
    assert files(house) == []
    assert user.get(f"/v1/datasets/{name}").status_code in {200, 404, 405, 422}


def test_a_built_in_name_is_taken(house: House, user: TestClient) -> None:
    for name in ("iris", "Fashion-MNIST"):
        answer = user.put(f"/v1/datasets/{name}", content=CSV)
        assert (answer.status_code, answer.json()["hint"]) == (409, "Choose another name.")
    assert user.delete("/v1/datasets/iris").status_code == 409


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "multipart/form-data; boundary=x"}, CSV, 415),
        ({"Content-Encoding": "gzip"}, CSV, 415),
        ({}, b"", 422),
        ({}, b"x" * 100_001, 413),
        ({"Content-Length": str(3 * 2**40)}, b"x", 413),
    ],
)
def test_what_is_not_a_file_of_bearable_size_is_refused(
    house: House, here: Here, user: TestClient, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = user.put(PATH, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert here.asked == []
    assert files(house) == []


def test_a_file_that_grows_beyond_the_limit_on_its_way_is_refused(house: House, user: TestClient) -> None:
    answer = user.put(PATH, content=(b"x" * 10_000 for _ in range(11)))
    assert (answer.status_code, "100,000" in answer.json()["detail"]) == (413, True)
    assert files(house) == []


def test_a_full_disk_is_507(house: House, user: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("services.uploads.folder.os.write", full)
        assert user.put(PATH, content=CSV).status_code == 507
    assert files(house) == []


def raw(house: House, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends to a connection that says these things and then is gone."""
    said: list[dict[str, Any]] = []
    left = [*messages, {"type": "http.disconnect"}]
    key = f"Bearer {house.secrets['user']}".encode()
    scope = {
        "type": "http", "method": "PUT", "path": PATH, "raw_path": PATH.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"authorization", key), (b"content-length", b"50000")],
        "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", 8000), "scheme": "http", "http_version": "1.1",
        "state": {}, "extensions": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if left[0].get("wait"):
            await asyncio.sleep(left.pop(0)["wait"])
        return left.pop(0) if len(left) > 1 else left[0]

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    async def call() -> None:
        await house.app(scope, receive, send)

    assert house.anonymous.portal is not None
    house.anonymous.portal.call(call)
    return said


def test_a_client_that_goes_leaves_nothing_behind(house: House, here: Here, user: TestClient) -> None:
    raw(house, {"type": "http.request", "body": b"x" * 20_000, "more_body": True})
    assert files(house) == []
    assert here.asked == []


def test_a_client_that_falls_silent_is_sent_home(
    house: House, user: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "IDLE_SECONDS", 0.05)
    said = raw(house, {"type": "http.request", "body": b"x", "more_body": True}, {"wait": 0.5})
    assert said[0]["status"] == 408
    assert files(house) == []


def test_an_inspection_that_needs_too_much_is_refused(house: House, user: TestClient) -> None:
    house.record.desk.inspector = Inspector(["/bin/sh", "-c", "kill -XCPU $$"])
    answer = user.put(PATH, content=CSV)
    assert answer.status_code == 422
    assert "seconds of computing" in answer.json()["errors"][0]["message"]
    assert files(house) == []


@pytest.mark.parametrize("claim", ["[1]", '{"kind":"table"}', '{"kind":"magic","facts":{},"report":{},"samples":[]}'])
def test_what_a_child_claims_is_not_believed(house: House, user: TestClient, claim: str) -> None:
    house.record.desk.inspector = Inspector(["/bin/sh", "-c", f"echo '{{\"found\":{claim}}}'"])
    assert user.put(PATH, content=CSV).status_code == 422
    assert files(house) == []


def test_the_report_is_worked_out_once_for_each_wish(house: House, here: Here, user: TestClient) -> None:
    put(user)
    found = user.get(f"{PATH}/report").json()
    assert (found["kind"], found["rows"]) == ("table", {"train": 173, "validation": 19, "test": 48})
    assert set(found["classes"]["train"]) == {"blue", "red"}
    assert found["guess"]["majority class"]["accuracy"] > 0.4
    assert found["missing"] == {"width": 6}
    assert found["survey"]["rows"] == 240
    assert found["options"]["missing"] == "median"
    assert user.get(f"{PATH}/report", params={"seed": 1}).json() == found
    user.get(f"{PATH}/report", params={"seed": 2})
    assert [request["do"] for request in here.asked] == ["survey", "report", "report"]
    wish = {"target": "ground", "missing": "drop", "features": ["length", "width"], "train": 0.5}
    ground = user.get(f"{PATH}/report", params=wish).json()
    assert set(ground["classes"]["train"]) == {"sand", "clay", "loam"}
    assert sum(ground["rows"].values()) < 234


def test_a_report_without_options_is_for_those_that_suit_the_file(here: Here, user: TestClient) -> None:
    hours = [f"2024-01-{1 + k // 24:02d}T{k % 24:02d}:00:00,{k % 7}.5" for k in range(24 * 20) if k != 100]
    upload = put(user, "\n".join(["time,load", *hours]).encode(), "load")
    assert (upload["kind"], upload["suggested"]["gaps"]) == ("series", "interpolate")
    report = user.get("/v1/datasets/load/report").json()
    assert (report["options"]["gaps"], report["order"]["in_order"]) == ("interpolate", True)
    assert user.get("/v1/datasets/load/report?gaps=error").status_code == 422


def test_a_report_for_options_that_do_not_fit_says_all_that_is_wrong(here: Here, user: TestClient) -> None:
    put(user)
    answer = user.get(f"{PATH}/report", params={"targt": "colour", "categories": "many"})
    assert answer.status_code == 422
    assert {m["path"] for m in answer.json()["errors"]} == {"dataset.targt", "dataset.categories"}
    answer = user.get(f"{PATH}/report", params={"target": "color", "train": 0.9, "validation": 0.5})
    assert "colour" in answer.text
    assert user.get(f"{PATH}/report", params={"train": 2}).status_code == 422


def test_built_in_sets_have_reports_and_samples_too(here: Here, user: TestClient) -> None:
    report = user.get("/v1/datasets/digits/report?train_fraction=0.5").json()
    assert report["rows"]["train"] < 700
    assert report["duplicates"]["test"] == 0
    samples = user.get("/v1/datasets/digits/samples").json()["items"]
    assert len(samples) == 12
    assert all(one["x"].startswith("data:image/png;base64,") and one["y"] in "0123456789" for one in samples)
    assert user.get("/v1/datasets/iris/samples").json()["items"][0]["y"] in {"setosa", "versicolor", "virginica"}
    before = len(here.asked)
    assert user.get("/v1/datasets/digits/samples").json()["items"] == samples
    assert len(here.asked) == before


def test_a_built_in_set_that_is_not_here_yet_is_a_conflict_with_the_remedy(house: House, user: TestClient) -> None:
    house.record.desk._datasets_dir = house.record.settings.data_dir / "nothing"
    answer = user.get("/v1/datasets/titanic/samples")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_downloaded")
    assert "Post a job on it" in answer.json()["hint"]


def test_samples_are_rows_as_they_were_sent(here: Here, user: TestClient) -> None:
    put(user)
    items = user.get(f"{PATH}/samples").json()["items"]
    assert 1 <= len(items) <= 12
    assert items[0]["y"] in {"red", "blue"}


def test_a_job_names_an_upload_and_carries_its_id_and_content(house: House, here: Here, user: TestClient) -> None:
    upload = put(user)
    job = user.post("/v1/jobs", json=on("flowers", target="colour")).json()
    assert (job["dataset"], job["outline"]["rows"]["test"]) == ("flowers", 48)
    dataset = job["spec"]["dataset"]
    assert (dataset["upload"], dataset["sha256"], dataset["target"]) == (upload["id"], upload["sha256"], "colour")
    assert "name" not in dataset
    put(user, flowers(seed=2))
    again = user.post("/v1/jobs", json=job["spec"]).json()
    assert again["spec"] == job["spec"]
    assert len(files(house)) == 2


@pytest.mark.parametrize(
    ("dataset", "path", "words"),
    [
        ({"upload": "flowres"}, "dataset.upload", "Did you mean 'flowers'?"),
        ({"name": "flowers"}, "dataset.name", "write upload: flowers"),
        ({"upload": "flowers", "sha256": "0" * 64}, "dataset.sha256", "Leave sha256 out"),
        ({"upload": "flowers", "sha256": "short"}, "dataset.sha256", ""),
        ({"upload": "flowers", "name": "iris"}, "dataset", "either name"),
        ({}, "dataset", "either name"),
        ({"name": "iris", "sha256": "0" * 64}, "dataset", "belongs to an upload"),
        ({"upload": "flowers", "target": "color"}, "dataset.target", "colour"),
        ({"upload": "flowers", "targt": "colour"}, "dataset.targt", "target"),
        ({"upload": "ds_0123456789abcdef0123"}, "dataset.upload", "flowers"),
    ],
)
def test_a_spec_that_names_no_data_is_told_what_it_could_name(
    here: Here, user: TestClient, dataset: dict[str, Any], path: str, words: str
) -> None:
    put(user)
    answer = user.post("/v1/jobs/validate", json=on("flowers") | {"dataset": dataset})
    assert answer.status_code == 422
    (mistake,) = [m for m in answer.json()["errors"] if m["path"] == path]
    assert words in f"{mistake['message']} {mistake['hint']}"


def test_an_upload_in_use_stays_and_an_idle_one_goes(house: House, here: Here, user: TestClient) -> None:
    upload = put(user)
    job = user.post("/v1/jobs", json=on(upload["id"])).json()["id"]
    answer = user.delete(PATH)
    assert (answer.status_code, job in answer.json()["detail"]) == (409, True)
    user.post(f"/v1/jobs/{job}/cancel")
    assert user.delete(PATH).status_code == 204
    assert user.get(PATH).status_code == user.get(f"/v1/datasets/{upload['id']}").status_code == 404
    assert files(house) == []


def test_a_start_sweeps_what_a_crash_left(house: House, here: Here, user: TestClient) -> None:
    put(user)
    folder = house.record.artifacts.folder / "somebody" / "uploads"
    folder.mkdir(parents=True)
    (folder / ".half.part").write_bytes(b"x")
    desk = Desk(house.record.desk.store, house.record.desk.folder, Path())
    desk.folder.sweep(desk.store.files)
    assert len(files(house)) == 1
    assert user.get(f"{PATH}/report").status_code == 200


@pytest.fixture(autouse=True)
def _every_file_is_accounted_for(house: House) -> Iterator[None]:
    """After every test: as many files as uploads, and no open file of one."""
    yield
    assert set(files(house)) == house.record.desk.store.files()
    opened = [os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and fd.exists()]
    assert not [path for path in opened if "/uploads/" in path]
