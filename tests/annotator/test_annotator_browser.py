"""The annotator's page in Chromium, if that is installed: apt-get install chromium."""

import contextlib
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="pip install -r requirements-annotator.txt")
pytest.importorskip("playwright", reason="pip install playwright")

from playwright.sync_api import sync_playwright

from annotator.application import application
from annotator.server import PageServer, listening_socket

pytest_plugins = ("toy_workspaces",)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 60_000
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: apt-get install chromium"
)


@contextlib.contextmanager
def served(workspace):
    """The address of the page while it is served."""
    with listening_socket("127.0.0.1", 0) as listener:
        server = PageServer(application(workspace, token="a-token"), workspace)
        thread = threading.Thread(target=server.serve_until_stopped, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/a-token/"
        finally:
            workspace.is_closing = True
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def browser():
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def click_at(page, workspace, x: float, y: float, **options) -> None:
    """Click a pixel of the frame."""
    place = page.locator("#view").bounding_box()
    height, width = workspace.project.size
    scale = min((place["width"] - 16) / width, (place["height"] - 16) / height)
    left = place["x"] + (place["width"] - scale * width) / 2
    top = place["y"] + (place["height"] - scale * height) / 2
    page.mouse.click(left + (x + 0.5) * scale, top + (y + 0.5) * scale, **options)


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    """A pixel (x, y) of a mask, near its middle."""
    rows, columns = np.nonzero(mask)
    middle = np.abs(rows - rows.mean()) + np.abs(columns - columns.mean())
    best = int(middle.argmin())
    return float(columns[best]), float(rows[best])


@needs_chromium
def test_a_mask_is_made_propagated_undone_and_exported_in_the_browser(
    workspace, made_clip, browser, tmp_path
):
    project = workspace.project
    with served(workspace) as address:
        page, problems = open_page(browser, address)
        other, _ = open_page(browser, address)
        click_at(page, workspace, *centre_of(made_clip.labels[0] == 1))
        page.wait_for_selector("#undo:enabled")
        assert (project.results[0] == 1).any()
        other.bring_to_front()
        other.wait_for_selector("#undo:enabled")  # the other tab sees it

        page.bring_to_front()
        page.click("#propagate")
        page.wait_for_selector("#export:enabled")
        assert project.pending == [] and len(project.results) == project.frame_count
        before = {frame: np.array(labels) for frame, labels in project.results.items()}

        page.keyboard.press("End")
        page.keyboard.press("n")
        page.click("[data-tool=polygon]")
        for corner in ((5, 5), (25, 5), (25, 20), (5, 20)):
            click_at(page, workspace, *corner)
        page.keyboard.press("Enter")
        page.wait_for_selector("li[data-object='2']")
        page.wait_for_function("() => document.querySelectorAll('#export:disabled').length === 1")
        last = project.frame_count - 1
        assert project.annotations[last].visible[-1] == 2
        assert (project.results[last][7:18, 7:23] == 2).all()
        page.keyboard.press("Control+z")
        page.wait_for_selector("#export:enabled")
        assert all(np.array_equal(project.results[frame], before[frame]) for frame in before)

        page.reload()
        page.wait_for_selector("#export:enabled")
        page.click("#export")
        page.get_by_text("exported to").wait_for()
        assert problems == []
    for frame, labels in before.items():
        written = np.asarray(Image.open(tmp_path / f"masks/video/{frame:05d}.png"))
        assert np.array_equal(written, labels)


@needs_chromium
def test_the_keyboard_alone_makes_and_propagates_a_mask(workspace, browser):
    with served(workspace) as address:
        page, problems = open_page(browser, address)
        page.keyboard.press("?")
        page.wait_for_selector("#help[open]")
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        for key in ("f", "d", "d", "d", "s", "f"):
            page.keyboard.press(key)
        page.wait_for_selector("#undo:enabled")
        height, width = workspace.project.size
        assert workspace.project.results[0][height // 2, width // 2] == 1
        page.keyboard.press("Enter")
        page.wait_for_selector("#export:enabled")
        assert workspace.project.pending == [] and problems == []


def open_page(browser, address):
    """The page when it shows a frame, and the list of its errors."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: problems.append(message.text) if message.type == "error" else None,
    )
    page.goto(address)
    page.wait_for_selector("body[data-shown]")
    return page, problems
