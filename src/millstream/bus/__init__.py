"""The data plane on JetStream, behind the ports of ``millstream.sdk``, with an in-memory twin."""

from typing import TYPE_CHECKING

from millstream.kernel import lazy_names, write_private

if TYPE_CHECKING:
    from millstream.bus._box import Box
    from millstream.bus._client import add_micro_service, api_request, connect_nats, get_last, request_nats
    from millstream.bus._cluster_config import ClusterSettings, shared_secret
    from millstream.bus._connection import RawConnection
    from millstream.bus._contract_log import ContractLog
    from millstream.bus._credentials import Credentials, api_prefix, read_creds
    from millstream.bus._direct_batch import get_all, get_batch
    from millstream.bus._fast_ingest import FastIngestPublisher
    from millstream.bus._group_commit import GroupCommitPublisher
    from millstream.bus._jetstream import Refused, StreamApi, StreamState, decode_answer
    from millstream.bus._lease import CLUSTER_BUCKET, CLUSTER_PREFIX, Lease, LostLeaseError
    from millstream.bus._memory import MemoryPublisher, MemoryReader, MemoryStream
    from millstream.bus._mqtt_wake import mqtt_taken
    from millstream.bus._nats_py import NatsPyConnection
    from millstream.bus._node_file import NodeFile, ProcessMeter, node_tls, tls_of
    from millstream.bus._node_service import node_service
    from millstream.bus._patience import START_PATIENCE_S
    from millstream.bus._people_account import PEOPLE_INBOX, PEOPLE_USER
    from millstream.bus._permissions import (
        HISTORY_BELOW,
        HUB_INBOX,
        JOINING,
        PEOPLE_SERVICES,
        PLACE,
        SITE,
        TOLD_WHO_ASKS,
        VIEW_API,
        VIEWED_STREAMS,
        Permissions,
        bridge_permissions,
        commander_permissions,
        device_permissions,
        edge_permissions,
        engineer_permissions,
        flow_permissions,
        join_permissions,
        join_subject,
        permissions_below,
        viewer_permissions,
    )
    from millstream.bus._publisher import read_after_control
    from millstream.bus._reader import StreamReader
    from millstream.bus._scout import scouting
    from millstream.bus._server import NatsServer
    from millstream.bus._server_alarms import ServerAlarm
    from millstream.bus._server_config import (
        HUB_DOMAIN,
        LeafListener,
        LeafRemote,
        LeafUser,
        MqttUser,
        ServerSettings,
        ServerTls,
        ServerTrust,
    )
    from millstream.bus._server_files import disk_error, load_secret, store_room_bytes
    from millstream.bus._snapshot import SnapshotHead, give_snapshot, take_snapshot
    from millstream.bus._store_repair import sync_descriptions
    from millstream.bus._streams import (
        CONFIG,
        CONFIG_HISTORY,
        CONFIG_PREFIX,
        CONTRACTS,
        CONTRACTS_COPY,
        CONTRACTS_PREFIX,
        FAST_PREFIX,
        FLOW_CONTROL,
        FLOW_PREFIX,
        HUB_DLQ,
        HUB_FLOW,
        HUB_INTEGRITY,
        HUB_LOCAL,
        HUB_THROUGHPUT,
        LIVE,
        NAMESPACE,
        ROLLOUTS,
        ROLLOUTS_PREFIX,
        SITE_PREFIX,
        SourceInfo,
        StreamBounds,
        StreamConfig,
        StreamInfo,
        StreamName,
        config_stream,
        contracts_stream,
        cursors_subject,
        deadletter_stream,
        delete_stream,
        edge_source,
        ensure_stream,
        find_stream,
        fit_bounds,
        flow_stream,
        hub_stream,
        integrity_stream,
        is_retired,
        list_streams,
        local_stream,
        modules_stream,
        mqtt_stream,
        purge_below,
        retired_stream,
        rollouts_stream,
        site_stream,
        throughput_stream,
    )
    from millstream.bus._tls_offer import check_offer
    from millstream.bus._transport import NobodyAnswers, Transport
    from millstream.bus._trim import trim_below
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "_box": "Box",
            "_client": "add_micro_service api_request connect_nats get_last request_nats",
            "_cluster_config": "ClusterSettings shared_secret",
            "_connection": "RawConnection",
            "_contract_log": "ContractLog",
            "_credentials": "Credentials api_prefix read_creds",
            "_direct_batch": "get_all get_batch",
            "_fast_ingest": "FastIngestPublisher",
            "_group_commit": "GroupCommitPublisher",
            "_jetstream": "Refused StreamApi StreamState decode_answer",
            "_lease": "CLUSTER_BUCKET CLUSTER_PREFIX Lease LostLeaseError",
            "_memory": "MemoryPublisher MemoryReader MemoryStream",
            "_mqtt_wake": "mqtt_taken",
            "_nats_py": "NatsPyConnection",
            "_node_file": "NodeFile ProcessMeter node_tls tls_of",
            "_node_service": "node_service",
            "_patience": "START_PATIENCE_S",
            "_people_account": "PEOPLE_INBOX PEOPLE_USER",
            "_permissions": (
                "HISTORY_BELOW HUB_INBOX JOINING PEOPLE_SERVICES PLACE SITE TOLD_WHO_ASKS VIEW_API VIEWED_STREAMS "
                "Permissions bridge_permissions commander_permissions device_permissions edge_permissions "
                "engineer_permissions "
                "flow_permissions join_permissions join_subject permissions_below viewer_permissions"
            ),
            "_publisher": "read_after_control",
            "_reader": "StreamReader",
            "_scout": "scouting",
            "_server": "NatsServer",
            "_server_alarms": "ServerAlarm",
            "_server_config": (
                "HUB_DOMAIN LeafListener LeafRemote LeafUser MqttUser ServerSettings ServerTls ServerTrust"
            ),
            "_server_files": "disk_error load_secret store_room_bytes",
            "_snapshot": "SnapshotHead give_snapshot take_snapshot",
            "_store_repair": "sync_descriptions",
            "_streams": (
                "CONFIG CONFIG_HISTORY CONFIG_PREFIX CONTRACTS CONTRACTS_COPY CONTRACTS_PREFIX FAST_PREFIX "
                "FLOW_CONTROL FLOW_PREFIX HUB_DLQ HUB_FLOW HUB_INTEGRITY HUB_LOCAL HUB_THROUGHPUT LIVE NAMESPACE "
                "ROLLOUTS ROLLOUTS_PREFIX SITE_PREFIX SourceInfo StreamBounds StreamConfig StreamInfo StreamName "
                "config_stream contracts_stream cursors_subject deadletter_stream delete_stream edge_source "
                "ensure_stream find_stream fit_bounds flow_stream hub_stream integrity_stream is_retired list_streams "
                "local_stream modules_stream mqtt_stream purge_below retired_stream rollouts_stream "
                "site_stream throughput_stream"
            ),
            "_tls_offer": "check_offer",
            "_transport": "NobodyAnswers Transport",
            "_trim": "trim_below",
        },
    )

__all__ = [
    "Box",
    "CONFIG",
    "CONFIG_HISTORY",
    "CONFIG_PREFIX",
    "ROLLOUTS",
    "ROLLOUTS_PREFIX",
    "SITE_PREFIX",
    "rollouts_stream",
    "HISTORY_BELOW",
    "modules_stream",
    "mqtt_taken",
    "HUB_INBOX",
    "JOINING",
    "NobodyAnswers",
    "PEOPLE_INBOX",
    "PEOPLE_SERVICES",
    "TOLD_WHO_ASKS",
    "PEOPLE_USER",
    "PLACE",
    "SITE",
    "VIEW_API",
    "VIEWED_STREAMS",
    "api_prefix",
    "Permissions",
    "bridge_permissions",
    "commander_permissions",
    "edge_permissions",
    "device_permissions",
    "engineer_permissions",
    "flow_permissions",
    "join_permissions",
    "join_subject",
    "permissions_below",
    "viewer_permissions",
    "CONTRACTS",
    "CONTRACTS_COPY",
    "CONTRACTS_PREFIX",
    "ClusterSettings",
    "ContractLog",
    "Credentials",
    "FAST_PREFIX",
    "FLOW_PREFIX",
    "FastIngestPublisher",
    "GroupCommitPublisher",
    "HUB_DLQ",
    "HUB_DOMAIN",
    "FLOW_CONTROL",
    "HUB_FLOW",
    "HUB_INTEGRITY",
    "HUB_LOCAL",
    "HUB_THROUGHPUT",
    "LIVE",
    "Lease",
    "LostLeaseError",
    "CLUSTER_BUCKET",
    "CLUSTER_PREFIX",
    "scouting",
    "shared_secret",
    "LeafListener",
    "LeafRemote",
    "LeafUser",
    "MemoryPublisher",
    "MemoryReader",
    "MemoryStream",
    "MqttUser",
    "NAMESPACE",
    "NatsPyConnection",
    "NatsServer",
    "NodeFile",
    "ProcessMeter",
    "RawConnection",
    "Refused",
    "START_PATIENCE_S",
    "ServerAlarm",
    "ServerSettings",
    "ServerTls",
    "ServerTrust",
    "SnapshotHead",
    "SourceInfo",
    "give_snapshot",
    "take_snapshot",
    "StreamApi",
    "StreamBounds",
    "StreamConfig",
    "StreamInfo",
    "StreamName",
    "StreamReader",
    "StreamState",
    "Transport",
    "add_micro_service",
    "api_request",
    "check_offer",
    "connect_nats",
    "config_stream",
    "contracts_stream",
    "cursors_subject",
    "deadletter_stream",
    "decode_answer",
    "delete_stream",
    "disk_error",
    "edge_source",
    "ensure_stream",
    "find_stream",
    "fit_bounds",
    "flow_stream",
    "get_all",
    "get_batch",
    "get_last",
    "hub_stream",
    "integrity_stream",
    "is_retired",
    "list_streams",
    "load_secret",
    "local_stream",
    "mqtt_stream",
    "node_service",
    "node_tls",
    "purge_below",
    "read_after_control",
    "read_creds",
    "request_nats",
    "retired_stream",
    "site_stream",
    "store_room_bytes",
    "sync_descriptions",
    "throughput_stream",
    "tls_of",
    "trim_below",
    "write_private",
]
