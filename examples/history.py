"""The last hour of one tag as an Arrow table, in windows of ten seconds: `python history.py acme/plant1/...:name`.

`table.to_pandas()` and `polars.from_arrow(table)` take it from there. Run it in the folder of a running hub, or name
the hub with MILLSTREAM_NODE.
"""

import sys

import pyarrow.parquet

import millstream


def main(path: str, target: str | None) -> None:
    """Print the windows; with a target write them as Parquet, too."""
    with millstream.connect_sync() as plant:
        table = plant.history(path, "-1h", "now", every="10s", aggregate=["mean", "min", "max", "count"])
    for row in table.to_pylist():
        print(row)
    if target is not None:
        pyarrow.parquet.write_table(table, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
