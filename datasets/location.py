"""Where a store's parts are, if not in its folder.

The index is in `ROOT/index.sqlite`, or where `ROOT/index.json` says; the shards of episodes are in `ROOT/episodes`, or
where `ROOT/shards.json` says: at any URL that fsspec knows, such as `gs://BUCKET/FOLDER` or `s3://BUCKET/FOLDER`.

To take an index back from PostgreSQL into a file, delete `index.json` and run `armchair store rebuild-index`. To move
shards, copy the folder with its structure as it is, write the new URL into `shards.json`, and `armchair store verify`.
"""

import json
from pathlib import Path

from upath import UPath

from datasets import files
from datasets.errors import StoreError
from datasets.index import Index
from datasets.postgres import PostgresIndex, parse
from datasets.sqlite import SqliteIndex

_INDEX, _SHARDS = "index.json", "shards.json"
_SAID_BY = {
    _INDEX: ("index is", ", or delete it and run `armchair store rebuild-index`"),
    _SHARDS: ("shards are", " from a copy"),
}


def index_of(root: Path) -> Index:
    """The index of the store at `root`, not yet opened. Raises StoreError if `index.json` is damaged."""
    url = _known(root, _INDEX)
    return SqliteIndex(root) if url is None else PostgresIndex(root, url)


def remember_index(root: Path, url: str) -> None:
    """Writes down that the index of the store at `root` is in the PostgreSQL database at `url`.

    Raises:
      StoreError: if it is elsewhere already, or the database cannot be reached or holds the index of another store.
    """
    rendered = parse(url).render_as_string()
    is_taken = PostgresIndex(root, rendered).exists()  # before the file is looked at: who makes it, makes it first
    known = _known(root, _INDEX)
    if known == rendered:
        return
    if known is not None:
        raise StoreError(f"the index of {root} is at {known}: delete {root / _INDEX} first if you mean to move it")
    if is_taken:
        raise StoreError(f"{rendered} holds the index of another store: make a database for this one (`createdb NAME`)")
    files.write_atomically(root / _INDEX, json.dumps({"url": rendered}, indent=2))


def shards_of(root: Path) -> Path | UPath:
    """The folder with a folder of shards for each dataset. Raises StoreError if `shards.json` is damaged."""
    url = _known(root, _SHARDS)
    return root / "episodes" if url is None else _folder(url)


def remember_shards(root: Path, url: str) -> None:
    """Writes down that the episodes of the store at `root` are to lie at `url`.

    Raises:
      StoreError: if there are episodes elsewhere already, those of another store are there, or it cannot be reached.
    """
    known = _known(root, _SHARDS)
    if known == url:
        return
    if known is not None or (root / "episodes").is_dir():
        there = known or root / "episodes"
        raise StoreError(f"the episodes of {root} are at {there}: copy them, and change {root / _SHARDS} by hand")
    folder = _folder(url)
    try:
        is_taken = folder.is_dir() and any(folder.iterdir())
    except Exception as error:  # each file system has errors of its own
        raise StoreError(f"{url} cannot be reached ({type(error).__name__}: {error}): check it") from error
    if is_taken:
        raise StoreError(f"{url} is not empty: give this store a folder of its own")
    files.write_atomically(root / _SHARDS, json.dumps({"url": url}, indent=2))


def _folder(url: str) -> Path | UPath:
    if "://" not in url:
        return Path(url).absolute()
    try:
        # Without listings that are remembered: other processes add shards.
        folder = UPath(url, use_listings_cache=False)
        folder.fs  # noqa: B018  # imports what the protocol needs
    except (ValueError, ImportError) as error:
        raise StoreError(f"{url} cannot be used ({error}): gs:// needs `pip install gcsfs`, s3:// s3fs") from error
    return Path(folder.path).absolute() if folder.protocol in ("file", "local") else folder


def _known(root: Path, name: str) -> str | None:
    """The URL in a file of the store, None if there is no such file."""
    try:
        return str(json.loads((root / name).read_text())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        what, otherwise = _SAID_BY[name]
        raise StoreError(f"{root / name} does not say where the {what} ({error}): restore it{otherwise}") from error
