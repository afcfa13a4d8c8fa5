"""Configuration files: typed, checked offline, every error with its place."""

from millstream.config._edge import (
    ConnectorEntry,
    DeadbandConfig,
    EdgeConfig,
    EdgeIdentity,
    EdgeServer,
    MappedTag,
    ScaleConfig,
    StreamConfig,
    StreamsConfig,
    TagConfig,
    UplinkConfig,
)
from millstream.config._hub import (
    ApiConfig,
    EdgeAccess,
    HistorianConfig,
    HubConfig,
    HubIdentity,
    HubServer,
    HubStreams,
    UpConfig,
    UpServer,
)

__all__ = [
    "ApiConfig",
    "ConnectorEntry",
    "DeadbandConfig",
    "EdgeAccess",
    "EdgeConfig",
    "EdgeIdentity",
    "EdgeServer",
    "HistorianConfig",
    "HubConfig",
    "HubIdentity",
    "HubServer",
    "HubStreams",
    "MappedTag",
    "ScaleConfig",
    "StreamConfig",
    "StreamsConfig",
    "TagConfig",
    "UpConfig",
    "UpServer",
    "UplinkConfig",
]
