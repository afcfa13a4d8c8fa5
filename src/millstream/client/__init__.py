"""The Python SDK: live values, last values, history, events and the ledger, by path and type."""

from millstream.client._alarms import AlarmRow, Alarms
from millstream.client._archive import Archive, ImportedFile
from millstream.client._code import Code, kind_of
from millstream.client._commands import Commands, NodeCommand
from millstream.client._context import KnownFact, PlantContext
from millstream.client._contracts import Consumer, Review
from millstream.client._deadletter import DeadLetter
from millstream.client._downtime import Downtime
from millstream.client._export import ExportedDay
from millstream.client._fleet import Fleet, FleetResult, FleetRun
from millstream.client._fleet_data import DataPart, FleetDataRun
from millstream.client._flow_desk import Listed
from millstream.client._joined import joined_keys
from millstream.client._ledger import Ledger, LedgerRow, account_from
from millstream.client._letter_acts import LetterActs
from millstream.client._logins import LoginUsers, login_users
from millstream.client._node import PROVIDER, NodeAddress, find_node, is_process
from millstream.client._notifier import Notifier
from millstream.client._orders_made import OrderTotal
from millstream.client._part_quality import PartQuality
from millstream.client._plant import Plant, connect
from millstream.client._provider import Provider, TenantSite
from millstream.client._reading import Reading
from millstream.client._rollouts import Rollouts
from millstream.client._signing import Signer
from millstream.client._site_configs import SiteConfigs, SitePlan, SiteRevision, me
from millstream.client._site_state import site_state
from millstream.client._sync import SyncPlant, connect_sync
from millstream.client._times import Span, Time, to_span_ns, to_time_ns
from millstream.client._trace import Station, Trace
from millstream.client._tree import TagEntry, TreeNode, build_tree
from millstream.client._twin import Twins
from millstream.client._writes import NotWritten
from millstream.protocols.cloudevents import CloudEvent
from millstream.protocols.contract import Contract, ContractBroken
from millstream.protocols.fleet_data import DataSummary
from millstream.protocols.fleet_query import FleetMatch, FleetSummary
from millstream.protocols.rollout import Rollout
from millstream.protocols.uns_pattern import KINDS, Pattern
from millstream.protocols.write_request import WritableTag, WriteAnswer

__all__ = [
    "Twins",
    "Notifier",
    "OrderTotal",
    "Downtime",
    "PartQuality",
    "KnownFact",
    "PlantContext",
    "KINDS",
    "PROVIDER",
    "AlarmRow",
    "Alarms",
    "Archive",
    "CloudEvent",
    "Code",
    "Commands",
    "Consumer",
    "Contract",
    "ContractBroken",
    "DataPart",
    "DataSummary",
    "DeadLetter",
    "ExportedDay",
    "ImportedFile",
    "Fleet",
    "FleetDataRun",
    "FleetMatch",
    "FleetResult",
    "FleetRun",
    "FleetSummary",
    "Ledger",
    "LetterActs",
    "Listed",
    "LedgerRow",
    "LoginUsers",
    "NodeAddress",
    "NodeCommand",
    "NotWritten",
    "Pattern",
    "Plant",
    "Provider",
    "Reading",
    "Review",
    "Rollout",
    "Rollouts",
    "Signer",
    "SiteConfigs",
    "SitePlan",
    "SiteRevision",
    "Span",
    "Station",
    "SyncPlant",
    "TagEntry",
    "TenantSite",
    "Time",
    "Trace",
    "TreeNode",
    "WritableTag",
    "WriteAnswer",
    "build_tree",
    "account_from",
    "connect",
    "kind_of",
    "me",
    "site_state",
    "connect_sync",
    "find_node",
    "is_process",
    "joined_keys",
    "login_users",
    "to_span_ns",
    "to_time_ns",
]
