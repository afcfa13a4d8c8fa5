"""Cuts the shipped sample data out of the original recordings: python tools/make_sample_data.py FOLDER.

FOLDER holds the originals, one folder each: nist-sms-mtconnect (usnistgov/smstestbed), cnc-1khz (Tool-Wear-Files by
tvhahn) and mtconnect-okuma (mtconnect/cppagent). The output is the same for the same input, byte for byte. scipy is
needed here only, since the turning cell comes as a MATLAB file.
"""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import scipy.io

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "src" / "millstream" / "sim" / "data"
TESTED = ROOT / "tests" / "data"
MAZAK_FILE = "Mazak01-20180606-20180607.txt.gz"
MAZAK_FROM, MAZAK_TO = "2018-06-06T11:00", "2018-06-06T12:40"  # cutting, tool changes, stops and alarms
CELL_FROM_S, CELL_TO_S = 20.0, 45.0
CELL_RATE_HZ = 1000.0


def pack(data: bytes) -> bytes:
    """gzip without a time in it, so that the result only depends on the data."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as stream:
        stream.write(data)
    return buffer.getvalue()


def make_mazak(source: Path) -> None:
    """A stretch of the Mazak's day, whole lines, unchanged, and the part of Devices.xml that describes it."""
    lines = gzip.decompress((source / MAZAK_FILE).read_bytes()).splitlines(keepends=True)
    taken = [line for line in lines if MAZAK_FROM <= line[:16].decode() < MAZAK_TO]
    (SHIPPED / "mazak01.txt.gz").write_bytes(pack(b"".join(taken)))
    tree = ElementTree.parse(source / "Devices.xml")
    namespace = tree.getroot().tag.partition("}")[0] + "}"
    ElementTree.register_namespace("", namespace[1:-1])
    devices = tree.getroot().find(f"{namespace}Devices")
    assert devices is not None
    for device in list(devices):
        if device.get("name") != "Mazak01":
            devices.remove(device)
    tree.write(SHIPPED / "mazak01-devices.xml", encoding="utf-8", xml_declaration=True)


def make_cell(source: Path) -> None:
    """Some seconds of the turning cell as .npz: float32 a channel (the clock column as int32), rate_hz beside them."""
    loaded = scipy.io.loadmat(source / "Data_KS-NPC-6FF_0.mat")
    start, end = int(CELL_FROM_S * CELL_RATE_HZ), int(CELL_TO_S * CELL_RATE_HZ)
    channels = {
        name: array[start:end, 0].astype(np.int32 if name == "Time" else np.float32)
        for name, array in sorted(loaded.items())
        if not name.startswith("__") and name != "TimeStamp"
    }
    channels["rate_hz"] = np.array(CELL_RATE_HZ)
    with zipfile.ZipFile(SHIPPED / "turning-cell.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in channels.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)
    (SHIPPED / "LICENSE-turning-cell").write_bytes((source / "LICENSE").read_bytes())


def make_okuma(source: Path) -> None:
    """The whole Okuma recording, for tests: assets, commands, and time that goes backwards."""
    (TESTED / "okuma.txt.gz").write_bytes(pack((source / "okuma.txt").read_bytes()))
    (TESTED / "okuma-devices.xml.gz").write_bytes(pack((source / "Devices.xml").read_bytes()))


def main(folder: Path) -> None:
    """Write everything and print the sizes."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    TESTED.mkdir(parents=True, exist_ok=True)
    make_mazak(folder / "nist-sms-mtconnect")
    make_cell(folder / "cnc-1khz")
    make_okuma(folder / "mtconnect-okuma")
    for path in (*sorted(SHIPPED.iterdir()), *sorted(TESTED.iterdir())):
        print(f"{path.stat().st_size:>9} {path.relative_to(ROOT)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
