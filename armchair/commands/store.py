"""`armchair store create|ls|info|query|save|saved|delete|restore|verify|...`: makes a store, and looks after it."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from datasets.console import console, print_table
from datasets.errors import ArmchairError
from pipeline.annotate.config import login_name

if TYPE_CHECKING:
    pass


@dataclasses.dataclass(frozen=True)
class Create:
    """Makes an empty store, its index or episodes elsewhere if you like; or moves the index of one to PostgreSQL.

    Other commands make a store when they need one.
    """

    store: Path
    """Folder of the store."""
    index_url: str | None = None
    """PostgreSQL database for the index, for a team: postgresql+psycopg://USER@HOST/DATABASE; its password belongs into
    ~/.pgpass. Without it, the index is a file in the store."""
    shards_url: str | None = None
    """Empty folder for the episodes, at any URL that fsspec knows: gs://BUCKET/FOLDER (with `pip install gcsfs`),
    s3://BUCKET/FOLDER (s3fs), file:///FOLDER. Without it, they are in the store."""


@dataclasses.dataclass(frozen=True)
class Ls:
    """Lists the datasets and the tasks in them."""

    store: Path
    """Folder of the store."""
    json: bool = False
    """Print one JSON object a line instead of a table."""


@dataclasses.dataclass(frozen=True)
class Info:
    """Sums the store up: episodes, hours, disk, sketches, reward models, quarantine."""

    store: Path
    """Folder of the store."""


@dataclasses.dataclass(frozen=True)
class QueryEpisodes:
    """Lists the episodes that match, for example `task_id=lift_green verdict=success min_return=MODEL:25 limit=10`."""

    conditions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """name=value, all of which must hold; none: every episode. An unknown name is answered with the known ones.
    ids=@FILE and exclude=@FILE take the ids from a text file, one a line, # begins a comment."""
    store: Path = dataclasses.field(kw_only=True)
    """Folder of the store."""
    json: bool = False
    """Print one JSON object a line, with every field, instead of a table."""
    deleted: bool = False
    """Look among the deleted episodes instead."""


@dataclasses.dataclass(frozen=True)
class Save:
    """Gives a query a name: from then on `saved=NAME` stands for it in any query, and `saved=NAME@1` for version 1.

    Ids that came from a file (exclude=@FILE) are kept themselves: the file may change or go.
    """

    name: Annotated[str, tyro.conf.Positional]
    """Of the query; saved again, it gets a new version, and the old ones stay."""
    conditions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """As of `armchair store query`."""
    store: Path = dataclasses.field(kw_only=True)
    """Folder of the store."""


@dataclasses.dataclass(frozen=True)
class Saved:
    """Lists the saved queries, every version, with what they found when they were saved and what they find now."""

    store: Path
    """Folder of the store."""


@dataclasses.dataclass(frozen=True)
class Delete:
    """Marks the episodes that match as deleted: no query finds them any more. Their files stay; restore undoes it."""

    conditions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """As of `armchair store query`; at least one."""
    store: Path = dataclasses.field(kw_only=True)
    """Folder of the store."""
    reason: str = dataclasses.field(kw_only=True)
    """Why, for those who look later."""
    user: str = dataclasses.field(default_factory=login_name, kw_only=True)
    """Who deletes them."""
    yes: bool = False
    """Do not ask whether so many are meant."""


@dataclasses.dataclass(frozen=True)
class Restore:
    """Brings back those of the deleted episodes that match."""

    conditions: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """As of `armchair store query`; none: every deleted episode."""
    store: Path = dataclasses.field(kw_only=True)
    """Folder of the store."""
    reason: str = ""
    """Why, for those who look later."""
    user: str = dataclasses.field(default_factory=login_name, kw_only=True)
    """Who restores them."""
    yes: bool = False
    """Do not ask whether so many are meant."""


@dataclasses.dataclass(frozen=True)
class Backup:
    """Copies the index to a new file, while others use it. (The rest of a store are files that never change.)"""

    store: Path
    """Folder of the store."""
    out: Path
    """File to write."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Compares every file with the index. Exit status 1: something is damaged or lost."""

    store: Path
    """Folder of the store."""


@dataclasses.dataclass(frozen=True)
class RebuildIndex:
    """Makes the index anew from the files: after it was lost, or files were copied in."""

    store: Path
    """Folder of the store."""


def main(args: list[str]) -> None:
    """Runs the stage."""
    configs: dict[str, Any] = {
        "create": Create, "ls": Ls, "info": Info, "query": QueryEpisodes, "save": Save, "saved": Saved,
        "delete": Delete, "restore": Restore, "verify": Verify, "rebuild-index": RebuildIndex, "backup": Backup,
    }  # fmt: skip
    config = tyro.extras.subcommand_cli_from_dict(configs, args=args, prog="armchair store")
    match config:
        case Create():
            _create(config)
        case Ls():
            _ls(config)
        case Info():
            _info(config)
        case QueryEpisodes():
            _query(config)
        case Save():
            _save(config)
        case Saved():
            _saved(config)
        case Delete():
            _delete(config)
        case Restore():
            _restore(config)
        case Backup():
            _backup(config)
        case Verify():
            _verify(config)
        case RebuildIndex():
            _rebuild_index(config)


def _create(config: Create) -> None:
    from datasets.query import Query
    from datasets.store import Store

    store = Store.create(config.store, config.index_url, config.shards_url)
    print(f"{config.store}: a store of {store.count(Query()):,} episodes, its index in {store.index_name}")


def _ls(config: Ls) -> None:
    from datasets.store import Store

    entries = [
        {
            "dataset": group.dataset, "task": group.task_id, "episodes": group.episodes, "steps": group.steps,
            "hours": round(group.seconds / 3600, 3), "success": group.successes, "failure": group.failures,
            "robots": ", ".join(group.robots), "policies": group.policies,
        }
        for group in Store.open(config.store).groups()
    ]  # fmt: skip
    if config.json:
        _print_json(entries)
    else:
        print_table(entries or [{"dataset": "none yet: `armchair ingest` some"}])


def _info(config: Info) -> None:
    from datasets.query import Query
    from datasets.store import Store

    store = Store.open(config.store)
    groups = store.groups()
    files = [path.stat().st_size for path in config.store.rglob("*") if path.is_file()]
    episodes, tests = sum(group.episodes for group in groups), sum(group.tests for group in groups)
    hours = sum(group.seconds for group in groups) / 3600
    first, last = min((group.first for group in groups), default=0), max((group.last for group in groups), default=0)
    facts = {
        "episodes": f"{episodes:,} in {len(store.datasets())} datasets",
        "deleted": f"{store.count(Query(), deleted=True):,} more episodes, which no query finds",
        "steps": f"{sum(group.steps for group in groups):,} ({hours:.1f} robot hours)",
        "split": f"{tests:,} test, {episodes - tests:,} train",
        "recorded": f"{_day(first)} to {_day(last)}" if groups else "",
        "disk": f"{sum(files) / 1e6:,.1f} MB in {len(files):,} files",
        "quarantine": f"{len(list(config.store.glob('quarantine/*.json'))):,} records",
    }
    for count in store.rewards():
        who = f"reward model {count.model_id}" if count.model_id else f"sketches by {count.users}"
        facts[f"{who}, {count.task_id}"] = f"{count.episodes:,} episodes"
    print_table([{"": name, str(config.store): fact} for name, fact in facts.items()])


def _query(config: QueryEpisodes) -> None:
    from datasets.store import Store

    store = Store.open(config.store)
    rows = store.query(store.parse(" ".join(config.conditions)), require=True, deleted=config.deleted)
    if config.json:
        _print_json(dataclasses.asdict(row) | {"path": str(row.path)} for row in rows)
        return
    shown = ("episode_id", "dataset", "task_id", "verdict", "num_steps", "policy_id", "robot", "split", "tags")
    print_table([{"time": _day(row.timestamp)} | {name: getattr(row, name) for name in shown} for row in rows])


def _save(config: Save) -> None:
    from datasets import saved_queries
    from datasets.store import Store

    store = Store.open(config.store)
    query = store.parse(" ".join(config.conditions))
    saved = saved_queries.save(config.store, config.name, query, [row.episode_id for row in store.query(query)])
    print(f"saved={saved.name}@{saved.version}: {saved.episodes:,} episodes ({saved.fingerprint})")


def _saved(config: Saved) -> None:
    from datasets import saved_queries
    from datasets.query import Query
    from datasets.store import Store

    store = Store.open(config.store)
    entries = [
        {
            "query": f"saved={saved.name}@{saved.version}", "time": _day(saved.timestamp), "then": saved.episodes,
            "now": store.count(Query.parse(saved.text)), "fingerprint": saved.fingerprint, "conditions": saved.text,
        }
        for saved in saved_queries.listed(config.store)
    ]  # fmt: skip
    print_table(entries or [{"query": "none yet: `armchair store save NAME CONDITIONS`"}])


def _delete(config: Delete) -> None:
    from datasets.store import Store

    store = Store.open(config.store)
    query = store.parse(" ".join(config.conditions))
    if not str(query):
        raise ArmchairError("an empty query means every episode: say which to delete, for example source=log/3")
    rows = store.query(query, require=True)
    _confirm(f"Delete {len(rows):,} episodes of {config.store}?", config.yes)
    store.delete([row.episode_id for row in rows], config.user, config.reason)
    print(f"deleted {len(rows):,} episodes; `armchair store restore` brings them back")


def _restore(config: Restore) -> None:
    from datasets.store import Store

    store = Store.open(config.store)
    rows = store.query(store.parse(" ".join(config.conditions)), require=True, deleted=True)
    _confirm(f"Restore {len(rows):,} episodes of {config.store}?", config.yes)
    store.restore([row.episode_id for row in rows], config.user, config.reason)
    print(f"restored {len(rows):,} episodes")


def _confirm(question: str, yes: bool) -> None:
    """Raises ArmchairError unless somebody says yes."""
    if yes:
        return
    console.print(f"{question} [y/N] ", end="", markup=False)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ArmchairError("nothing was changed: answer y, or add --yes")


def _backup(config: Backup) -> None:
    from datasets.store import Store

    Store.open(config.store).backup(config.out)
    print(f"wrote {config.out}: to use it, put it in the place of {config.store}/index.sqlite")


def _verify(config: Verify) -> None:
    from datasets.query import Query
    from datasets.store import Store

    store = Store.open(config.store)
    problems = store.verify()
    for problem in problems:
        print(f"{problem.severity}: {problem}")
    counted = f"{store.count(Query(), deleted=None):,} episodes verified"
    if deleted := store.count(Query(), deleted=True):
        counted += f", {deleted:,} of them deleted"
    print(f"{counted}, {len(problems)} problems")
    if any(problem.severity == "error" for problem in problems):
        sys.exit(1)


def _rebuild_index(config: RebuildIndex) -> None:
    from datasets.store import Store

    counts = Store(config.store).rebuild_index()
    for problem in counts.problems:
        print(f"{problem.severity}: {problem}")
    print(
        f"indexed {counts.episodes:,} episodes, {counts.sketches:,} sketches, {counts.predictions:,} predictions, "
        f"{counts.notes:,} notes"
    )


def _day(timestamp: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(timestamp)) if timestamp else "unknown"


def _print_json(entries: Iterable[dict[str, Any]]) -> None:
    for entry in entries:
        print(json.dumps(entry))
