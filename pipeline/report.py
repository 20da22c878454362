"""A report is one HTML file: text, tables, figures and videos, readable offline, in light and in dark."""

import base64
import dataclasses
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from datasets import files

_TEMPLATE = Path(__file__).with_name("report.html.jinja")


def _data_url(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


@dataclasses.dataclass(frozen=True)
class Video:
    """One clip with what a person should see in it."""

    path: Path
    caption: str


class Report:
    """Collects the parts of a report in reading order; `write` makes the file."""

    def __init__(self, title: str, lead: str):
        """Starts a report with its title and a first paragraph that says what was done and what came out."""
        self._title, self._lead = title, lead
        self._parts: list[dict[str, Any]] = []

    def heading(self, text: str) -> None:
        """A section heading."""
        self._parts.append({"kind": "heading", "text": text})

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append({"kind": "text", "text": text})

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> None:
        """A table; the first column names the rows."""
        self._parts.append({"kind": "table", "columns": columns, "rows": list(rows), "caption": caption})

    def figure(self, figure: Figure, caption: str) -> None:
        """A matplotlib figure, as vector graphics."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
        self._parts.append({"kind": "image", "url": _data_url(buffer.getvalue(), "image/svg+xml"), "caption": caption})

    def videos(self, videos: Iterable[Video]) -> None:
        """A row of clips that play by themselves, without sound."""
        clips = [{"url": _data_url(v.path.read_bytes(), "video/mp4"), "caption": v.caption} for v in videos]
        self._parts.append({"kind": "videos", "videos": clips})

    def write(self, path: Path) -> Path:
        """Writes the file and returns its path."""
        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(_TEMPLATE.read_text())
        files.write_atomically(path, template.render(title=self._title, lead=self._lead, parts=self._parts))
        return path
