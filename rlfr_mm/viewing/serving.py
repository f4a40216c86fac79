"""The page of runs on a local address; it is made again when the runs have grown."""

from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from rlfr_mm.viewing.run_page import read_run, render

REFRESH_S = 20  # how often the browser asks again while a run is not finished; the address keeps the reader's choices


class _Page:
    """The page as bytes, and whether all of its runs are finished."""

    def __init__(self, folders: Sequence[Path]):
        self.folders, self.lock = folders, Lock()
        self.state: list[tuple[str, int]] | None = None
        self.html, self.finished = b"", False

    def update(self) -> None:
        """Render again if a file of the runs has changed. ValueError if a run cannot be read."""
        with self.lock:
            paths = [folder / name for folder in self.folders for name in ("metrics.jsonl", "summary.json", "rollouts")]
            state = [(str(path), path.stat().st_mtime_ns) for path in paths if path.exists()]
            if state == self.state:
                return
            runs = [read_run(folder) for folder in self.folders]
            self.html, self.finished = render(runs)[0].encode(), all(run.summary for run in runs)
            self.state = state


def make_server(folders: Sequence[Path], port: int) -> ThreadingHTTPServer:
    """A server of the runs' page on 127.0.0.1; ValueError if the port is taken. Port 0 takes a free one."""
    page = _Page(folders)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/":
                self.send_error(404)
                return
            try:
                page.update()
            except ValueError as error:
                self.send_error(503, str(error).replace("\n", " "))
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page.html)))
            if not page.finished:
                self.send_header("Refresh", str(REFRESH_S))
            self.end_headers()
            self.wfile.write(page.html)

        def log_message(self, format: str, *args: object) -> None:
            pass

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot serve on port {port}: {getattr(error, 'strerror', None) or error}") from None


def serve(folders: Sequence[Path], port: int) -> None:
    """Serve the page until Ctrl-C."""
    with make_server(folders, port) as server:
        print(f"http://127.0.0.1:{server.server_address[1]} follows the runs; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
