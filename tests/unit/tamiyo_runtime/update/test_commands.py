"""Orders: obeyed once, by whom they are meant for, in time, and only from who may give them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.signing import PublicKey, SigningKey
from tamiyo_runtime.update.commands import PAYLOAD_TYPE, SCHEMA, Command, KeyChange, Refusal, decide
from tamiyo_runtime.update.record import Offer, Record, Role, TrustedKey
from tests.updates import FACTORY, NOW_S, OFFICE, STRANGER, fresh, order, trusted

NEW = SigningKey(bytes(range(200, 232)))
OFFER = Offer(sha256="ab" * 32, size_bytes=1000, stage_percent=10)


def obeyed(record: Record, envelope: bytes, now_s: int = NOW_S) -> Record:
    decision = decide(envelope, record, now_s)
    assert decision.refusal is None, decision.problem
    return decision.record


def refused(record: Record, envelope: bytes, now_s: int = NOW_S) -> Refusal:
    decision = decide(envelope, record, now_s)
    assert decision.refusal is not None
    assert decision.record is record
    assert decision.problem
    return decision.refusal


def signed(data: Any, key: SigningKey = OFFICE) -> bytes:
    return key.sign(json.dumps(data).encode(), payload_type=PAYLOAD_TYPE)


def document(**what: Any) -> dict[str, Any]:
    head = {"schema": SCHEMA, "counter": 1, "not_before_s": NOW_S, "expires_s": NOW_S + 60, "fleet": "pumps"}
    return {**head, **what}


def test_each_kind_of_order_does_what_it_says() -> None:
    budget = Budget(latency_ms=5.0, power_mw=20.0, energy_burst_uj=100.0)
    record = obeyed(fresh(), order(1, budget=budget))
    assert record.budget == budget
    record = obeyed(record, order(2, lift_budget=True))
    assert record.budget is None
    record = obeyed(record, order(3, policy=False))
    assert not record.policy
    record = obeyed(record, order(4, bundle=OFFER))
    record = obeyed(record, order(5, stage_percent=60))
    assert record.offer == replace(OFFER, stage_percent=60)
    assert obeyed(record, order(6, stage_percent=0)).offer == replace(OFFER, stage_percent=0)
    assert Record.from_bytes(record.to_bytes()) == record


def test_an_offer_made_again_takes_that_file_off_the_list_of_rejected_ones_and_no_other() -> None:
    rejected = ("cd" * 32, OFFER.sha256, "ef" * 32)
    record = replace(fresh(), rejected=rejected)
    assert obeyed(record, order(1, bundle=OFFER)).rejected == rejected
    record = obeyed(record, order(1, bundle=replace(OFFER, again=True)))
    assert record.rejected == ("cd" * 32, "ef" * 32)
    assert record.offer == OFFER  # to be done once is not to be remembered
    assert b"again" not in record.to_bytes()
    for value in (False, 1, "true"):
        assert refused(record, signed(document(counter=2, bundle={**dump(OFFER), "again": value}))) is Refusal.FORM
    assert refused(record, signed(document(counter=2, policy=False, again=True))) is Refusal.FORM


@settings(max_examples=25)
@given(st.lists(st.integers(1, 12), max_size=25))
def test_an_order_counts_once_and_never_after_a_later_one(counters: list[int]) -> None:
    record, last = fresh(), 0
    for counter in counters:
        decision = decide(order(counter, policy=counter % 2 == 0), record, NOW_S)
        if counter > last:
            assert decision.refusal is None
            assert decision.record.policy == (counter % 2 == 0)
            last = counter
        else:
            assert decision.refusal is Refusal.COUNTER
        record = Record.from_bytes(decision.record.to_bytes())  # a restart between any two


def test_two_signers_count_by_themselves() -> None:
    record = replace(fresh(), keys=(*fresh().keys, trusted(NEW, Role.COMMAND)))
    record = obeyed(record, order(1_000_000, policy=False))
    record = obeyed(record, order(1, NEW, policy=True))
    assert refused(record, order(1, NEW, policy=False)) is Refusal.COUNTER


def test_an_order_for_another_device_or_fleet_is_not_obeyed() -> None:
    assert obeyed(fresh(), order(device="pump-7", policy=False)).counters == {OFFICE.public.id: 1}
    assert refused(fresh(), order(device="pump-8", policy=False)) is Refusal.TARGET
    assert refused(fresh(), signed(document(fleet="lifts", policy=False))) is Refusal.TARGET


@settings(max_examples=40)
@given(st.integers(-5000, 5000))
def test_an_order_is_good_from_its_first_second_to_before_its_last(offset_s: int) -> None:
    decision = decide(order(policy=False), fresh(), NOW_S + offset_s)
    assert (decision.refusal is None) == (0 <= offset_s < 3600)
    assert decision.refusal in (None, Refusal.TIME)


def test_a_clock_that_is_set_back_does_not_bring_an_expired_order_back() -> None:
    record = obeyed(fresh(), order(1, policy=False), NOW_S + 10)
    late = signed(document(counter=2, not_before_s=NOW_S - 90, expires_s=NOW_S + 5, policy=True))
    for clock_s in (NOW_S, 0):
        assert refused(record, late, clock_s) is Refusal.TIME
    assert obeyed(record, order(2, policy=True), 0).policy


def test_a_signature_that_does_not_count_for_orders_is_refused() -> None:
    for key in (STRANGER, FACTORY):  # the factory's counts for bundles only
        assert refused(fresh(), order(key=key, policy=False)) is Refusal.SIGNATURE
    other = OFFICE.sign(json.dumps(document(policy=False)).encode())  # signed as a manifest
    assert refused(fresh(), other) is Refusal.SIGNATURE


@pytest.mark.parametrize(
    "data",
    [
        document(),  # no order
        document(policy=True, lift_budget=True),  # two
        document(policy=True, reboot=True),  # an unknown field
        document(budget={"latency_ms": 5, "reboot": True}),
        document(budget={"latency_ms": -5}),
        document(budget={"memory_bytes": 5}),
        document(bundle={"sha256": "ab" * 32, "size_bytes": 1, "url": "http://x"}),
        document(bundle={"sha256": "../../etc", "size_bytes": 1}),
        document(stage_percent=101),
        document(policy="yes"),
        document(policy=True, counter=0),
        document(policy=True, counter=1.0),
        document(policy=True, counter=1 << 60),
        document(policy=True, device="pump-7"),  # device and fleet
        document(policy=True, fleet=None),
        document(policy=True, expires_s=NOW_S),
        document(policy=True, expires_s=NOW_S + 400 * 86400),
        document(policy=True, schema="tamiyo.command/2"),
        document(lift_budget=False),
        document(keys={}),
        document(keys={"revoke": ["all"]}),
        [1],
        "policy",
        None,
    ],
)
def test_a_signed_document_that_is_not_exactly_an_order_is_refused(data: Any) -> None:
    assert refused(fresh(), signed(data)) is Refusal.FORM


@settings(max_examples=40)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_whatever_make_it_raise(raw: bytes) -> None:
    assert refused(fresh(), raw) is Refusal.SIGNATURE
    assert refused(fresh(), OFFICE.sign(raw, payload_type=PAYLOAD_TYPE)) is Refusal.FORM


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_an_envelope_with_any_byte_changed_is_refused_or_says_the_same(position: int, change: int) -> None:
    raw = bytearray(order(policy=False))
    raw[position % len(raw)] ^= change
    decision = decide(bytes(raw), fresh(), NOW_S)
    assert decision.refusal is Refusal.SIGNATURE or decision.record == obeyed(fresh(), order(policy=False))


def test_an_envelope_or_an_order_of_absurd_size_is_refused() -> None:
    assert refused(fresh(), b"{" * 100_000) is Refusal.SIGNATURE
    assert refused(fresh(), signed(document(policy=True, note="x" * 17_000))) is Refusal.FORM


def test_a_new_key_signed_by_a_trusted_one_takes_over_and_the_old_one_is_out() -> None:
    change = KeyChange(add=(trusted(NEW, Role.COMMAND),), revoke=(OFFICE.public.id,))
    record = obeyed(fresh(), order(1, keys=change))
    assert refused(record, order(2, policy=False)) is Refusal.SIGNATURE
    record = obeyed(record, order(1, NEW, policy=False))
    back = KeyChange(add=(trusted(OFFICE, Role.COMMAND),))
    assert refused(record, order(2, NEW, keys=back)) is Refusal.IMPOSSIBLE


def test_a_stranger_cannot_bring_in_its_own_key() -> None:
    change = KeyChange(add=(trusted(STRANGER, Role.COMMAND, Role.BUNDLE),))
    assert refused(fresh(), order(key=STRANGER, keys=change)) is Refusal.SIGNATURE
    assert refused(fresh(), order(key=FACTORY, keys=change)) is Refusal.SIGNATURE


@pytest.mark.parametrize("key", [OFFICE, FACTORY])
def test_the_last_key_of_a_role_cannot_be_revoked(key: SigningKey) -> None:
    assert refused(fresh(), order(keys=KeyChange(revoke=(key.public.id,)))) is Refusal.IMPOSSIBLE


def test_there_is_no_stage_without_an_offer_and_no_end_of_keys() -> None:
    assert refused(fresh(), order(stage_percent=10)) is Refusal.IMPOSSIBLE
    many = tuple(TrustedKey(public=f"{n:064x}", roles=(Role.BUNDLE,)) for n in range(20))
    assert refused(fresh(), order(keys=KeyChange(add=many))) is Refusal.IMPOSSIBLE
    assert refused(fresh(), order(keys=KeyChange(revoke=tuple(f"{n:064x}" for n in range(65))))) is Refusal.IMPOSSIBLE


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(Role), st.integers(0, 3)), max_size=20))
def test_however_keys_are_changed_revoked_ones_stay_out_and_each_role_keeps_one(
    changes: list[tuple[int, bool, Role, int]],
) -> None:
    keys = (OFFICE, FACTORY, NEW, STRANGER)
    record = fresh()
    for counter, (which, adds, role, by) in enumerate(changes, 1):
        key = keys[which]
        change = KeyChange(add=(trusted(key, role),)) if adds else KeyChange(revoke=(key.public.id,))
        before, may = record, keys[by].public in record.trust(Role.COMMAND).keys
        record = decide(order(counter, keys[by], keys=change), record, NOW_S).record
        assert may or record is before
        assert set(before.revoked) <= set(record.revoked)
        for kind in Role:
            ids = {public.id for public in record.trust(kind).keys}
            assert ids
            assert not ids & set(record.revoked)


def test_a_share_of_the_fleet_is_that_share_and_grows_without_losing_anyone() -> None:
    devices = [f"pump-{number}" for number in range(4000)]
    reached: set[str] = set()
    for percent in (0, 1, 10, 50, 100):
        now = {d for d in devices if replace(OFFER, stage_percent=percent).reaches(d)}
        assert reached <= now
        assert abs(len(now) / len(devices) - percent / 100) < 0.03
        reached = now
    assert len(reached) == len(devices)
    other = replace(OFFER, sha256="cd" * 32, stage_percent=50)  # not the same devices first every time
    assert {d for d in devices if other.reaches(d)} != {
        d for d in devices if replace(other, sha256="ab" * 32).reaches(d)
    }


def test_an_order_that_would_not_be_obeyed_is_not_made() -> None:
    with pytest.raises(SchemaError, match="one order, not 0"):
        Command(schema=SCHEMA, counter=1, not_before_s=0, expires_s=10, fleet="pumps")
    made = Command(schema=SCHEMA, counter=1, not_before_s=0, expires_s=10, fleet="pumps", policy=True)
    assert "budget" not in dump(made)
    assert obeyed(replace(fresh(), latest_s=5), made.sign(OFFICE), 5).policy


def test_the_counter_of_a_key_that_is_gone_is_forgotten() -> None:
    record = obeyed(fresh(), order(9, keys=KeyChange(add=(trusted(NEW, Role.COMMAND),))))
    record = obeyed(record, order(1, NEW, keys=KeyChange(revoke=(OFFICE.public.id,))))
    assert record.counters == {PublicKey(NEW.public.raw).id: 1}
