"""Delta tables: the only module that knows their log.

A table is a folder of Parquet files and a Delta log. We write the Parquet files ourselves (for
their encodings and names) and use the log for what it is good at: an atomic, ordered record of
which files make up each version, on local disks and on object stores alike.

`deltalake` creates logs, opens them at any version and writes their checkpoints. Between two
checkpoints `DeltaLog` follows the log on its own, one small file per version, and commits by
creating the next one. So a commit costs the same in a log of ten versions and of ten thousand,
and it is a compare-and-swap on exactly the version that it was computed from.

Because a catalog commit spans several tables, a table's log may hold versions that never became
visible (their writer died in between). `DeltaLog.commit` undoes such strays in the same commit
that adds the next files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError

from catalogs.errors import ConflictError, NotFoundError, SchemaError
from catalogs.files import DataFile, plain_rows, write_data_file
from catalogs.schema import Column, TableSpec
from catalogs.storage import Storage

__all__ = ["DataFile", "DeltaLog", "LostRaceError", "StaleFilesError", "widened", "write_data_file"]

CHECKPOINT_EVERY = 50
_PROPERTIES = {
    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
    "delta.enableExpiredLogCleanup": "false",
    "delta.dataSkippingNumIndexedCols": "-1",
}
"""Old versions stay readable until we vacuum them ourselves, and every column may have a range."""


class LostRaceError(ConflictError):
    """Another writer committed first; look again and retry."""


class StaleFilesError(ConflictError):
    """Files that were to be replaced are gone; plan again from the newest version."""


class DeltaLog:
    """The log of one table: its versions, the files of each, and the next commit."""

    def __init__(self, storage: Storage, table: str):
        self._storage = storage
        self.table = table
        self.uri = storage.uri(table)
        self._version = -1
        self._files: dict[str, DataFile] = {}
        self._metadata: dict[str, Any] = {}

    # -- reading ---------------------------------------------------------------------------

    def latest(self) -> int | None:
        """The newest version in the log, committed in the catalog or not; None if no table."""
        if self._version < 0 or (not self._follow() and self._was_cleaned()):
            try:
                self._load(DeltaTable(self.uri))
            except TableNotFoundError:
                return None
        return self._version

    def files(self, version: int) -> tuple[DataFile, ...]:
        """The files that make up a version, oldest first."""
        return tuple(self._at(version)._files.values())

    def columns(self, version: int) -> tuple[Column, ...]:
        """The columns of a version with the units and meanings stored with them."""
        return _columns(self._at(version)._metadata["schemaString"])

    def _at(self, version: int) -> DeltaLog:
        """This log at a version: itself where it is there or can follow, else another."""
        if 0 <= self._version < version:
            self._follow(version)
        if self._version == version:
            return self
        other = DeltaLog(self._storage, self.table) if self._version >= 0 else self
        try:
            other._load(DeltaTable(self.uri, version=version))
        except DeltaError as error:
            raise NotFoundError(
                f"version {version} of table {self.table!r} cannot be read: {error}",
                hint="it may have been vacuumed; read a newer version of the catalog",
            ) from error
        return other

    def _load(self, handle: DeltaTable) -> None:
        about = handle.metadata()
        self._version = int(handle.version())
        self._metadata = {
            "id": about.id,
            "name": about.name,
            "description": about.description,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": handle.schema().to_json(),
            "partitionColumns": [],
            "createdTime": about.created_time,
            "configuration": about.configuration,
        }
        actions = _told(handle.get_add_actions(flatten=True))
        actions.sort(key=lambda action: (action["modification_time"], action["path"]))
        self._files = {
            action["path"]: DataFile(
                action["path"],
                action["size_bytes"],
                action["num_records"],
                _prefixed(action, "min."),
                _prefixed(action, "max."),
            )
            for action in actions
        }

    def _follow(self, until: int | None = None) -> bool:
        """Apply the versions after the known one; False when there was none."""
        began = self._version
        while until is None or self._version < until:
            try:
                text = self._storage.read(self._entry(self._version + 1))
            except NotFoundError:
                break
            self._apply([json.loads(line) for line in text.splitlines() if line])
        return self._version > began

    def _apply(self, actions: Iterable[Mapping[str, Any]]) -> None:
        kinds = self._timestamps()
        for action in actions:
            if "metaData" in action:
                self._metadata = dict(action["metaData"])
            elif "remove" in action:
                self._files.pop(action["remove"]["path"], None)
            elif "add" in action:
                item = _data_file(action["add"], kinds)
                self._files[item.path] = item
        self._version += 1

    def _was_cleaned(self) -> bool:
        """Whether the known version's entry is gone, so that silence after it means nothing."""
        return not self._storage.exists(self._entry(self._version))

    def _entry(self, version: int) -> str:
        return f"{self.table}/_delta_log/{version:020d}.json"

    def _timestamps(self) -> set[str]:
        fields = json.loads(self._metadata["schemaString"])["fields"]
        return {item["name"] for item in fields if item["type"] == "timestamp"}

    # -- writing ---------------------------------------------------------------------------

    def create(self, spec: TableSpec) -> int:
        """Start the log (version 0, no rows)."""
        try:
            DeltaTable.create(
                self.uri, spec.schema, description=spec.meaning, configuration=_PROPERTIES
            )
        except DeltaError as error:
            if not DeltaTable.is_deltatable(self.uri):
                raise
            raise LostRaceError(f"table {self.table!r} was created meanwhile") from error
        self._load(DeltaTable(self.uri, version=0))
        return 0

    def commit(
        self,
        base: int,
        adds: Iterable[DataFile],
        removes: Iterable[DataFile] = (),
        *,
        columns: Sequence[Column] | None = None,
        undo_strays: bool = True,
    ) -> int:
        """The next version: `base`, less `removes`, plus `adds`, with other `columns` if given.

        Versions after `base` were never made visible and are undone, or with
        `undo_strays=False` mean that the race is lost. Raises `LostRaceError` too when another
        writer commits to this table at the same moment.
        """
        gains, losses = list(adds), list(removes)
        if self._version != base:
            if not undo_strays:
                raise LostRaceError(f"{self.table!r} moved on to version {self._version}")
            gains, losses = self._against(base, gains, losses)
            columns = self.columns(base) if columns is None else columns
        changed = self._changed_metadata(columns)
        if not gains and not losses and not changed:
            return self._version
        self._publish(gains)
        self._write_entry(gains, losses, changed)
        if self._version % CHECKPOINT_EVERY == 0:
            self.checkpoint(self._version)
        return self._version

    def _against(
        self, base: int, adds: list[DataFile], removes: list[DataFile]
    ) -> tuple[list[DataFile], list[DataFile]]:
        """What turns the log's end into `base`, plus and less these."""
        gone = {item.path for item in removes}
        wanted = {item.path: item for item in self.files(base) if item.path not in gone}
        wanted |= {item.path: item for item in adds}
        gains = [item for path, item in wanted.items() if path not in self._files]
        losses = [item for path, item in self._files.items() if path not in wanted]
        return gains, losses

    def _changed_metadata(self, columns: Sequence[Column] | None) -> dict[str, Any] | None:
        if columns is None:
            return None
        schema = Schema.from_arrow(pa.schema([column.field() for column in columns])).to_json()
        if json.loads(schema) == json.loads(self._metadata["schemaString"]):
            return None
        return {**self._metadata, "schemaString": schema}

    def _publish(self, files: Iterable[DataFile]) -> None:
        """Move staged files into place; a retry finds them there already."""
        for item in files:
            path = f"{self.table}/{item.path}"
            if item.staged is not None and item.staged.exists():
                self._storage.publish(item.staged, path)
            elif not self._storage.exists(path):
                raise ConflictError(
                    f"{self._storage.uri(path)} was deleted while its commit was retried",
                    hint="vacuum when no writer has been waiting for long, and run this again",
                )

    def _write_entry(
        self, gains: list[DataFile], losses: list[DataFile], metadata: dict[str, Any] | None
    ) -> None:
        now = int(time.time() * 1000)
        about = {"timestamp": now, "operation": "WRITE", "engineInfo": "clipmill"}
        actions: list[dict[str, Any]] = [{"commitInfo": about}]
        if metadata:
            actions.append({"metaData": metadata})
        actions += [{"remove": _remove_action(item, now)} for item in losses]
        actions += [{"add": _add_action(item, now + order)} for order, item in enumerate(gains)]
        text = "\n".join(json.dumps(action, separators=(",", ":")) for action in actions)
        if not self._storage.create(self._entry(self._version + 1), text.encode() + b"\n"):
            raise LostRaceError(f"{self.table!r} has a version {self._version + 1} already")
        self._apply(actions)

    def checkpoint(self, version: int) -> None:
        """Fold the log up to a version into one Parquet file, so that opening stays fast."""
        DeltaTable(self.uri, version=version).create_checkpoint()

    def clean(self, version: int, older_than: float) -> int:
        """Delete log files of versions before `version`, if last changed before `older_than`.

        A checkpoint at `version` takes their place. Returns how many files were deleted.
        """
        self.checkpoint(version)
        deleted = 0
        for item in list(self._storage.walk(f"{self.table}/_delta_log")):
            number = item.path.rsplit("/", 1)[-1].split(".")[0]
            if number.isdigit() and int(number) < version and item.modified < older_than:
                self._storage.delete(item.path)
                deleted += 1
        return deleted


def widened(spec: TableSpec, stored: Sequence[Column]) -> tuple[Column, ...]:
    """The stored columns and after them those that `spec` adds; a type never changes."""
    present = {column.name: column for column in stored}
    for column in spec.columns:
        old = present.get(column.name)
        if old is not None and _plain(old.type) != _plain(column.type):
            raise SchemaError(
                f"column {column.name!r} of {spec.name!r} is {old.type} and cannot become "
                f"{column.type}",
                hint="give the new measurement a new column name",
            )
    return (*stored, *(column for column in spec.columns if column.name not in present))


@lru_cache(maxsize=256)
def _columns(schema_string: str) -> tuple[Column, ...]:
    schema = pa.schema(Schema.from_json(schema_string).to_arrow())
    return tuple(Column.of(item) for item in schema)


def _plain(kind: pa.DataType) -> str:
    """A type's name without the nullability and field names that Delta rewrites."""
    if pa.types.is_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_plain(kind.key_type)},{_plain(kind.item_type)}>"
    if pa.types.is_struct(kind):
        return "struct<" + ",".join(f"{f.name}:{_plain(f.type)}" for f in kind) + ">"
    return str(kind)


def _add_action(item: DataFile, stamp_ms: int) -> dict[str, Any]:
    stats = {
        "numRecords": item.rows,
        "minValues": {name: _stat(value) for name, value in item.smallest.items()},
        "maxValues": {name: _stat(value) for name, value in item.largest.items()},
        "nullCount": {},
    }
    return {
        "path": item.path,
        "partitionValues": {},
        "size": item.bytes,
        "modificationTime": stamp_ms,
        "dataChange": True,
        "stats": json.dumps(stats, separators=(",", ":")),
    }


def _remove_action(item: DataFile, stamp_ms: int) -> dict[str, Any]:
    return {
        "path": item.path,
        "deletionTimestamp": stamp_ms,
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": item.bytes,
    }


def _data_file(add: Mapping[str, Any], timestamps: set[str]) -> DataFile:
    stats = json.loads(add.get("stats") or "{}")

    def values(name: str) -> dict[str, Any]:
        found: dict[str, Any] = stats.get(name, {})
        return {
            key: datetime.fromisoformat(value) if key in timestamps else value
            for key, value in found.items()
        }

    return DataFile(
        add["path"],
        add["size"],
        stats.get("numRecords", 0),
        values("minValues"),
        values("maxValues"),
    )


def _stat(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(value, datetime) else value


def _told(add_actions: Any) -> list[dict[str, Any]]:
    """Add actions as dicts, without the many statistics that nobody recorded.

    Imported as a stream because `pyarrow.table` would load pandas to see whether it is a frame.
    """
    table = pa.RecordBatchReader.from_stream(add_actions).read_all()
    told = [name for name in table.column_names if table.column(name).null_count < len(table)]
    return plain_rows(table.select(told)) if len(table) else []


def _prefixed(action: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in action.items()
        if name.startswith(prefix) and value is not None
    }
