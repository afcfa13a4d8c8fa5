"""``edge join``: become the edge of a site with the file that its operator made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli._options import Json, run
from millstream.cli._output import OK, note, print_json, print_text
from millstream.kernel import ConfigError

if TYPE_CHECKING:
    from millstream.edge import JoinedEdge
    from millstream.trust import JoinFile

TEMPLATE = """# The edge of site {site}: `millstream check {name}` checks it, `millstream edge -c {name}` runs it.
edge:
  name: {site}
  path: {place}
  data_dir: {data_dir}
{labels}uplink:
  url: {url}
{more}  credentials: {creds}
{authority}"""


def join(
    file: Path, /, *, config: Annotated[Path, Parameter(name=["--config", "-c"])] = Path("edge.yaml"),
    data_dir: Path | None = None, json: Json = False,
) -> int:  # fmt: skip
    """Become the edge of a site, with the join file that its operator made.

    The box makes a key of its own, and the hub signs for it; the join file opens the door once. Over the one port that
    the edge will use. Killed half-way, it may be run again. Writes an edge file when there is none.

    Examples:

        millstream join cologne.join
        millstream join cologne.join -c /etc/millstream/edge.yaml --data-dir /var/lib/millstream

    Parameters
    ----------
    file
        From `millstream site add`.
    config
        The edge file; one that is there stays as it is.
    data_dir
        Folder of the edge's data; left out: beside the edge file, under the site's name.
    json
        Print an object.
    """
    from millstream.edge import join_hub
    from millstream.trust import parse_join_file

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("the join file cannot be read", where=str(file), got=str(error), code="MS-2106") from error
    found = parse_join_file(text, where=str(file))
    folder = (data_dir or config.parent / found.site).absolute()
    note(f"asking {found.hub_url} to let this box in as {found.site} of {found.tenant}")
    joined = run(join_hub(found, folder))
    is_new = not config.exists()
    if is_new:
        config.write_text(edge_file(found, joined, folder, config.name), encoding="utf-8")
    if json:
        print_json({
            "site": found.site, "tenant": found.tenant, "public": joined.public, "creds_file": str(joined.creds_file),
            "ca_file": str(joined.ca_file) if joined.ca_file is not None else None, "config": str(config),
            "config_written": is_new,
        })  # fmt: skip
        return OK
    authority = f", ca_file: {joined.ca_file}" if joined.ca_file is not None else ""
    urls = f"{found.hub_url}, more_urls: {dumps(found.more_urls)}" if found.more_urls else found.hub_url
    print_text(f"this box is the edge of {found.site}: {joined.creds_file}")
    print_text(
        f"start it: millstream edge -c {config}" if is_new
        else f"set in {config}: uplink: {{url: {urls}, credentials: {joined.creds_file}{authority}}}"
    )  # fmt: skip
    return OK


def edge_file(found: JoinFile, joined: JoinedEdge, folder: Path, name: str) -> str:
    """The text of the edge's file, with nothing in it but who it is and where its hub is."""
    return TEMPLATE.format(
        site=found.site, place=found.place, data_dir=folder, url=found.hub_url, creds=joined.creds_file, name=name,
        more=_more(found.more_urls), labels=_labels(found.labels),
        authority=f"  ca_file: {joined.ca_file}\n" if joined.ca_file is not None else "",
    )  # fmt: skip


def _more(urls: Sequence[str]) -> str:
    """The other boxes of a hub that is several."""
    return f"  more_urls: {dumps(urls)}\n" if urls else ""


def _labels(labels: Mapping[str, str]) -> str:
    """A line of the edge file: JSON is YAML as well."""
    return f"  labels: {dumps(labels, ensure_ascii=False)}\n" if labels else ""
