"""A CSV file of measured runs into rows, of one of three column families.

Rows of *language models* say layout and shape in columns of their own (``tp``, ``pp``, ``layers``, ``hidden``, ...)
and the measured ``iter_time_s_derived`` or ``iter_time_s``. *Classic* rows say a ``strategy`` and a ``batch_per_gpu``,
and the measured ``derived_step_time_s`` or ``step_time_s``. Rows of
*collectives* say ``collective``, ``gpus``, ``nodes`` and ``size_bytes`` as nccl-tests does, and microseconds or bus
bandwidths. What a family does not know is named and ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from simdml.calibration.logs.collective_log import bus_factor
from simdml.errors import DocumentError, Place

Family = Literal["llm", "classic", "collective"]

_COMMON = (
    "id source source_ref source_seen year gpu gpus_per_node num_gpus intra_link inter_link framework model seq_len "
    "grad_accum dtype notes"
)
_LLM = (
    "params_b layers hidden heads kv_heads ffn vocab global_batch_seqs micro_batch tp pp vpp cp ep dp sharding "
    "recompute seq_parallel offload schedule tokens_per_s_total tokens_per_s_per_gpu samples_per_s iter_time_s "
    "tflops_per_gpu tflops_kind mfu hfu peak_mem_gb metric_status not_in_table iter_time_s_derived derived_how "
    "sim_ready"
)
_CLASSIC = (
    "num_nodes strategy ps_servers input batch_per_gpu pipeline_partitions micro_batches images_or_samples_per_s_total "
    "step_time_s speedup_vs_1 scaling_efficiency group unit data global_batch derived_samples_per_s "
    "derived_step_time_s simulate_ready"
)
_COLLECTIVE = (
    "id source source_ref notes how file machine gpus nodes gpu num_gpus link nccl_version collective dtype size_bytes "
    "time_us algbw_GBps busbw_GBps oop_time_us oop_algbw oop_busbw ip_time_us ip_algbw ip_busbw"
)
COLUMNS: Final[Mapping[Family, frozenset[str]]] = {
    "llm": frozenset(f"{_COMMON} {_LLM}".split()),
    "classic": frozenset(f"{_COMMON} {_CLASSIC}".split()),
    "collective": frozenset(_COLLECTIVE.split()),
}
NEEDED: Final[Mapping[Family, frozenset[str]]] = {
    "llm": frozenset({"gpu", "num_gpus", "layers", "hidden", "heads", "global_batch_seqs"}),
    "classic": frozenset({"gpu", "num_gpus", "model", "strategy", "batch_per_gpu"}),
    "collective": frozenset({"gpus", "nodes", "collective", "size_bytes"}),
}
_KINDS: Final[Mapping[Family, str]] = {
    "llm": "language-model runs",
    "classic": "classic runs",
    "collective": "collectives",
}
_HINT = "the columns are listed in the how-to of simdml validate"


class Unusable(Exception):
    """A row cannot be simulated; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured run: what its columns say, empty ones left out, and where it stands."""

    family: Family
    file: str
    line: int
    cells: Mapping[str, str]

    @property
    def name(self) -> str:
        """The row's id, or file and line."""
        return self.cells.get("id") or f"{Path(self.file).stem}:{self.line}"

    @property
    def source(self) -> str:
        """Where the run was published, or the name of the file: by it errors are summed up."""
        return self.cells.get("source") or Path(self.file).name.removesuffix(".csv")

    def text(self, column: str) -> str:
        """Return a cell, empty if there is none."""
        return self.cells.get(column, "")

    def has(self, column: str, *words: str) -> bool:
        """Return whether a cell has one of ``words`` in it, in any case."""
        text = self.text(column).lower()
        return any(word in text for word in words)

    def count(self, column: str, default: int | None = None) -> int:
        """Return a cell as a whole number; raises Unusable where it is none and there is no ``default``."""
        text = self.text(column)
        if not text and default is not None:
            return default
        number = self.number(column)
        if number is None or number < 1 or number != int(number):
            raise Unusable(f"{column} is {text!r}, not a count" if text else f"{column} is not given")
        return int(number)

    def number(self, column: str) -> float | None:
        """Return a cell as a number, None if it is empty or not one."""
        try:
            return float(self.text(column).replace(",", ""))
        except ValueError:
            return None

    @property
    def measured_s(self) -> float | None:
        """Seconds of a step or collective as measured, or as images or bytes a second make it; None where unknown."""
        if self.family == "collective":
            return _collective_s(self)
        columns = ("iter_time_s_derived", "iter_time_s") if self.family == "llm" else _STEP_TIMES
        return next((value for value in map(self.number, columns) if value), self._by_rate_s)

    @property
    def _by_rate_s(self) -> float | None:
        rate, batch, gpus = map(self.number, ("images_or_samples_per_s_total", "batch_per_gpu", "num_gpus"))
        if self.family == "llm" or not rate or not batch or not gpus or self.number("derived_samples_per_s"):
            return None
        return batch * (self.number("grad_accum") or 1) * gpus / rate

    @property
    def out_of_memory(self) -> bool:
        """Whether the run did not fit."""
        return self.text("metric_status") == "oom"


def _collective_s(row: Row) -> float | None:
    """Return the faster of out of place and in place, as the fits of communication take it; else of the bandwidth."""
    times = [time for column in ("time_us", "oop_time_us", "ip_time_us") if (time := row.number(column))]
    if times:
        return min(times) * 1e-6
    size, bus, algorithm = (row.number(column) for column in ("size_bytes", "busbw_GBps", "algbw_GBps"))
    if size and algorithm:
        return size / (algorithm * 1e9)
    return size * bus_factor(row.text("collective"), row.count("num_gpus")) / (bus * 1e9) if size and bus else None


_STEP_TIMES = ("derived_step_time_s", "step_time_s")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file, and the columns nobody reads."""

    file: str
    family: Family
    rows: tuple[Row, ...]
    unknown_columns: tuple[str, ...]


def read_table(path: Path) -> Table:
    """Return the rows of a CSV file.

    Raises:
        DocumentError: a file that cannot be read, is not CSV, has no rows or neither family's columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            family = _family(header, path)
            rows = tuple(_rows(reader, header, path, family))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DocumentError(f"cannot read {path}: {reason}", hint="give a CSV file of measured runs") from None
    if not rows:
        raise DocumentError("no rows", place=Place(str(path), 1), hint="one row a measured run, below the header")
    return Table(str(path), family, rows, tuple(name for name in header if name and name not in COLUMNS[family]))


def _family(header: list[str], path: Path) -> Family:
    given = set(header)
    missing = {family: needed - given for family, needed in NEEDED.items()}
    found = min(missing, key=lambda family: len(missing[family]))
    if missing[found]:
        names = ", ".join(sorted(missing[found]))
        raise DocumentError(f"a table of {_KINDS[found]} needs columns {names}", place=Place(str(path), 1), hint=_HINT)
    return found


def _named_as_runs(cells: dict[str, str]) -> dict[str, str]:
    """Return a collective's cells with a run's names: nccl-tests' logs say GPU and machine in the name of the file."""
    machine = cells.get("machine") or cells.get("file", "")
    size = cells.get("size_bytes", "")
    return (
        {
            "gpu": machine,
            "num_gpus": cells.get("gpus", ""),
            "model": cells.get("collective", ""),
            "strategy": f"{size} B" if size else "",
        }
        | cells
        | {"source": machine or cells.get("source", "")}
    )


def _rows(reader: csv.DictReader[str], header: list[str], path: Path, family: Family) -> Iterator[Row]:
    for raw in reader:
        values = raw.values()
        if None in raw or any(value is None for value in values):
            place = Place(str(path), reader.line_num)
            raise DocumentError(f"a row has other columns than the header's {len(header)}", place=place, hint=_HINT)
        cells = {name: value.strip() for name, value in zip(header, values, strict=True) if value.strip()}
        if family == "collective":
            cells = _named_as_runs(cells)
        if cells:
            yield Row(family, str(path), reader.line_num, cells)
