"""A WebAssembly module in a sandbox: bounded memory and fuel, no authority, a new instance for each call.

The only place that knows wasmtime. A module gets nothing of this machine: no files, no network, no clock, no
randomness; the one function that it may import takes what it says about a failure. Each call runs in an instance of its
own, so that nothing stays behind in a module's memory: what a step returns depends on its input alone, which recovery
after a crash stands on. Fuel counts instructions, so a step that takes too much does so on every machine alike; what a
module asks of the host has a price in fuel, too. Behind it stands a limit of time, many times what a step may take: for
somebody who allows a module very much fuel.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from millstream.flow._sources import StepFailedError
from millstream.kernel import ConfigError, needs_extra
from millstream.protocols.module import MODULE_BYTES_MAX, MODULE_FUEL, MODULE_MEMORY_BYTES, MODULE_TIME_S

if TYPE_CHECKING:
    import wasmtime

OUTPUT_BYTES_MAX = 1 << 20
STACK_BYTES = 512 << 10
TABLE_ELEMENTS_MAX = 100_000
SAID_BYTES_MAX = 4096  # of one call
SAYING_FUEL = 10_000  # of one millstream.log: it takes as long as so many instructions (measured: 2 us)
TICKS = 8  # of the time limit; a call may take one more
TICKER_STACK_BYTES = 256 << 10  # it counts against the bound of a worker's address space
MEMORY_FULL_SHARE = 0.9  # a failure with so much of the bound in use is told as one of memory
LOG = ("millstream", "log")
ALLOC, STEP, DESCRIBE, MEMORY = "millstream_alloc", "millstream_step", "millstream_describe", "memory"
_SIGNATURES = {ALLOC: (["i32"], ["i32"]), STEP: (["i32", "i32"], ["i64"]), DESCRIBE: ([], ["i64"])}
_OFF = (
    "wasm_threads", "wasm_memory64", "wasm_multi_memory", "wasm_relaxed_simd", "wasm_gc", "wasm_exceptions",
    "wasm_component_model", "wasm_stack_switching",
)  # fmt: skip


class Sandbox:
    """One module, compiled. Raises ConfigError: MS-0710 for what is no module of a flow, MS-0106 without wasmtime."""

    def __init__(
        self, data: bytes, where: str, *, memory_bytes: int = MODULE_MEMORY_BYTES, fuel: int = MODULE_FUEL,
        time_s: float = MODULE_TIME_S,
    ) -> None:  # fmt: skip
        with needs_extra("a flow of type wasm", "wasm"):
            import wasmtime
        self._lib = wasmtime
        self._where = where
        self._memory_bytes = memory_bytes
        self._fuel = fuel
        self._time_s = time_s
        self._ticker: threading.Thread | None = None
        self._store: wasmtime.Store | None = None
        self._said = b""
        if len(data) > MODULE_BYTES_MAX:
            raise self._unusable("it is too large", f"at most {MODULE_BYTES_MAX} bytes", f"{len(data)} bytes")
        self._engine = wasmtime.Engine(self._config())
        try:
            self._module = wasmtime.Module(self._engine, data)
        except wasmtime.WasmtimeError as error:
            raise self._unusable("it is no valid WebAssembly", None, _short(str(error))) from error
        self._check_interface()
        linker = wasmtime.Linker(self._engine)
        i32 = wasmtime.ValType.i32()
        hear = weakref.WeakMethod(self._hear)  # wasmtime keeps what it calls: this module would never go away

        def said(caller: Any, at: int, size: int) -> None:
            if (heard := hear()) is not None:
                heard(caller, at, size)

        linker.define_func(*LOG, wasmtime.FuncType([i32, i32], []), said, access_caller=True)
        try:
            self._instances = linker.instantiate_pre(self._module)
        except wasmtime.WasmtimeError as error:
            raise self._unusable("it wants another function than it is given", None, _short(str(error))) from error

    def _config(self) -> wasmtime.Config:
        config = self._lib.Config()
        config.consume_fuel = True
        config.epoch_interruption = True
        config.parallel_compilation = False
        config.cranelift_nan_canonicalization = True  # a NaN has the same bits on every machine
        config.max_wasm_stack = STACK_BYTES
        # What is only reserved counts against the bound of a worker's address space, too.
        config.memory_reservation = self._memory_bytes
        config.memory_reservation_for_growth = 0
        config.memory_guard_size = 64 << 10
        for name in _OFF:
            setattr(config, name, False)
        return config

    def _check_interface(self) -> None:
        for one in self._module.imports:
            if (one.module, one.name) != LOG:
                raise self._unusable(
                    "it wants a function that no flow is given", f"no imports, or {'.'.join(LOG)}",
                    f"{one.module}.{one.name}"[:120],
                )  # fmt: skip
        exports = {one.name: one.type for one in self._module.exports}
        for name, signature in _SIGNATURES.items():
            found = exports.get(name)
            if not isinstance(found, self._lib.FuncType):
                raise self._unusable("a function is missing", name, None)
            have = [str(each) for each in found.params], [str(each) for each in found.results]
            if have != signature:
                raise self._unusable(f"{name} has other types", _signature(*signature), _signature(*have))
        if not isinstance(exports.get(MEMORY), self._lib.MemoryType):
            raise self._unusable("its memory is not exported", MEMORY, None)

    def _unusable(self, what: str, expected: str | None, got: str | None) -> ConfigError:
        return ConfigError(
            f"the module cannot be used: {what}", where=self._where, expected=expected, got=got, code="MS-0710"
        )

    # -- calls --------------------------------------------------------------------------------------------------------

    def step(self, data: bytes) -> bytes:
        """What the module makes of `data`. Raises StepFailedError: MS-0711 it failed, MS-0712 it used up its fuel,
        MS-0713 its memory, MS-0718 its time, MS-0714 what it gives lies outside its memory."""
        if self._ticker is None:
            self._ticker = _start_ticker(self._engine, self._time_s / TICKS)
        return self._call(STEP, data, self._fuel)

    def describe(self) -> bytes:
        """What the module says of itself. Raises ConfigError."""
        try:
            return self._call(DESCRIBE, None, min(self._fuel, MODULE_FUEL))  # also where nothing else limits it
        except StepFailedError as error:
            raise self._unusable(f"it cannot describe itself: {error.what}", None, error.got) from error

    def _call(self, name: str, data: bytes | None, fuel: int) -> bytes:
        lib = self._lib
        self._store = store = lib.Store(self._engine)
        self._said = b""
        memory: Any = None
        try:
            store.set_limits(
                memory_size=self._memory_bytes, table_elements=TABLE_ELEMENTS_MAX, instances=1, tables=8, memories=1
            )
            store.set_fuel(fuel)
            store.set_epoch_deadline(TICKS + 1)
            exports: Any = self._instances.instantiate(store).exports(store)
            memory = exports[MEMORY]
            if data is None:
                packed = exports[name](store)
            else:
                at = exports[ALLOC](store, len(data)) & 0xFFFFFFFF
                if at + len(data) > memory.data_len(store):
                    raise self._outside(ALLOC)
                memory.write(store, data, at)
                packed = exports[name](store, at, len(data))
            begin, size = packed >> 32 & 0xFFFFFFFF, packed & 0xFFFFFFFF
            if size > OUTPUT_BYTES_MAX or begin + size > memory.data_len(store):
                raise self._outside(name)
            return bytes(memory.read(store, begin, begin + size))
        except lib.Trap as error:
            raise self._trapped(error, 0 if memory is None else memory.data_len(store)) from None
        except lib.WasmtimeError as error:
            text = _short(str(error))
            code = "MS-0713" if "memory" in text else "MS-0711"
            raise StepFailedError(f"the module does not start: {text}", where=self._where, code=code) from None
        finally:
            self._store = None
            store.close()

    def _trapped(self, error: wasmtime.Trap, used_bytes: int) -> StepFailedError:
        lib = self._lib
        said = self._said.decode("utf-8", "replace").strip()
        why = _short(str(error))
        if error.trap_code is lib.TrapCode.OUT_OF_FUEL:
            what, code = f"the step used up its fuel of {self._fuel}: is there an endless loop?", "MS-0712"
        elif error.trap_code is lib.TrapCode.INTERRUPT:
            what, code = f"the step took longer than {self._time_s:g} s", "MS-0718"
        elif used_bytes >= self._memory_bytes * MEMORY_FULL_SHARE:
            what, code = f"the step used up its memory of {self._memory_bytes} bytes: {why}", "MS-0713"
        else:
            what, code = f"the step failed: {why}", "MS-0711"
        return StepFailedError(f"{what}; it said: {said}" if said else what, where=self._where, code=code)

    def _outside(self, name: str) -> StepFailedError:
        return StepFailedError(
            "what the module gives lies outside its memory", where=self._where, got=name,
            expected=f"a place and a size of at most {OUTPUT_BYTES_MAX} bytes", code="MS-0714",
        )  # fmt: skip

    def _hear(self, caller: Any, at: int, size: int) -> None:
        """What a module says about a failure; only that of a step that fails is kept."""
        if self._store is not None:
            self._store.set_fuel(max(0, self._store.get_fuel() - SAYING_FUEL))
        memory = caller.get(MEMORY)
        room = SAID_BYTES_MAX - len(self._said)
        at &= 0xFFFFFFFF
        if memory is not None and room > 0:
            end = min(at + min(size & 0xFFFFFFFF, room), memory.data_len(caller))
            if at < end:
                self._said += bytes(memory.read(caller, at, end))


def _start_ticker(engine: wasmtime.Engine, interval_s: float) -> threading.Thread:
    """Moves the engine's epoch on as time goes by, until nobody has the engine any more."""
    alive = weakref.ref(engine)
    pause = threading.Event()  # never set: it waits, and a machine that stood still counts as one tick

    def tick() -> None:
        while not pause.wait(interval_s):
            found = alive()
            if found is None:
                return
            found.increment_epoch()
            del found

    before = threading.stack_size(TICKER_STACK_BYTES)
    try:
        ticker = threading.Thread(target=tick, name="time limit of a module", daemon=True)
        ticker.start()
    finally:
        threading.stack_size(before)
    return ticker


def _signature(params: list[str], results: list[str]) -> str:
    return f"({', '.join(params)}) -> ({', '.join(results)})"


def _short(text: str) -> str:
    """The cause of an error of wasmtime, without the addresses of its backtrace."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    after = lines[lines.index("Caused by:") + 1 :] if "Caused by:" in lines else lines[:1]
    return " ".join(after)[:200].removeprefix("0: ").removeprefix("wasm trap: ")
