"""Files that machines write into a folder: CSV, JSON lines and Parquet, followed while they grow."""

from millstream.connectors.files._config import FilesConfig, FilesTagOptions
from millstream.connectors.files._connector import FilesConnector
from millstream.connectors.files._session import FilesSession

__all__ = ["FilesConfig", "FilesConnector", "FilesSession", "FilesTagOptions"]
