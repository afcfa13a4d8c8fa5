"""Configuration files: typed, checked offline, every error with its place."""

from typing import TYPE_CHECKING

from millstream.kernel import lazy_names

if TYPE_CHECKING:
    from millstream.config._catalog import InstalledConnectors
    from millstream.config._cluster import ClusterConfig
    from millstream.config._contract import ContractEntry, ContractFile, load_contracts
    from millstream.config._edge import (
        ApiConfig,
        ConnectorEntry,
        DeadbandConfig,
        EdgeConfig,
        EdgeIdentity,
        EdgeServer,
        ManagedConfig,
        MappedTag,
        ScaleConfig,
        SiteStreamConfig,
        StreamConfig,
        StreamsConfig,
        TagConfig,
        TlsConfig,
        TracingConfig,
        UplinkConfig,
    )
    from millstream.config._erp import (
        CellConfig,
        CloseConfig,
        ConfirmConfig,
        ErpConfig,
        ReadConfig,
        RestConfirm,
        RestRead,
        RestSystem,
        SqlConfirm,
        SqlRead,
        SqlSystem,
        TrytonConfirm,
        TrytonRead,
        TrytonSystem,
        load_erp,
    )
    from millstream.config._finding import Finding
    from millstream.config._flow import FlowEntry, FlowInput
    from millstream.config._flow_check import FlowKind, FlowKinds
    from millstream.config._historian import EdgeHistorianConfig, HistorianConfig, KeepConfig
    from millstream.config._hub import (
        EdgeAccess,
        HubConfig,
        HubIdentity,
        HubServer,
        HubStreams,
        OidcConfig,
        TenantConfig,
        UpConfig,
        UpServer,
    )
    from millstream.config._load import (
        ConnectorTypes,
        Role,
        config_error,
        load_any,
        load_edge,
        load_hub,
        load_up,
        role_of,
    )
    from millstream.config._notify import MailChannel, MqttChannel, NotifierConfig, WebhookChannel, load_notifier
    from millstream.config._profiles import DeviceProfile, profiles_of
    from millstream.config._schema import json_schema
    from millstream.config._site_audit import put_told
    from millstream.config._site_diff import PathAuthor, PathChange, blame, diff_documents
    from millstream.config._site_document import MANAGED_SECTIONS, DocumentRefused, SitePlace, load_site_document
    from millstream.config._site_folder import SiteFile, dump_yaml, load_folder
    from millstream.config._tls_check import check_tls
    from millstream.config._types import parse_size
    from millstream.config._units import unit_problem
    from millstream.config._yaml import read_text, read_yaml
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "_catalog": "InstalledConnectors",
            "_cluster": "ClusterConfig",
            "_contract": "ContractEntry ContractFile load_contracts",
            "_edge": (
                "ApiConfig ConnectorEntry DeadbandConfig EdgeConfig EdgeIdentity EdgeServer ManagedConfig MappedTag "
                "ScaleConfig SiteStreamConfig StreamConfig StreamsConfig TagConfig TlsConfig TracingConfig UplinkConfig"
            ),
            "_erp": (
                "CellConfig CloseConfig ConfirmConfig ErpConfig ReadConfig RestConfirm RestRead RestSystem SqlConfirm "
                "SqlRead SqlSystem TrytonConfirm TrytonRead TrytonSystem load_erp"
            ),
            "_finding": "Finding",
            "_flow": "FlowEntry FlowInput",
            "_flow_check": "FlowKind FlowKinds",
            "_historian": "EdgeHistorianConfig HistorianConfig KeepConfig",
            "_hub": "EdgeAccess HubConfig HubIdentity HubServer HubStreams OidcConfig TenantConfig UpConfig UpServer",
            "_load": "ConnectorTypes Role config_error load_any load_edge load_hub load_up role_of",
            "_notify": "MailChannel MqttChannel NotifierConfig WebhookChannel load_notifier",
            "_profiles": "DeviceProfile profiles_of",
            "_schema": "json_schema",
            "_site_audit": "put_told",
            "_site_diff": "PathAuthor PathChange blame diff_documents",
            "_site_document": "MANAGED_SECTIONS DocumentRefused SitePlace load_site_document",
            "_site_folder": "SiteFile dump_yaml load_folder",
            "_tls_check": "check_tls",
            "_types": "parse_size",
            "_units": "unit_problem",
            "_yaml": "read_text read_yaml",
        },
    )

__all__ = [
    "MailChannel",
    "MqttChannel",
    "NotifierConfig",
    "CellConfig",
    "ConfirmConfig",
    "ErpConfig",
    "CloseConfig",
    "ReadConfig",
    "RestConfirm",
    "RestRead",
    "RestSystem",
    "SqlConfirm",
    "SqlRead",
    "SqlSystem",
    "TrytonConfirm",
    "TrytonRead",
    "TrytonSystem",
    "load_erp",
    "WebhookChannel",
    "load_notifier",
    "ClusterConfig",
    "MANAGED_SECTIONS",
    "parse_size",
    "ApiConfig",
    "ConnectorEntry",
    "ConnectorTypes",
    "ContractEntry",
    "ContractFile",
    "DeadbandConfig",
    "DeviceProfile",
    "DocumentRefused",
    "EdgeAccess",
    "EdgeConfig",
    "EdgeHistorianConfig",
    "EdgeIdentity",
    "EdgeServer",
    "Finding",
    "FlowEntry",
    "FlowInput",
    "FlowKind",
    "FlowKinds",
    "HistorianConfig",
    "HubConfig",
    "HubIdentity",
    "HubServer",
    "HubStreams",
    "OidcConfig",
    "InstalledConnectors",
    "KeepConfig",
    "ManagedConfig",
    "MappedTag",
    "PathAuthor",
    "PathChange",
    "Role",
    "ScaleConfig",
    "SiteFile",
    "SitePlace",
    "SiteStreamConfig",
    "StreamConfig",
    "StreamsConfig",
    "TagConfig",
    "TlsConfig",
    "TracingConfig",
    "TenantConfig",
    "UpConfig",
    "UpServer",
    "UplinkConfig",
    "blame",
    "check_tls",
    "config_error",
    "diff_documents",
    "dump_yaml",
    "json_schema",
    "load_any",
    "load_contracts",
    "load_edge",
    "load_folder",
    "load_hub",
    "load_site_document",
    "load_up",
    "profiles_of",
    "put_told",
    "read_text",
    "read_yaml",
    "role_of",
    "unit_problem",
]
