"""Codecs and state machines without I/O: bytes in, values out. Import the module you need."""
