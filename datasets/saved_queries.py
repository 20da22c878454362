"""Queries that a team has given a name, kept in the store, every version for ever.

```
ROOT/queries/NAME/0001.json      its text, and how many episodes it found when it was saved, and which
```
In a query, `saved=NAME` stands for the newest version's conditions, `saved=NAME@1` for those of version 1; conditions
beside it come on top. The store grows, so a saved query may find more later: the fingerprint tells. What is trained on
the episodes of a query says in its card which these were, by the same fingerprint.
"""

import dataclasses
import hashlib
import json
import re
import shlex
import time
from collections.abc import Iterable
from pathlib import Path

from datasets import files
from datasets.errors import StoreError
from datasets.query import Query
from datasets.validate import is_name

_WORD = re.compile(r"saved=(?P<name>[^@]*)(@(?P<version>.*))?")


@dataclasses.dataclass(frozen=True)
class SavedQuery:
    """One version of a query with a name."""

    name: str
    version: int  # from 1
    text: str  # as `Query.parse` reads it
    episodes: int  # that it found when it was saved
    fingerprint: str  # of their ids
    timestamp: int  # Unix seconds


def fingerprint(episode_ids: Iterable[str]) -> str:
    """16 hex digits that change with the set of episodes, whatever its order."""
    return hashlib.sha256("\n".join(sorted(episode_ids)).encode()).hexdigest()[:16]


def describe(asked: str, query: Query, episode_ids: Iterable[str]) -> dict[str, int | str]:
    """What the card of something that is made from the episodes of a query says of it.

    Args:
      asked: the text as a person wrote it, with `saved=NAME@1` and all.
      query: what that meant.
      episode_ids: what it found.
    """
    ids = list(episode_ids)
    return {"asked": asked, "query": str(query), "episodes": len(ids), "fingerprint": fingerprint(ids)}


def save(root: Path, name: str, query: Query, episode_ids: Iterable[str]) -> SavedQuery:
    """Saves a query as the newest version of a name; if it is the newest already, that one stays.

    Args:
      root: of the store.
      name: letters, digits, `.`, `_` and `-`.
      query: what to save.
      episode_ids: what it finds now.

    Raises:
      StoreError: if the name is none.
    """
    if not is_name(name):
        raise StoreError(f"a query cannot be saved as {name!r}: use letters, digits, '.', '_' and '-'")
    ids = list(episode_ids)
    while True:
        versions = _versions(root, name)
        if versions and (newest := load(root, name)).text == str(query):
            return newest
        number = len(versions) + 1
        saved = SavedQuery(name, number, str(query), len(ids), fingerprint(ids), int(time.time()))
        if files.write_new(
            _folder(root) / name / f"{number:04d}.json", json.dumps(dataclasses.asdict(saved), indent=2)
        ):
            return saved  # else another process was faster


def load(root: Path, name: str, version: int | None = None) -> SavedQuery:
    """A version of a saved query, by default the newest. Raises StoreError if there is none."""
    paths = _versions(root, name) if is_name(name) else []
    if not paths:
        known = ", ".join(sorted(path.name for path in _folder(root).glob("*"))) or "none"
        raise StoreError(f"no query is saved as {name!r} in {root}: there is {known}")
    if version is not None and not 1 <= version <= len(paths):
        raise StoreError(f"the saved query {name!r} has no version {version}: there are 1 to {len(paths)}")
    path = paths[(version or len(paths)) - 1]
    try:
        return SavedQuery(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path} is no saved query ({error}): restore it from a copy") from error


def listed(root: Path) -> list[SavedQuery]:
    """Every version of every saved query, by name and version."""
    names = sorted(path.name for path in _folder(root).glob("*"))
    return [load(root, name, number) for name in names for number in range(1, len(_versions(root, name)) + 1)]


def expand(root: Path, text: str) -> str:
    """The text of a query with the conditions of saved ones in place of their names.

    Raises:
      StoreError: if one is not there, or the version is no number.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        return text  # `Query.parse` tells
    expanded: list[str] = []
    for word in words:
        if match := _WORD.fullmatch(word):
            version = match["version"]
            if version is not None and not version.isdecimal():
                raise StoreError(f"cannot read {word!r}: write saved=NAME or saved=NAME@NUMBER")
            expanded += shlex.split(load(root, match["name"], int(version) if version else None).text)
        else:
            expanded.append(word)
    return shlex.join(expanded)


def _folder(root: Path) -> Path:
    return root / "queries"


def _versions(root: Path, name: str) -> list[Path]:
    return sorted((_folder(root) / name).glob("[0-9]*.json"))
