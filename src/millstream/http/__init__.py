"""HTTP, as a client and as a small server. Whoever speaks HTTP to devices uses it; the libraries are only here."""

from millstream.http._client import ClientOptions, HttpClient, Response, open_http
from millstream.http._get import Document, GetOptions, get
from millstream.http._listener import Listener, ListenerOptions, Reply, Request, open_listener
from millstream.http._words import Words

__all__ = [
    "ClientOptions",
    "Document",
    "GetOptions",
    "HttpClient",
    "Listener",
    "ListenerOptions",
    "Reply",
    "Request",
    "Response",
    "Words",
    "get",
    "open_http",
    "open_listener",
]
