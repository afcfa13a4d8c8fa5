"""What is wrong with the TLS files that a configuration names: offline, but as of now.

A node starts all the same with an expired certificate, since its data must not wait for a person; `check` tells it.
"""

from __future__ import annotations

from pathlib import Path

from millstream.config._edge import EdgeConfig, TlsConfig, UplinkConfig
from millstream.config._finding import Finding, Findings
from millstream.config._hub import HubConfig, UpConfig
from millstream.config._yaml import parse_yaml, read_text
from millstream.kernel import ConfigError
from millstream.sdk import TlsFiles

LOOPBACK = ("127.0.0.1", "localhost")


def check_tls(path: Path, config: EdgeConfig | HubConfig | UpConfig, now_s: float) -> list[Finding]:
    """Findings in the file at `path`, which was loaded as `config`; none when it has no TLS. Reads the TLS files."""
    uplink = config.uplink if isinstance(config, EdgeConfig) else None
    if config.tls is None and (uplink is None or uplink.tls is None):
        return []
    findings = Findings(str(path), parse_yaml(read_text(path)))
    try:
        if config.tls is not None:
            _check_listeners(config, config.tls, now_s, findings)
        if uplink is not None and uplink.tls is not None:
            _check_uplink(uplink, uplink.tls, now_s, findings)
    except ConfigError as error:  # the extra is missing
        findings.add(("tls",), error.what, hint=error.next_step, code=error.code)
    return findings.sorted()


def _check_listeners(
    config: EdgeConfig | HubConfig | UpConfig, tls: TlsConfig, now_s: float, findings: Findings
) -> None:
    from millstream.tls import check_files, covers, read_facts

    names = list(tls.names_at(config.server.host))
    if config.api is not None:
        names += [name for name in tls.names_at(config.api.host) if name not in names]
    is_client = "mqtt" in tls.client_certificates  # the node's own client comes there, too
    if isinstance(config, HubConfig) and config.cluster is not None:
        own = config.cluster.members[config.cluster.member].rpartition(":")[0].strip("[]")
        names, is_client = [*names, own], True  # members look at one another's names, from either side
    faults = check_files(tls.files, names, now_s, is_client=is_client)
    for fault in faults:
        key = fault.key if fault.key != "key" or tls.key is not None else "certificate"
        findings.add(("tls", key), fault.message, hint=fault.next_step, code=fault.code)
    if isinstance(config, UpConfig) and not any(fault.is_fatal for fault in faults):
        good_for = read_facts(tls.certificate)[0].names
        if not any(covers(good_for, host) for host in (*LOOPBACK, config.server.host)):
            findings.add(
                ("tls", "certificate"), f"{tls.certificate} is not for this machine itself, where edge and hub meet",
                hint="make one that has localhost, too, as `millstream tls issue` does", code="MS-2504",
            )  # fmt: skip


def _check_uplink(uplink: UplinkConfig, files: TlsFiles, now_s: float, findings: Findings) -> None:
    from millstream.tls import check_files

    for fault in check_files(files, (), now_s, is_server=False, is_client=True):
        key = fault.key if fault.key != "key" or uplink.key is not None else "certificate"
        findings.add(("uplink", key), fault.message, hint=fault.next_step, code=fault.code)
