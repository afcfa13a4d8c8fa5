"""The demo's arithmetic sees every kind of fault."""

from __future__ import annotations

import pytest

from millstream.client import LedgerRow
from millstream.demo._account import (
    TagAccount,
    account_counter,
    account_rows,
    account_waveform,
    exit_status,
    samples_at_edge,
    samples_at_hub,
    totals,
)
from millstream.protocols.ledger import OriginAccount
from millstream.rig import percentile


def test_a_complete_counter_is_clean() -> None:
    account = account_counter("t", 4, [1, 2, 3, 4])
    assert (account.lost, account.duplicated, account.out_of_order) == (0, 0, 0)


def test_a_missing_number_is_lost() -> None:
    assert account_counter("t", 4, [1, 2, 4]).lost == 1


def test_a_tail_that_never_arrived_is_lost() -> None:
    assert account_counter("t", 4, [1, 2, 3]).lost == 1


def test_a_repeated_number_is_duplicated() -> None:
    assert account_counter("t", 3, [1, 2, 2, 3]).duplicated == 1


def test_an_invented_number_is_a_row_too_many() -> None:
    account = account_counter("t", 3, [1, 2, 3, 4])
    assert (account.lost, account.duplicated) == (0, 1)


def test_a_loss_and_a_repeat_do_not_cancel_out() -> None:
    account = account_counter("t", 3, [1, 1, 3])
    assert (account.lost, account.duplicated) == (1, 1)


def test_a_swap_is_out_of_order() -> None:
    assert account_counter("t", 3, [1, 3, 2]).out_of_order == 1


def test_rows_are_compared_by_number() -> None:
    assert account_rows("t", 5, 4).lost == 1
    assert account_rows("t", 5, 7).duplicated == 2


def test_a_waveform_must_match_value_by_value() -> None:
    assert account_waveform("w", [1.0, 2.0], [1.0, 2.0]).out_of_order == 0
    assert account_waveform("w", [1.0, 2.0], [2.0, 1.0]).out_of_order == 2
    assert account_waveform("w", [1.0, 2.0], [1.0]).lost == 1


def _record(publisher: str, samples: int) -> LedgerRow:
    return LedgerRow("E_plant1_F", "acme/plant1", "plant1", publisher, 3, samples, samples, 1)


def test_what_flows_said_is_counted_at_the_edge_beside_what_connectors_brought() -> None:
    status = {"publishers": [{"samples_stored": 100}, {"samples_stored": 20}]}
    records = [
        _record("integrity", 100),
        _record("throughput", 20),
        _record("flow-oee-1-0", 7),
        _record("flow-x-1-0", 1),
    ]
    assert samples_at_edge(status, records) == 128
    assert samples_at_edge(status, records[:2]) == 120


def test_at_the_hub_what_guests_told_is_no_sample_of_the_plant() -> None:
    assert samples_at_hub([OriginAccount(samples=117, guests=17), OriginAccount(samples=28)]) == 128


def test_the_percentile_is_a_measured_value() -> None:
    assert percentile([], 0.99) is None
    assert percentile([5.0, 1.0, 3.0], 0.99) == 5.0


@pytest.mark.parametrize(
    ("account", "origin", "expected", "status"),
    [
        (account_counter("t", 3, [1, 2, 3]), OriginAccount(), (0, 0, 0), 0),
        (account_counter("t", 3, [1, 3]), OriginAccount(), (1, 0, 0), 1),
        (account_counter("t", 3, [1, 2, 2, 3]), OriginAccount(), (0, 1, 0), 1),
        (account_counter("t", 3, [1, 3, 2]), OriginAccount(), (0, 0, 1), 0),
        (TagAccount("t", 3, 3, 0, 0, 0), OriginAccount(gaps=2), (2, 0, 0), 1),
        (TagAccount("t", 3, 3, 0, 0, 0), OriginAccount(repeats=2), (0, 2, 0), 1),
        (TagAccount("t", 3, 3, 0, 0, 0), OriginAccount(out_of_order=2), (0, 0, 2), 0),
    ],
)
def test_what_a_device_or_the_hub_misses_is_in_the_result_and_in_the_exit_status(
    account: TagAccount, origin: OriginAccount, expected: tuple[int, int, int], status: int
) -> None:
    result = totals([account], [origin])
    assert (result["lost"], result["duplicated"], result["out_of_order"]) == expected
    assert result["samples_produced"] == 3
    assert exit_status(result) == status
