"""One module a connector, named like its entry point, with ``CASES``: how to start its peer and how to break it."""
