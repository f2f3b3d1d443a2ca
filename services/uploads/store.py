"""The rows of uploads: who owns which content under which name. Every method is one short transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from sqlalchemy import Connection, Engine, RowMapping, Text, delete, insert, select, type_coerce, update
from sqlalchemy.exc import IntegrityError

from services.errors import Conflict, Invalid, Mistake, NotFound
from services.sql.engine import reading, writing
from services.sql.ids import is_id
from services.sql.quota import check_stored
from services.sql.schema import jobs, upload_names, upload_reports, uploads
from services.sql.types import storable, to_json, utc_now
from services.sql.values import JobState, Page
from services.uploads.values import Upload, is_upload_id

KIND: Final = "data set"
MOST_REPORTS: Final = 32
_LIVE: Final = (JobState.QUEUED, JobState.RUNNING)
_COLUMNS: Final = [column for column in uploads.c if column is not uploads.c.samples]


@final
class UploadStore:
    """The record of uploaded data sets; foreign ones do not exist for anybody."""

    def __init__(self, engine: Engine, *, max_stored_bytes: int = 0) -> None:
        """Work on `engine` (see `services.sql.engine`); `max_stored_bytes` per tenant, 0 = no limit."""
        self.engine, self.max_stored_bytes = engine, max_stored_bytes

    def get(self, tenant: str, ref: str) -> Upload:
        """The tenant's upload of that id, or the one that the name means; NotFound guesses which was meant."""
        with reading(self.engine) as connection:
            return _upload(connection, _row(connection, tenant, ref))

    def find(self, tenant: str, *, cursor: str | None = None, limit: int = 50) -> Page[Upload]:
        """The tenant's uploads, newest first."""
        if cursor is not None and not is_id(cursor):
            raise Invalid([Mistake("cursor", "bad_cursor", "this is no cursor of ours", "Take next_cursor of a page.")])
        listing = select(*_COLUMNS).where(uploads.c.tenant == tenant).order_by(uploads.c.file.desc())
        listing = listing if cursor is None else listing.where(uploads.c.file < cursor)
        with reading(self.engine) as connection:
            rows = connection.execute(listing.limit(limit + 1)).mappings().all()
            items = tuple(_upload(connection, row) for row in rows[:limit])
        return Page(items, items[-1].file if len(rows) > limit else None)

    def names(self, tenant: str) -> list[str]:
        """Every name that means an upload of the tenant."""
        with reading(self.engine) as connection:
            return _names(connection, tenant)

    def samples(self, tenant: str, id: str) -> list[dict[str, Any]]:
        """A dozen of its rows in a form to show."""
        with reading(self.engine) as connection:
            row = _row(connection, tenant, id)
            found = connection.execute(select(uploads.c.samples).where(uploads.c.id == row["id"])).scalar_one()
        return list(found)

    def same(self, tenant: str, name: str, sha256: str, kind: str | None) -> Upload | None:
        """What `name` means, if that is this very content (read as `kind`, where one is asked for)."""
        try:
            found = self.get(tenant, name)
        except NotFound:
            return None
        return found if found.sha256 == sha256 and kind in (None, found.kind) else None

    def add(self, upload: Upload, samples: Sequence[Mapping[str, Any]]) -> Upload:
        """Record an upload and let its name mean it. Content that is there already keeps its row (and its file: the
        one returned tells which). QuotaExceeded when it is more than the tenant may store."""
        try:
            return self._add(upload, samples)
        except IntegrityError:
            # Another request with the same content was faster; now its row is there to be found.
            return self._add(upload, samples)

    def _add(self, upload: Upload, samples: Sequence[Mapping[str, Any]]) -> Upload:
        with writing(self.engine) as connection:
            known = connection.execute(select(uploads.c.id).where(uploads.c.id == upload.id)).scalar()
            if known is None:
                check_stored(connection, upload.tenant, self.max_stored_bytes, upload.size)
                row = {name: value for name, value in vars(upload).items() if name != "names"}
                connection.execute(insert(uploads).values(row | {"samples": [dict(one) for one in samples]}))
            _point(connection, upload)
            return _upload(connection, _row(connection, upload.tenant, upload.id))

    def expect(self, tenant: str, size: int) -> None:
        """QuotaExceeded when an upload of `size` bytes would be more than the tenant may store."""
        with reading(self.engine) as connection:
            check_stored(connection, tenant, self.max_stored_bytes, size)

    def remove(self, tenant: str, ref: str) -> Upload:
        """Forget an upload, its names and reports; Conflict while a live job trains on it. Its file is left."""
        with writing(self.engine) as connection:
            row = _row(connection, tenant, ref, lock=True)
            found = _upload(connection, row)
            if user := _user_of(connection, tenant, found.id):
                hint = "Wait until the job has finished, or cancel it."
                raise Conflict(f"Job {user} trains on this data set.", hint=hint)
            connection.execute(delete(uploads).where(uploads.c.id == found.id))
        return found

    def files(self) -> set[str]:
        """The names of all files that belong to an upload."""
        with reading(self.engine) as connection:
            return set(connection.execute(select(uploads.c.file)).scalars())

    def report(self, id: str, key: str) -> dict[str, Any] | None:
        """A report that was kept under `key`, if any."""
        kept = select(upload_reports.c.report).where(upload_reports.c.upload == id, upload_reports.c.key == key)
        with reading(self.engine) as connection:
            found: dict[str, Any] | None = connection.execute(kept).scalar()
            return found

    def keep_report(self, id: str, key: str, report: Mapping[str, Any]) -> None:
        """Keep a report; the oldest ones of an upload give way, and one of an upload that is gone is dropped."""
        mine = upload_reports.c.upload == id
        newest = select(upload_reports.c.key).where(mine).order_by(upload_reports.c.at.desc()).limit(MOST_REPORTS)
        with writing(self.engine) as connection:
            there = select(uploads.c.id).where(uploads.c.id == id).with_for_update()
            if connection.execute(there).scalar() is None:
                return
            connection.execute(delete(upload_reports).where(mine, upload_reports.c.key == key))
            row = {"upload": id, "key": key, "report": dict(report), "at": utc_now()}
            connection.execute(insert(upload_reports).values(row))
            kept = list(connection.execute(newest).scalars())
            connection.execute(delete(upload_reports).where(mine, upload_reports.c.key.not_in(kept)))


def _row(connection: Connection, tenant: str, ref: str, *, lock: bool = False) -> RowMapping:
    """The row of a tenant's upload, or NotFound."""
    mine = select(*_COLUMNS).where(uploads.c.tenant == tenant)
    if is_upload_id(ref):
        mine = mine.where(uploads.c.id == ref)
    else:
        named = select(upload_names.c.upload).where(upload_names.c.tenant == tenant, upload_names.c.name == ref)
        mine = mine.where(uploads.c.id == named.scalar_subquery())
    mine = mine.with_for_update() if lock else mine
    row = connection.execute(mine).mappings().one_or_none() if storable(ref) else None
    if row is None:
        raise NotFound(KIND, ref, _names(connection, tenant))
    return row


def _upload(connection: Connection, row: RowMapping) -> Upload:
    names = select(upload_names.c.name).where(upload_names.c.upload == row["id"]).order_by(upload_names.c.name)
    return Upload(**row, names=tuple(connection.execute(names).scalars()))


def _names(connection: Connection, tenant: str) -> list[str]:
    mine = select(upload_names.c.name).where(upload_names.c.tenant == tenant).order_by(upload_names.c.name)
    return list(connection.execute(mine).scalars())


def _point(connection: Connection, upload: Upload) -> None:
    """Let the name mean this upload from now on."""
    mine = (upload_names.c.tenant == upload.tenant) & (upload_names.c.name == upload.name)
    moved = connection.execute(update(upload_names).where(mine).values(upload=upload.id))
    if not moved.rowcount:
        row = {"tenant": upload.tenant, "name": upload.name, "upload": upload.id}
        connection.execute(insert(upload_names).values(row))


def _user_of(connection: Connection, tenant: str, id: str) -> str | None:
    """A live job whose spec names the upload: the record keeps specs as compact JSON."""
    words = to_json({"upload": id})[1:-1]
    live = select(jobs.c.id).where(jobs.c.tenant == tenant, jobs.c.state.in_(_LIVE))
    named = type_coerce(jobs.c.spec, Text).contains(words, autoescape=True)
    found: str | None = connection.execute(live.where(named).limit(1)).scalar()
    return found
