"""A site is updated from afar, by a second version that is really another one, and comes back when that is ill. The
edge is a process that is started again when it ends, as by a service, and dies at each step of an update."""

from __future__ import annotations

import json
from pathlib import Path

from update_site import release, site

from millstream import __version__

UPDATE = Path(__file__).parents[3] / "src" / "millstream" / "edge" / "_update.py"


def killing(mark: str, who: str) -> str:
    """A line that kills a process once."""
    once = f"_m = _p.Path({mark!r}); _n = _m.exists(); _m.touch(); _n or (_o.kill({who}, _s.SIGKILL), _t.sleep(60))"
    return f"import os as _o, signal as _s, pathlib as _p, time as _t; {once}"


async def test_killed_at_each_step_it_is_one_version_or_the_other_and_the_command_says_which(tmp_path: Path) -> None:
    """Before the switch the command has failed; after it the trial goes on, over kills of version and launcher."""
    watch = "        within_s, begun_ns = trial"
    line = next(each for each in UPDATE.read_text(encoding="utf-8").splitlines() if each.startswith(watch))
    dying = [f"        {killing(mark, who)}" for mark, who in (("child", "_o.getpid()"), ("launcher", "_o.getppid()"))]
    kept = "        write_private(self._file, msgspec.json.encode(choice).decode())"
    changes = {
        "edge/_update.py": (line, "\n".join([*dying, line])),
        "release/_choice.py": (kept, f"{kept}\n        if choice.runs.folder: {killing('confirmed', '_o.getpid()')}"),
    }
    async with site(tmp_path) as made:
        digest = await made.push(release(tmp_path, "9.0.0", changes))
        for points in (("fetch", "unpack"), ("try",)):  # what is fetched goes on by itself
            made.kill_at(*points)
            found = await made.over(await made.send(digest))
            assert (found.state, found.code) == ("failed", "MS-2456"), found
            assert await made.version() == __version__
            assert (tmp_path / "KILL_AT").read_text(encoding="utf-8") == ""
        assert len(made.starts) == 4

        made.kill_at("switched")
        found = await made.over(await made.send(digest))
        assert (found.state, found.result) == ("done", {"version": "9.0.0", "before": __version__}), found
        assert await made.version() == "9.0.0"
        assert {path.name for path in tmp_path.iterdir()} >= {"child", "launcher", "confirmed"}
        choice = made.choice()
        assert choice is not None
        assert [(one.state, one.held.version) for one in choice.ended] == [("done", "9.0.0")]

        starts = len(made.starts)
        found = await made.over(await made.send("installed"))
        assert (found.state, found.result) == ("done", {"version": __version__, "before": "9.0.0"}), found
        assert await made.version() == __version__
        assert len(made.starts) == starts, "nobody had to start it again"


async def test_a_version_that_dies_or_is_not_well_is_taken_back(tmp_path: Path) -> None:
    async with site(tmp_path) as made:
        dying = await made.push(release(tmp_path, "9.0.1", {
            "cli/_nodes.py": ("    launched = launch(", "    raise SystemExit('it is ill')\n    launched = launch(")
        }))  # fmt: skip
        found = await made.over(await made.send(dying))
        assert (found.state, found.code) == ("failed", "MS-2455"), found
        assert "ended 3 times before it was healthy" in str(found.reason)
        assert await made.version() == __version__

        deaf = await made.push(release(tmp_path, "9.0.2", {
            "edge/_update_ground.py": ("forward is not None and forward.uplink.state in LINKED", "False")
        }))  # fmt: skip
        found = await made.over(await made.send(deaf, healthy_within="2s"))
        assert (found.state, found.code) == ("failed", "MS-2455"), found
        assert "the hub is not reached" in str(found.reason)
        assert await made.version() == __version__
        assert len(made.starts) == 1
        note = json.loads((made.data_dir / "data_format.json").read_text(encoding="utf-8"))
        assert note["version"] == __version__
