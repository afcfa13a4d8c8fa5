"""The policy `thin`: while a buffer is nearly full, every other sample of a float tag is left out."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.bus import StreamInfo, StreamName
from millstream.config import StreamsConfig
from millstream.edge._lifecycle import Alarm
from millstream.edge._pipeline import Pipeline

THIN_ABOVE_RATIO, THIN_BELOW_RATIO = 0.7, 0.6  # of max_bytes; apart, so that it does not flutter
_KINDS = {"I": "integrity", "T": "throughput"}


class Thinning:
    """Switches the pipelines of one class of durability by the fill of its stream."""

    def __init__(self) -> None:
        self._pipelines: dict[str, list[Pipeline]] = {}
        self._active: dict[str, int] = {}
        self._since_ns = 0

    def add(self, durability: str, pipeline: Pipeline) -> None:
        """A pipeline that writes into the stream of `durability`."""
        self._pipelines.setdefault(durability, []).append(pipeline)

    def keep(self, pipelines: Sequence[Pipeline]) -> None:
        """Forget all others: their connectors have gone."""
        kept = {id(pipeline) for pipeline in pipelines}
        self._pipelines = {name: [p for p in known if id(p) in kept] for name, known in self._pipelines.items()}

    def watch(self, streams: Sequence[StreamInfo], config: StreamsConfig) -> None:
        """Look at the fill of each stream."""
        for info in streams:
            name = StreamName.parse(info.name)
            durability = _KINDS.get(name.kind) if name is not None else None
            bounds = getattr(config, durability) if durability is not None else None
            if durability is None or bounds is None or bounds.when_full != "thin":
                continue
            limit = info.config.get("max_bytes", 0)
            ratio = info.bytes / limit if limit > 0 else 0.0
            is_active = ratio > (THIN_BELOW_RATIO if durability in self._active else THIN_ABOVE_RATIO)
            if is_active:
                self._active[durability] = int(100 * ratio)
            else:
                self._active.pop(durability, None)
            for pipeline in self._pipelines.get(durability, ()):
                pipeline.thins = is_active

    def alarm(self, now_ns: int) -> Alarm | None:
        """What a person should know, while thinning is on."""
        if not self._active:
            self._since_ns = 0
            return None
        self._since_ns = self._since_ns or now_ns
        text = ", ".join(f"{name} {ratio} % full" for name, ratio in self._active.items())
        return Alarm("MS-0622", f"every other sample is left out: {text}", self._since_ns)
