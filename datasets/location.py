"""Where a store's index is: in `ROOT/index.sqlite`, or where `ROOT/index.json` says.

To take an index back from PostgreSQL into a file, delete `index.json` and run `armchair store rebuild-index`.
"""

import json
from pathlib import Path

from datasets import files
from datasets.errors import StoreError
from datasets.index import Index
from datasets.postgres import PostgresIndex, parse
from datasets.sqlite import SqliteIndex


def index_of(root: Path) -> Index:
    """The index of the store at `root`, not yet opened. Raises StoreError if `index.json` is damaged."""
    url = _known_url(root)
    return SqliteIndex(root) if url is None else PostgresIndex(root, url)


def remember(root: Path, url: str) -> None:
    """Writes down that the index of the store at `root` is in the PostgreSQL database at `url`.

    Raises:
      StoreError: if it is elsewhere already, or the database cannot be reached or holds the index of another store.
    """
    rendered = parse(url).render_as_string()
    is_taken = PostgresIndex(root, rendered).exists()  # before the file is looked at: who makes it, makes it first
    known = _known_url(root)
    if known == rendered:
        return
    if known is not None:
        raise StoreError(f"the index of {root} is at {known}: delete {_path(root)} first if you mean to move it")
    if is_taken:
        raise StoreError(f"{rendered} holds the index of another store: make a database for this one (`createdb NAME`)")
    files.write_atomically(_path(root), json.dumps({"url": rendered}, indent=2))


def _path(root: Path) -> Path:
    return root / "index.json"


def _known_url(root: Path) -> str | None:
    try:
        return str(json.loads(_path(root).read_text())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{_path(root)} does not say where the index is ({error}): restore it, or delete it and run "
            f"`armchair store rebuild-index --store {root}`"
        ) from error
