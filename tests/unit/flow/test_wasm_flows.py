"""Flows that are WebAssembly modules: they say what the Python flow says, and what is wrong with one stays its own."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import wasmtime
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import peers
from millstream.flow import (
    Event,
    Flow,
    build_flow,
    drive,
    read_lines,
    read_spec,
    tidy_lines,
    verify,
    wasm_flow,
    with_ticks,
    write_lines,
)
from millstream.kernel import ConfigError
from millstream.protocols.module import MODULE_BYTES_MAX

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "wasm"
ODD = ROOT / "tests" / "data" / "wasm" / "odd.wasm"
LANGUAGES = ("c", "rust")
DESCRIPTION = '{"abi": 1, "inputs": [{"pattern": "a/**:b"}]}'
BUILD = (
    "cc", "-target", "wasm32-freestanding", "-mcpu=mvp", "-Os", "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all",
    "-Wl,-z,stack-size=16384",
)  # fmt: skip


@cache
def example(language: str) -> Flow[Any]:
    folder = EXAMPLES / "tests" / language
    return build_flow(read_spec(yaml.safe_load((folder / "flow.yaml").read_text("utf-8"))), folder)


def module(
    step: str = "(i64.const 0)", *, imports: str = "", describe: str = DESCRIPTION, more: str = "", pages: int = 2
) -> bytes:
    """A module in text form with a step of its own."""
    text = describe.replace('"', '\\"')
    return bytes(
        wasmtime.wat2wasm(f"""(module {imports}
        (memory (export "memory") {pages})
        (data (i32.const 64) "{text}")
        (func (export "millstream_alloc") (param i32) (result i32) (i32.const 4096))
        (func (export "millstream_describe") (result i64) (i64.const {64 << 32 | len(describe.encode())}))
        (func (export "millstream_step") (param i32 i32) (result i64) {step}) {more})""")
    )


def rows(*values: int) -> list[Any]:
    """Inputs of the flow that misbehaves for some values."""
    lines = [f'{{"time": "{i + 1}s", "path": "acme/m:row", "value": {value}}}' for i, value in enumerate(values)]
    return list(read_lines("\n".join(lines)))


# -- the same as in Python --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_module_says_what_the_python_flow_says_wherever_it_is_killed(language: str) -> None:
    lines = (EXAMPLES / "tests" / language / "input.jsonl").read_text("utf-8")
    assert lines == (EXAMPLES / "tests" / "python" / "input.jsonl").read_text("utf-8")
    flow = example(language)
    outcome, problems = verify(lambda: flow, with_ticks(flow, read_lines(lines)))
    assert problems == []
    expected = (EXAMPLES / "tests" / "python" / "expected.jsonl").read_text("utf-8")
    assert write_lines([outcome]) == tidy_lines(expected)


MOMENTS = st.lists(
    st.tuples(
        st.integers(0, 200_000), st.sampled_from(["press", "press 2", "pr\u00e4gen/links", "x" * 40]),
        st.one_of(
            st.integers(-(2**62), 2**62), st.floats(-1e300, 1e300), st.booleans(), st.text('a\u00e4"', max_size=40)
        ),
        st.sampled_from(["Good", "Bad", "Uncertain"]),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=40)
@given(MOMENTS)
def test_modules_and_the_python_flow_give_the_same_for_any_input(moments: list[tuple[int, str, Any, str]]) -> None:
    lines = [
        msgspec.json.encode({
            "time": f"{ms}ms", "path": f"acme/plant1/{place}:parts", "kind": "count", "value": value,
            "quality": quality,
        }).decode()
        for ms, place, value, quality in moments
    ]  # fmt: skip
    arrivals = read_lines("\n".join([*lines, '{"now": "10min"}']))
    said = []
    for language in ("python", *LANGUAGES):
        flow = example(language)
        outcome = drive(flow, with_ticks(flow, arrivals))
        assert not outcome.rejected
        said.append(outcome.said())
    assert said[0] == said[1] == said[2]


@pytest.mark.needs("ziglang")
def test_the_c_examples_can_be_built_again(tmp_path: Path) -> None:
    for source in (EXAMPLES / "c" / "cycle.c", ODD.with_suffix(".c")):
        built = tmp_path / source.with_suffix(".wasm").name
        done = subprocess.run(
            [peers.venv_python("ziglang"), "-m", "ziglang", *BUILD, f"-I{EXAMPLES / 'c'}", "-o", built, source],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert wasm_flow(built.read_bytes(), "built").inputs == wasm_flow(_kept(source), "kept").inputs
    lines = read_lines((EXAMPLES / "tests" / "c" / "input.jsonl").read_text("utf-8"))
    flow, kept = wasm_flow((tmp_path / "cycle.wasm").read_bytes(), "cycle"), example("c")
    assert drive(flow, with_ticks(flow, lines)).said() == drive(kept, with_ticks(kept, lines)).said()


def _kept(source: Path) -> bytes:
    return source.with_suffix(".wasm").read_bytes()


# -- steps that misbehave ---------------------------------------------------------------------------------------------


def test_an_input_that_a_module_cannot_take_goes_into_quarantine_and_the_next_ones_count() -> None:
    flow = wasm_flow(ODD.read_bytes(), "odd", fuel=1_000_000)
    outcome = drive(flow, rows(1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7))
    said = [(rejected.received.seq, rejected.code) for rejected in outcome.rejected]
    assert said == [
        (2, "MS-0711"), (4, "MS-0712"), (6, "MS-0713"), (8, "MS-0714"), (10, "MS-0714"), (12, "MS-0702"),
    ]  # fmt: skip
    assert "it said: no such row" in outcome.rejected[0].reason
    assert "endless loop" in outcome.rejected[1].reason
    values = [msgspec.json.decode(message.payload)["value"] for message in outcome.messages]
    assert values == [1, 2, 3, 4, 5, 6, 7], "a step that fails changes nothing, and nothing stays in a module's memory"


def test_what_a_module_does_is_the_same_however_it_is_killed() -> None:
    flow = wasm_flow(ODD.read_bytes(), "odd", fuel=1_000_000)
    outcome, problems = verify(lambda: flow, rows(1, -1, 2, -2, 3, -4, 4))
    assert (problems, len(outcome.messages)) == ([], 4)


@pytest.mark.attack("a module that loops, or takes memory without end", layer="sandbox: fuel and memory of a step")
@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("(loop (br 0)) (i64.const 0)", "MS-0712"),
        ("(loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072)) (br 0)) (i64.const 0)", "MS-0712"),
        ("(loop (drop (memory.grow (i32.const 1))) (br 0)) (i64.const 0)", "MS-0712"),
        ("(call $deep (i32.const 0) (i32.const 0))", "MS-0711"),
        ("(i64.load (i32.const 0x7fffffff))", "MS-0711"),
        ("(i64.const 0xffffffff00000001)", "MS-0714"),
        ("(i64.const 0x00000000ffffffff)", "MS-0714"),
        ("(i64.const 0x0000000000000000)", "MS-0714"),
    ],
)
def test_a_hostile_step_costs_its_own_input_only(step: str, code: str) -> None:
    deep = "(func $deep (param i32 i32) (result i64) (call $deep (local.get 0) (local.get 1)))"
    flow = wasm_flow(module(step, more=deep), "hostile", fuel=2_000_000)
    outcome = drive(flow, list(read_lines('{"time": "1s", "path": "a/m:b", "value": 1}')))
    assert ([rejected.code for rejected in outcome.rejected], outcome.messages) == ([code], [])


LOG_IMPORT = '(import "millstream" "log" (func $log (param i32 i32)))'


@pytest.mark.attack("a module that asks the host again and again, which costs it next to nothing",
                    layer="sandbox: fuel of what the host does")  # fmt: skip
def test_what_a_module_asks_of_the_host_is_paid_in_fuel() -> None:
    flow = wasm_flow(
        module("(loop (call $log (i32.const 0) (i32.const 1)) (br 0)) (i64.const 0)", imports=LOG_IMPORT), "talks"
    )
    began_ns = time.process_time_ns()
    outcome = drive(flow, list(read_lines('{"time": "1s", "path": "a/m:b", "value": 1}')))
    assert [rejected.code for rejected in outcome.rejected] == ["MS-0712"]
    assert time.process_time_ns() - began_ns < 20 * 10**9  # of processor time; without a price it were minutes


@pytest.mark.attack("a module that loops within very much fuel", layer="sandbox: time of a step")
@pytest.mark.parametrize("body", ["", "(call $log (i32.const 0) (i32.const 0))"])
def test_a_step_that_its_fuel_does_not_end_is_ended_by_its_time(body: str) -> None:
    looping = module(
        f"(if (i32.load8_u (i32.const 4100)) (then (loop {body} (br 0)))) (i64.const 0)", imports=LOG_IMPORT
    )
    flow = wasm_flow(looping, "slow", fuel=10**15, time_s=0.2)
    outcome = drive(flow, list(read_lines('{"time": "1s", "path": "a/m:b", "value": 1}')))
    assert [rejected.code for rejected in outcome.rejected] == ["MS-0718"]
    assert "longer than 0.2 s" in outcome.rejected[0].reason
    ticker = flow.step._sandbox._ticker  # type: ignore[union-attr]
    assert ticker.is_alive()
    del flow, outcome
    gc.collect()
    ticker.join(10)
    assert not ticker.is_alive(), "it ends with its module"


def test_a_value_that_a_module_cannot_be_given_is_told() -> None:
    flow = wasm_flow(ODD.read_bytes(), "odd")
    with pytest.raises(Exception, match="cannot be given to a module") as caught:
        flow.step(flow.initial(), Event("acme/m", "tag", 1, 2**70))
    assert getattr(caught.value, "code", None) == "MS-0714"


# -- what is no module of a flow --------------------------------------------------------------------------------------

WASI = '(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'


@pytest.mark.attack("a module that wants files, the network or the host's memory", layer="sandbox: nothing is given")
@pytest.mark.parametrize(
    "imports",
    [WASI, '(import "env" "system" (func (param i32)))', '(import "millstream" "log" (memory 1))',
     '(import "millstream" "log" (func (param i64)))'],
)  # fmt: skip
def test_a_module_that_wants_more_than_it_is_given_is_refused(imports: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wasm_flow(module(imports=imports), "hostile")
    assert caught.value.code == "MS-0710"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no valid WebAssembly"),
        (b"\0asm\1\0\0\0nonsense", "no valid WebAssembly"),
        (b"\0" * (MODULE_BYTES_MAX + 1), "too large"),
        (bytes(wasmtime.wat2wasm("(module)")), "a function is missing"),
        (module(describe="[]"), "what it says of itself"),
        (module(describe='{"abi": 2}'), "another interface"),
        (module(describe='{"abi": 1, "inputs": [{"pattern": "a/**:b"}], "outputs": ["nonsense"]}'), "unknown kind"),
        (module(describe='{"abi": 1}'), "without inputs"),
        (module(more="(start $f) (func $f unreachable)"), "cannot describe itself"),
        (module(more="(start $f) (func $f (loop (br 0)))"), "cannot describe itself"),
        (module(pages=2000), "cannot describe itself"),
    ],
    ids=range(11),
)
def test_what_is_no_module_of_a_flow_is_refused_with_the_reason(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        wasm_flow(data, "none", fuel=1_000_000)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    with pytest.raises(ConfigError, match="wasmtime") as caught:
        wasm_flow(ODD.read_bytes(), "odd")
    assert caught.value.code == "MS-0106"
    assert "millstream[wasm]" in str(caught.value)
