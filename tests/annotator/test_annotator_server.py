"""The annotator's server: what it refuses, and that it shows and changes what the project holds."""

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="pip install -r requirements-annotator.txt")
pytest.importorskip("httpx", reason="the test client of Starlette needs it")

from starlette.testclient import TestClient

from annotator import application as application_module
from annotator.application import application
from annotator.bounded_cache import BoundedCache
from annotator.encoding import unpacked_mask
from annotator.guard import allowed_names, is_loopback
from inference.interactive import InteractiveProject
from util.errors import InputError

pytest_plugins = ("toy_workspaces",)
TOKEN = "a-token"
ADDRESS = "http://127.0.0.1:8765"


@pytest.fixture
def client(workspace):
    return client_of(workspace)


@pytest.fixture(scope="module")
def idle_client(idle_workspace):
    return client_of(idle_workspace)


def client_of(workspace) -> TestClient:
    return TestClient(application(workspace, token=TOKEN), base_url=f"{ADDRESS}/{TOKEN}/")


def packed(mask: np.ndarray) -> bytes:
    return np.packbits(mask.ravel()).tobytes()


def labels_shown(client, workspace, frame: int) -> np.ndarray:
    content = client.get(f"api/labels/{frame}").content
    return np.frombuffer(content, np.uint8).reshape(workspace.project.size)


def wait_until_done(client) -> dict:
    for _ in range(600):
        state = client.get("api/state").json()
        if not state["propagation"]["running"]:
            return state
        time.sleep(0.05)
    raise AssertionError("the propagation does not end")


# What is refused


@pytest.mark.parametrize(
    "path", ["/", "/api/state", "/static/main.js", "/other/api/state", "/a-tokeN/"]
)
def test_a_request_without_the_token_is_refused(idle_workspace, path):
    client = TestClient(application(idle_workspace, token=TOKEN), base_url=ADDRESS)
    answer = client.get(path)
    assert answer.status_code == 403 and "terminal" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:8765"}, 421),
        ({"Host": "192.168.1.7:8765"}, 421),
        ({"Host": ""}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": ADDRESS}, 200),
        ({"Host": "localhost:8765", "Origin": "http://localhost:8765"}, 200),
        ({"Host": "[::1]:8765"}, 200),
    ],
    ids=str,
)
def test_other_hosts_and_origins_are_refused(idle_client, headers, status):
    assert idle_client.get("api/state", headers=headers).status_code == status


def test_a_server_for_other_machines_takes_addresses_but_no_foreign_names(idle_workspace):
    inner = application(idle_workspace, token=TOKEN, host="0.0.0.0")
    client = TestClient(inner, base_url=f"{ADDRESS}/{TOKEN}/")
    assert client.get("api/state", headers={"Host": "192.168.1.7:80"}).status_code == 200
    assert client.get("api/state", headers={"Host": "evil.example"}).status_code == 421
    assert is_loopback("127.0.0.1") and is_loopback("::1") and not is_loopback("0.0.0.0")
    assert "192.168.1.7" in allowed_names("192.168.1.7")


@pytest.mark.parametrize(
    "path",
    [
        "static/../__main__.py",
        "static/..%2f__main__.py",
        "static/%2e%2e/%2e%2e/README.md",
        "static//etc/passwd",
        "static/..\\__main__.py",
        "../project/history.json",
        "api/frames/../../project/history.json",
        "project/history.json",
    ],
)
def test_no_path_leads_out_of_the_pages_own_files(idle_client, path):
    assert idle_client.get(path).status_code in (403, 404)


@pytest.mark.parametrize("length_is_told", [True, False])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(idle_client, length_is_told):
    sent = []

    def parts():
        for _ in range(50):
            sent.append(1)
            yield bytes(100_000)

    body = bytes(5_000_000) if length_is_told else parts()
    answer = idle_client.post("api/draw", content=body)
    assert answer.status_code == 413
    assert idle_client.get("api/state").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("api/draw", b"no JSON", "not JSON"),
        ("api/draw", b"[]", "not an object"),
        ("api/draw", b"{}", "lacks a value"),
        ("api/draw", b'{"frame": 99, "object": 1, "box": [0, 0, 9, 9]}', "does not exist"),
        ("api/draw", b'{"frame": 0, "object": 0, "box": [0, 0, 9, 9]}', "ids are 1 to 255"),
        ("api/draw", b'{"frame": 0, "object": 1, "box": [0, 0, 9]}', "wrong"),
        ("api/draw", b'{"frame": 0.5, "object": 1, "box": [0, 0, 9, 9]}', "wrong"),
        (
            "api/draw",
            b'{"frame": 0, "object": 1, "strokes": [{"points": "<b>", "positive": 1}]}',
            "lacks a value",
        ),
        ("api/masks/0/1", b"\x01", "mask of 1 bytes"),
        ("api/masks/0/1", bytes(48 * 64 // 8), "no pixel"),
        ("api/undo", b"", "nothing to undo"),
        ("api/propagate", b"", "no frame is annotated"),
        ("api/suggest", b'{"by": "luck"}', "not known"),
        ("api/remove_object", b'{"object": 7}', "not in the project"),
        ("api/export", b"", "no frame is annotated"),
    ],
)
def test_wrong_requests_are_answered_in_one_line_and_change_nothing(idle_client, path, body, words):
    before = idle_client.get("api/state").json()
    answer = idle_client.post(path, content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert any(part in error for part in words.split("|")) and "\n" not in error
    assert idle_client.get("api/state").json() == before


def test_frames_that_do_not_exist_are_refused(idle_client):
    for path in ("api/frames/99.jpg", "api/labels/99"):
        assert idle_client.get(path).status_code == 400
    for path in ("api/frames/-1.jpg", "api/frames/x.jpg", "api/labels/..", "api/none"):
        assert idle_client.get(path).status_code == 404
    assert idle_client.get("api/undo").status_code == 405


def test_answers_forbid_scripts_and_frames_of_other_sites(idle_client):
    for path in ("", "static/main.js", "api/state", "api/none"):
        headers = idle_client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_from_elsewhere_and_sets_no_markup():
    folder = application_module._STATIC
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        links = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in links and "https://" not in links, path.name
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text, path.name


# What is shown and changed


def test_annotate_propagate_undo_and_export_give_what_the_project_gives(
    client, workspace, made_clip, make_segmenter, tmp_path
):
    for object_id in (1, 2):
        mask = made_clip.labels[0] == object_id
        assert client.post(f"api/masks/0/{object_id}", content=packed(mask)).status_code == 200
    state = client.get("api/state").json()
    assert state["annotations"] == {"0": [1, 2]} and state["pending"] == [[0, 5]]
    assert client.post("api/export").status_code == 400  # results are pending
    assert client.post("api/propagate").json()["revision"] > state["revision"]
    state = wait_until_done(client)
    assert state["pending"] == [] and state["with_results"] == [[0, 5]]
    assert state["propagation"] == {"running": False, "error": None}

    with InteractiveProject.open(
        tmp_path / "by hand", made_clip.frames[:5], make_segmenter()
    ) as project:
        project.annotate(0, made_clip.labels[0])
        expected = {result.frame_index: result.labels for result in project.propagate()}
    shown = {frame: labels_shown(client, workspace, frame) for frame in range(5)}
    assert all(np.array_equal(shown[frame], expected[frame]) for frame in range(5))

    stroke = {"points": [[30, 20], [34, 22]], "positive": False, "radius": 2}
    values = {"frame": 3, "object": 2, "strokes": [stroke]}
    assert client.post("api/draw", json=values).json()["pending"]
    corrected = labels_shown(client, workspace, 3)
    assert corrected[20, 30] != 2 and not np.array_equal(corrected, shown[3])
    assert client.post("api/undo").json()["pending"] == []
    assert np.array_equal(labels_shown(client, workspace, 3), shown[3])
    assert client.post("api/redo").json()["can_redo"] is False
    client.post("api/undo")

    folder = client.post("api/export").json()["exported"]
    assert folder == str(tmp_path / "masks/video")
    for frame in range(5):
        written = Image.open(f"{folder}/{frame:05d}.png")
        assert written.mode == "P" and np.array_equal(np.asarray(written), shown[frame])


def test_a_click_a_box_and_an_eraser_change_one_object(client, workspace, made_clip):
    client.post("api/masks/0/2", content=packed(made_clip.labels[0] == 2))
    rows, columns = np.nonzero(made_clip.labels[0] == 1)
    box = [float(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())]
    state = client.post("api/draw", json={"frame": 0, "object": 1, "box": box}).json()
    assert state["object_ids"] == [1, 2]
    labels = labels_shown(client, workspace, 0)
    erased = labels == 2
    erased[: erased.nonzero()[0].mean().astype(int)] = False
    client.post("api/masks/0/2", content=packed(erased))
    after = labels_shown(client, workspace, 0)
    assert np.array_equal(after == 2, erased) and np.array_equal(after == 1, labels == 1)
    assert client.post("api/remove_object", json={"object": 1}).json()["object_ids"] == [2]
    assert client.post("api/remove_annotation", json={"frame": 0}).json()["annotations"] == {}


def test_a_mask_replaces_strokes_which_then_no_longer_count(client, workspace):
    stroke = {"points": [[20, 20]], "positive": True, "radius": 4}
    client.post("api/draw", json={"frame": 0, "object": 1, "strokes": [stroke]})
    mask = np.zeros(workspace.project.size, bool)
    mask[35:45, 40:50] = True
    client.post("api/masks/0/1", content=packed(mask))
    click = {"points": [[45, 40]], "positive": True, "radius": 1}
    client.post("api/draw", json={"frame": 0, "object": 1, "strokes": [click]})
    assert labels_shown(client, workspace, 0)[20, 20] == 0


def test_a_frame_is_served_as_the_video_has_it(client, workspace, made_clip):
    for frame in (4, 0, 4):
        answer = client.get(f"api/frames/{frame}.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        image = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert np.abs(image.astype(int) - made_clip.frames[frame]).mean() < 8


def test_suggestions_leave_out_annotated_frames(client, workspace, made_clip):
    client.post("api/masks/0/1", content=packed(made_clip.labels[0] == 1))
    answer = client.post("api/suggest", json={"by": "distance", "count": 2}).json()
    assert answer["suggested"][0] == 4 and 0 not in answer["suggested"]


def test_two_tabs_see_the_same_state_and_one_waits_for_the_changes_of_the_other(
    workspace, made_clip
):
    one, other = client_of(workspace), client_of(workspace)
    seen = other.get("api/state").json()
    waiting = []
    thread = threading.Thread(
        target=lambda: waiting.append(
            other.get("api/state", params={"after": seen["revision"]}).json()
        )
    )
    thread.start()
    time.sleep(0.15)
    assert not waiting  # nothing has changed yet
    changed = one.post("api/masks/0/1", content=packed(made_clip.labels[0] == 1)).json()
    thread.join(5)
    assert waiting == [changed] and changed["revision"] > seen["revision"]
    assert one.get("api/state").json() == other.get("api/state").json()


def test_a_propagation_runs_beside_requests_and_can_be_cancelled(workspace, made_clip, monkeypatch):
    client = client_of(workspace)
    client.post("api/masks/0/1", content=packed(made_clip.labels[0] == 1))
    gate, reached = threading.Event(), threading.Event()
    make = workspace.project.propagate

    def slowly(**options):
        for result in make(**options):
            yield result
            reached.set()
            gate.wait(10)

    monkeypatch.setattr(workspace.project, "propagate", slowly)
    client.post("api/propagate")
    assert reached.wait(20)
    state = client.get("api/state").json()
    assert state["propagation"]["running"] and state["propagation"]["frame"] == 0
    assert state["propagation"]["total"] == 6  # 1 backwards, 5 forwards
    assert client.get("api/frames/2.jpg").status_code == 200
    assert client.post("api/propagate").status_code == 400
    assert client.post("api/suggest", json={}).status_code == 400
    client.post("api/cancel")
    gate.set()
    state = wait_until_done(client)
    assert state["pending"] == [[0, 5]] and state["propagation"]["error"] is None


def test_live_labels_of_a_propagation_are_shown_before_its_stretch_is_finished(
    workspace, made_clip, monkeypatch
):
    client = client_of(workspace)
    client.post("api/masks/0/1", content=packed(made_clip.labels[0] == 1))
    gate, reached = threading.Event(), threading.Event()
    make = workspace.project.propagate

    def up_to_frame_2(**options):
        for result in make(**options):
            yield result
            if result.frame_index == 2:
                reached.set()
                gate.wait(10)

    monkeypatch.setattr(workspace.project, "propagate", up_to_frame_2)
    assert not labels_shown(client, workspace, 1).any()
    client.post("api/propagate")
    assert reached.wait(20)
    live = labels_shown(client, workspace, 1)
    assert 1 not in workspace.project.results
    gate.set()
    wait_until_done(client)
    assert live.any() and np.array_equal(labels_shown(client, workspace, 1), live)


def test_an_error_in_a_propagation_is_shown(workspace, made_clip, monkeypatch):
    def fails(**options):
        raise InputError("frame 3: is torn")
        yield

    client = client_of(workspace)
    client.post("api/masks/0/1", content=packed(made_clip.labels[0] == 1))
    monkeypatch.setattr(workspace.project, "propagate", fails)
    client.post("api/propagate")
    assert wait_until_done(client)["propagation"]["error"] == "frame 3: is torn"


# Parts


def test_a_cache_keeps_its_bound_and_forgets_the_least_recently_used():
    cache = BoundedCache(10)
    for key in range(3):
        cache.put(key, bytes(3))
    cache.get(0)
    cache.put(3, bytes(4))
    assert [cache.get(key) is None for key in range(4)] == [False, True, False, False]
    cache.put(4, bytes(11))
    assert cache.held_bytes <= 10 and cache.get(4) is None


def test_a_mask_of_bits_is_read_row_by_row():
    mask = np.zeros((3, 5), bool)
    mask[0, 1] = mask[2, 4] = True
    assert np.array_equal(unpacked_mask(packed(mask), (3, 5)), mask)
    with pytest.raises(InputError, match="mask of 3 bytes"):
        unpacked_mask(bytes(3), (3, 5))
