"""ERP and MES in both directions: orders and what belongs to them come in as context, what was made is confirmed."""

from millstream.erp._run import Erp, open_erp
from millstream.erp._systems import Confirmation, Page, Refused, Sink, Source

__all__ = ["Confirmation", "Erp", "Page", "Refused", "Sink", "Source", "open_erp"]
