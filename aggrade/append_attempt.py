"""One attempt of an append: it reads, checks and plans before the lease is taken, then carries out what was planned."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aggrade.append_covering import read_to_cover
from aggrade.append_labels import demand_records, last_labels, stored_labels
from aggrade.append_layout import default_layout
from aggrade.append_plan import AppendPlan, OnConflict, keys_to_read, plan_append
from aggrade.append_pricing import consolidation_price, price_of, price_of_nothing
from aggrade.append_rows import STAMPS, NewRows
from aggrade.append_weighing import weigh, weigh_lines
from aggrade.append_writing import blocks_in, write_blocks
from aggrade.asked import Asked
from aggrade.attribute_guards import left_out
from aggrade.channels import Channels, Union, channel_dims, unite_channels
from aggrade.commit import Transaction, Writer, describe, look
from aggrade.commit.agreement import demand_agreement, documents_at_stake
from aggrade.commit.backup import copied_in_full
from aggrade.commit.catalogue import files_of, place_of
from aggrade.commit.documents import dims_of, key_of, shape_of
from aggrade.commit.layers import receipt_key
from aggrade.commit.plan import new_write_id
from aggrade.commit.reserving import demand_reserved, regions_ahead, reserve
from aggrade.encoding import encode, encodings, is_exact, layer_digest
from aggrade.errors import BadInput, Conflict, Damaged, Problem, raise_all
from aggrade.guards import OWN_GUARDS, problems_of
from aggrade.later_variables import without_later_variables
from aggrade.modalities import absent_variables, with_absent_modalities
from aggrade.price import Price
from aggrade.session_rows import load
from aggrade.splicing import Splice, keep_list
from aggrade.storage.counting import Counted, requests_in
from aggrade.storage.probe import PROBE_PRICE, keeps_copies, must_ask, presumed
from aggrade.storage.remembering import Remembering
from aggrade.storage.together import read_together, together
from aggrade.torn_variables import torn_variables

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from aggrade.append_writing import Block
    from aggrade.commit import CommitPlan, Document, Look, WrittenObject
    from aggrade.commit.catalogue import NewLines
    from aggrade.commit.plan import BackupKind
    from aggrade.receipt import Receipt
    from aggrade.staged_forms import StagedForms
    from aggrade.storage.adopting import Adopting
    from aggrade.storage.probe import Probe

__all__ = ["Attempt"]


class Attempt:
    """What is asked, beside what the store is now.

    Parameters
    ----------
    storage
        The Zarr store.
    dataset, dim, grow, channels, chunks, shards, depth, staged, lists
        As for `aggrade.appending.append_to`, checked.
    counts
        Where requests are counted.
    """

    def __init__(
        self,
        storage: Adopting,
        dataset: xr.Dataset,
        dim: str,
        grow: tuple[str, ...],
        channels: Channels,
        chunks: Mapping[str, Any],
        shards: Mapping[str, Any],
        depth: int,
        counts: Counter[str],
        *,
        staged: StagedForms | None = None,
        lists: bool = False,
    ) -> None:
        self.storage = storage.on(Counted(storage.inner, counts))
        self.dim = dim
        self._counts = counts
        self._reading = Remembering(self.storage)
        self.seen = look(self._reading)
        self.snapshot = snapshot = self.seen.snapshot
        self.filled = snapshot if snapshot is not None and snapshot.documents else None
        self._mark = snapshot.mark if snapshot else {}
        self.place = place_of(self._reading, self._mark, depth) if dim == "session" else None
        self.grow = tuple(dict.fromkeys(each for each in [*self._mark.get("grow", []), *grow] if each != dim))
        self.dataset, self.channels, self.chunks, self.shards = dataset, channels, chunks, shards
        self.documents = self._documents()
        self.encodings = encodings(self.documents)
        self.dataset, self.labels = stored_labels(dataset, dim, self.encodings)
        self.depth, self.lists = depth, lists
        self.staged = staged if depth else None

    def _documents(self) -> dict[str, Document]:
        if self.filled is not None:
            return self.filled.documents
        raise_all(problems_of(Asked(self.dataset, self.dim, self.grow, {}, {}), OWN_GUARDS))
        grow = (*self.grow, *(channel_dims(self.dataset) if self.channels == "union" else ()))
        inner, outer = default_layout(self.dataset, self.dim, grow, self.chunks, self.shards)
        try:
            return describe(self.dataset, chunks=inner, shards=outer)
        except (TypeError, ValueError) as error:
            found, expected = f"what can't be encoded ({error})", "values that fit their own encoding"
            fix = "drop the encodings: dataset.drop_encoding()"
            raise BadInput(Problem("dataset", found, expected, fix, "encoding")) from error

    def plan(self, on_conflict: OnConflict, backup: BackupKind) -> AppendPlan:
        """Check everything, then plan.

        Raises
        ------
        Damaged
            If what is compared with can't be decoded.
        """
        try:
            return self._plan(on_conflict, backup)
        except (RuntimeError, ValueError):
            if self.filled is not None:
                stored = self.filled.dataset(self._reading)
                raise_all(torn_variables(self.storage.url, stored, self.dim), Damaged)
            raise

    def _plan(self, on_conflict: OnConflict, backup: BackupKind) -> AppendPlan:
        stored, given = self._read_ahead(), self.dataset
        if stored is not None and self.dim == "session":
            given = self.dataset = without_later_variables(self.dataset, stored)
            given = with_absent_modalities(given, stored, dim=self.dim)
        self.absent = {str(name) for name in given.variables.keys() - self.dataset.variables.keys()}
        may_be_there = "channels" in self._mark and len(self.seen.records) == len(self.labels)
        unites = self.channels == "union" or may_be_there
        union = unite_channels(given, stored, self.dim) if unites and stored is not None else Union(given)
        plan = self._planned(given, stored, union, on_conflict, backup)
        if union.runs and self.channels == "refuse" and plan.commit is not None:
            return self._planned(given, stored, Union(given), on_conflict, backup)
        return plan

    def _planned(
        self,
        given: xr.Dataset,
        stored: xr.Dataset | None,
        union: Union,
        on_conflict: OnConflict,
        backup: BackupKind,
    ) -> AppendPlan:
        self.dataset = union.dataset
        if self.place is not None:
            load(self.dataset.variables)
        about = (self.documents, self.encodings, stored, self.chunks, self.shards, given, self.storage.url)
        asked = Asked(self.dataset, self.dim, (*self.grow, *union.runs), *about)
        raise_all(problems_of(asked))
        self.variables = self._encoded(self.dataset)
        sent = requests_in(self._counts)
        self.seen = replace(self.seen, requests=sent, bytes_read=self._counts["bytes_read"])
        self.digests = self._digests(given, union)
        plan = plan_append(
            store=self.storage.url,
            seen=self.seen,
            variables=self.variables,
            documents=self.documents,
            attributes=self.filled.attributes if self.filled else dict(self.dataset.attrs),
            dim=self.dim,
            grow=self.grow,
            digests=self.digests,
            on_conflict=on_conflict,
            backup=backup,
            place=self.place,
            union=union,
            absent=self.absent,
            left_out=tuple(left_out(asked)),
            lengths=self.staged.lengths(self.grow) if self.staged else {},
        )
        return self._spliced(plan)

    def _encoded(self, dataset: xr.Dataset) -> dict[str, xr.Variable]:
        """Return every variable as the store holds it; what lies staged in that form is not read for it."""
        staged = self.staged.alike(self.encodings) if self.staged else set()
        as_staged = {
            name: variable
            for name, variable in dataset.variables.items()
            if name in staged
            and variable.dtype.kind in "biufc"
            and is_exact(variable, self.encodings[str(name)])
        }
        encoded = encode(dataset.drop_vars(list(as_staged)), self.encodings)
        return encoded | {str(name): variable for name, variable in as_staged.items()}

    def _digests(self, given: xr.Dataset, union: Union) -> dict[str, str]:
        """Return label → digest of each layer, from staging where it is known there."""
        own = {
            str(name) for name, v in given.variables.items() if self.dim in v.dims and name not in self.absent
        }
        known = {
            label: form.digest
            for label, form in (self.staged or {}).items()
            if form.is_digested(own, self.encodings, self.dim)
        }
        variables = self._encoded(given) if union.runs else self.variables
        content = {name: variable for name, variable in variables.items() if name not in STAMPS}
        if not all(self.absent <= absent_variables(content, self.dim, i) for i in range(len(self.labels))):
            known = {}  # the store has nothing by which to tell what is absent: that counts as content
        return {
            label: known.get(label) or layer_digest(self._cut(content, label), self.dim, i)
            for i, label in enumerate(self.labels)
        }

    def _cut(self, content: Mapping[str, xr.Variable], label: str) -> Mapping[str, xr.Variable]:
        """Return variables as long as a session is that is brought together with longer ones."""
        lengths = self.staged.lengths(self.grow).get(label, {}) if self.staged else {}
        own = {dim: slice(0, length) for dim, length in lengths.items()}
        return {name: v.isel(own, missing_dims="ignore") for name, v in content.items()}

    def _spliced(self, plan: AppendPlan) -> AppendPlan:
        """Return the same plan with what is copied from staging, at its price."""
        commit = plan.commit
        if self.staged is None or commit is None:
            return plan
        copied = self.staged.fitting(commit, self.encodings)
        price = price_of(
            commit,
            self.seen,
            self.variables,
            place=self.place,
            taken_over=copied,
            by_copy=self._by_copy(),
        )
        return plan.model_copy(update={"copied": copied, "price": price})

    def _by_copy(self) -> bool:
        """Tell whether what lies staged is copied on the server's side, by what is known of it."""
        return keeps_copies(self.storage, self._recorded())

    def _recorded(self) -> Probe | None:
        """Return what an earlier writer saw of the server."""
        return self.seen.intent[0].probe if self.seen.intent else None

    def _read_ahead(self) -> xr.Dataset | None:
        """Read, all at once, what the guards compare with and what will be overwritten; return the stored dataset."""
        there = self.filled.documents if self.filled else {}
        sizes = self.dataset.drop_dims(channel_dims(self.dataset)).sizes
        first = self.snapshot.length(self.dim) if self.snapshot else 0
        files = files_of(range(first, first + len(self.labels)))
        keys = keys_to_read(there, self.dim, sizes, overwritten=self.seen.is_calm)
        keys += documents_at_stake(self.seen, self.dim, self.dataset.sizes)
        keys += self._last_labels(there) if self.seen.is_calm else []
        self.seen = self.seen.again(self._reading, self.labels, keys, self.place, files)
        demand_agreement(self.storage, self.seen, there)
        if self.filled is None:
            return None
        stored = self.filled.dataset(self._reading)
        demand_records(self.storage, self.seen, stored, self.dim, self.labels)
        return stored

    def _last_labels(self, there: Mapping[str, Document]) -> list[str]:
        document = there.get(self.dim)
        has_rows = document is not None and dims_of(document) == (self.dim,) and shape_of(document)[0]
        return [key_of(self.dim, document, (last_labels(document),))] if document and has_rows else []

    def carry_out(self, plan: AppendPlan, commit: CommitPlan, *, ahead: bool = True) -> Receipt:
        """Write and publish.

        Parameters
        ----------
        plan, commit
            What `plan` gave.
        ahead
            Whether what lies staged may be brought before the lease is taken, where that is worth it.
        """
        splice = self._splice(plan, commit)
        brought = self._bring_ahead(splice, plan, commit) if splice and ahead else []
        txn = Transaction(self.storage, commit, self.seen)
        rows, lines = self._rows(plan, txn.write_id)
        blocks = blocks_in(commit, rows, without=plan.copied)
        with txn:
            writer = txn.writer()
            if brought and txn.is_undisturbed:
                written = [*brought, *write_blocks(writer, blocks)]
            else:
                written = self._write(splice, txn, writer, blocks)
            if self.lists:
                created = [item for item in written if item.key not in writer.etags]
                keep_list(txn.storage, txn.write_id, self.digests, created)
            return txn.publish(written, details=plan.details, lines=lines)

    def _splice(self, plan: AppendPlan, commit: CommitPlan) -> Splice | None:
        """Return what lies in staging as it is to lie here."""
        if self.staged is None or not plan.copied:
            return None
        return Splice(self.depth, self.staged.objects(commit, plan.copied))

    def _bring_ahead(self, splice: Splice, plan: AppendPlan, commit: CommitPlan) -> list[WrittenObject]:
        """Bring what lies in staging before the lease is taken, if that is worth it: its regions are on record then."""
        regions = regions_ahead(commit, self.seen, plan.copied)
        if not regions:
            return []
        self.seen = seen = reserve(self.storage, self.seen, regions)
        writer = Writer(self.storage, commit.documents, self.filled.documents if self.filled else {}, {})
        try:
            brought = splice.carry_out(
                writer, by_copy=self._by_copy(), proceed=lambda: demand_reserved(self.storage, seen)
            )
        except Conflict:
            demand_reserved(self.storage, seen)
            raise
        sent = requests_in(self._counts)
        self.seen = replace(seen, requests=sent, bytes_read=self._counts["bytes_read"])
        return brought

    def _write(
        self, splice: Splice | None, txn: Transaction, writer: Writer, blocks: Iterator[Block]
    ) -> list[WrittenObject]:
        """Write everything, and bring what lies in staging as it is to lie here."""
        if splice is None:
            return write_blocks(writer, blocks)
        by_copy = keeps_copies(self.storage, txn.lease.intent.probe)
        brought, sent = together(
            lambda: splice.carry_out(writer, by_copy=by_copy), lambda: write_blocks(writer, blocks)
        )
        return [*brought, *sent]

    def weighed(self, plan: AppendPlan) -> AppendPlan:
        """Return the same plan with the bytes that its objects will have, for which they are encoded."""
        commit = plan.commit
        if commit is None:
            receipt = self.storage.stat(receipt_key(next(iter(plan.there.values()))))
            price = price_of_nothing(self.seen, receipt.size if receipt else 0)
            return plan.model_copy(update={"price": price})
        seen = self._seen_in_full(commit)
        variables, lines = self._rows(plan, new_write_id())
        weights = weigh(commit, seen, variables, without=plan.copied if self._by_copy() else ())
        told = weigh_lines(self.place, lines, seen) if self.place and lines else None
        there = copied_in_full(self.storage) if commit.backup == "full" else None
        stored = self.storage.as_stored
        price = price_of(
            commit,
            seen,
            variables,
            weights,
            place=self.place,
            told=told,
            there=there,
            stored=stored,
            probe=presumed(self.storage, self._recorded()),
            taken_over=plan.copied,
            by_copy=self._by_copy(),
        )
        first = PROBE_PRICE if must_ask(self.storage, self._recorded()) else Price(weighed=True)
        price += consolidation_price(self.storage, seen) + first
        return plan.model_copy(update={"price": price})

    def _seen_in_full(self, commit: CommitPlan) -> Look:
        """Return what was seen, with those shared chunks that the append itself reads later."""
        seen = self.seen
        shared = commit.shared(seen.snapshot.documents if seen.snapshot else {})
        keys = {*shared, *read_to_cover(commit, seen)} - set(seen.objects)
        return replace(seen, objects={**seen.objects, **read_together(self.storage, keys)})

    def _rows(self, plan: AppendPlan, write_id: str) -> tuple[dict[str, xr.Variable], NewLines | None]:
        """Return what is written, and what the catalogue is to say of it."""
        rows = NewRows(self.labels, self.dim, plan, write_id)
        lines = rows.lines(self.dataset.variables, self.place, self._mark) if self.place else None
        return rows.of(self.variables), lines
