from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.lora import symbol_s
from simulators.lorawan.capture import CROCE, GOURSAUD, MODULATIONS, Capture, captures, modulation
from simulators.lorawan.eu868 import EU868
from simulators.lorawan.interference import BEARABLE, Rule, share, shares
from simulators.lorawan.receiver import OnAir, Receiver
from simulators.lorawan.reception import Downlinks, Ears, Packets, Verdict, receive
from simulators.lorawan.streams import Floats
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError

R, C, N, G, W = Verdict
SF7, SF9, SF12 = MODULATIONS.index((7, 125_000)), MODULATIONS.index((9, 125_000)), MODULATIONS.index((12, 125_000))
SYMBOL_S = symbol_s(7, 125_000)


def ears(capture: Capture = GOURSAUD, *, paths: int = 8) -> Ears:
    return Ears(
        sensitivity_dbm=np.full(len(MODULATIONS), -120.0), sir_db=capture.table_db(), rule=capture.rule, paths=paths
    )


def packets(*rows: tuple[float, float, int, int, float], capture: Capture = GOURSAUD) -> Packets:
    """Start and length in seconds, channel, modulation, dBm at one gateway."""
    start, length, channel, mod, dbm = (np.array(column) for column in zip(*rows, strict=True))
    return Packets(
        start_s=start.astype(float),
        end_s=start + length,
        vulnerable_s=start + capture.lead_s()[mod],
        channel=channel.astype(np.int16),
        modulation=mod.astype(np.int16),
        rssi_dbm=dbm[None].astype(float),
    )


def verdicts(*rows: tuple[float, float, int, int, float], capture: Capture = GOURSAUD, **more: Any) -> list[int]:
    heard = receive(packets(*rows, capture=capture), ears(capture, paths=more.pop("paths", 8)), **more)
    return heard[0].tolist()


@pytest.mark.parametrize(
    ("difference_db", "expected"), [(0, [C, C]), (5.9, [C, C]), (6, [R, C]), (20, [R, C]), (-6, [C, R])]
)
def test_of_two_packets_of_one_factor_the_one_6_db_above_survives(difference_db: float, expected: list[int]) -> None:
    assert verdicts((0, 1, 0, SF7, -80 + difference_db), (0.1, 1, 0, SF7, -80)) == expected


def test_packets_on_two_channels_never_meet() -> None:
    assert verdicts((0, 1, 0, SF7, -80), (0, 1, 1, SF7, -80)) == [R, R]


@pytest.mark.parametrize(
    ("capture", "difference_db", "expected"),
    [
        # SF7 against SF12: Goursaud -20 dB, Croce -9 dB; SF12 against SF7: -36 and -25 dB
        (GOURSAUD, -20, R),
        (GOURSAUD, -20.1, C),
        (CROCE, -9, R),
        (CROCE, -9.1, C),
    ],
)
def test_unlike_factors_disturb_by_the_matrix(capture: Capture, difference_db: float, expected: int) -> None:
    assert verdicts((0, 1, 0, SF7, -70 + difference_db), (0.1, 1, 0, SF12, -70), capture=capture) == [expected, R]


def test_rows_of_the_matrix_are_the_wanted_packets() -> None:
    assert verdicts((0, 1, 0, SF12, -106), (0.1, 1, 0, SF7, -70)) == [R, R]
    assert verdicts((0, 1, 0, SF12, -106.1), (0.1, 1, 0, SF7, -70)) == [C, R]


def test_a_newcomer_survives_when_the_other_ends_before_its_last_five_preamble_symbols() -> None:
    early = 1.0 - 3 * SYMBOL_S
    assert verdicts((0, 1, 0, SF7, -80), (early + 1e-6, 1, 0, SF7, -80)) == [C, R]
    assert verdicts((0, 1, 0, SF7, -80), (early - 1e-6, 1, 0, SF7, -80)) == [C, C]
    assert verdicts((0, 1, 0, SF7, -80), (early + 1e-6, 1, 0, SF7, -80), capture=captures.get("lorasim")) == [R, R]
    assert verdicts((0, 1, 0, SF7, -80), (early - 1e-6, 1, 0, SF7, -80), capture=captures.get("lorasim")) == [C, C]
    assert verdicts((0, 1, 0, SF7, -80), (0.999, 1, 0, SF7, -120), capture=captures.get("aloha")) == [C, C]
    assert verdicts((0, 1, 0, SF7, -80), (1, 1, 0, SF7, -80), capture=captures.get("aloha")) == [R, R]


@pytest.mark.parametrize("paths", [1, 3, 8])
def test_a_gateway_demodulates_so_many_packets_and_refuses_the_next(paths: int) -> None:
    rows = [(0.01 * number, 1.0, number, SF7, -80.0) for number in range(paths + 2)]
    assert verdicts(*rows, paths=paths) == [R] * paths + [N, N]
    assert verdicts(*rows, (1.0, 1, 20, SF7, -80), paths=paths)[-1] == R


def test_a_spoilt_packet_holds_its_path_and_one_below_sensitivity_none() -> None:
    assert verdicts((0, 1, 0, SF7, -80), (0.1, 1, 0, SF7, -80), (0.2, 1, 1, SF7, -80), paths=2) == [C, C, N]
    assert verdicts((0, 1, 0, SF7, -121), (0.2, 1, 1, SF7, -80), paths=1) == [W, R]


def test_a_packet_too_weak_to_be_received_still_disturbs() -> None:
    assert verdicts((0, 1, 0, SF7, -121), (0.2, 1, 0, SF7, -118)) == [W, C]


@pytest.mark.parametrize(
    ("downlink", "expected"),
    [((0.5, 0.6), G), ((-0.5, 0.1), G), ((0.9, 2), G), ((-1, 3), G), ((-1, 0), R), ((1, 2), R)],
)
def test_a_gateway_that_sends_is_deaf(downlink: tuple[float, float], expected: int) -> None:
    sends = Downlinks(start_s=np.array([downlink[0]]), end_s=np.array([downlink[1]]))
    assert verdicts((0, 1, 0, SF7, -80), downlinks=[sends]) == [expected]


def test_a_packet_that_begins_while_the_gateway_sends_takes_no_path() -> None:
    sends = [Downlinks(start_s=np.array([-1.0]), end_s=np.array([0.05]))]
    rows = [(0, 1, 0, SF7, -80.0), (0.1, 1, 1, SF7, -80.0)]
    assert verdicts(*rows, paths=1, downlinks=sends) == [G, R]


def test_several_gateways_hear_for_themselves() -> None:
    two = packets((0, 1, 0, SF7, -80), (0.1, 1, 0, SF7, -80))
    near_each = Packets(
        start_s=two.start_s,
        end_s=two.end_s,
        vulnerable_s=two.vulnerable_s,
        channel=two.channel,
        modulation=two.modulation,
        rssi_dbm=np.array([[-80.0, -90.0], [-90.0, -80.0], [-130.0, -80.0]]),
    )
    heard = receive(near_each, ears())
    assert heard.tolist() == [[R, C], [C, R], [W, R]]
    assert heard.min(axis=0).tolist() == [R, R]


def test_no_packets_have_no_verdicts() -> None:
    nothing = np.zeros(0)
    none = Packets(
        start_s=nothing, end_s=nothing, vulnerable_s=nothing,
        channel=nothing.astype(np.int16), modulation=nothing.astype(np.int16), rssi_dbm=np.zeros((2, 0)),
    )  # fmt: skip
    assert receive(none, ears()).shape == (2, 0)


# -- the vector passes against the rules spelt out, and against the receiver that goes packet by packet

levels = st.integers(-125, -70).map(float)
schedules = st.lists(
    st.tuples(
        st.integers(0, 640).map(lambda step: step / 64),  # sums of these are exact, so ends do meet beginnings
        st.integers(1, 128).map(lambda step: step / 64),
        st.integers(0, 1),
        st.sampled_from([SF7, SF9, SF12, MODULATIONS.index((7, 250_000))]),
        levels,
        levels,
    ),
    min_size=1,
    max_size=40,
)
silences = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4)
rules = st.tuples(st.sampled_from([captures.get(name) for name in captures.names()]), st.integers(1, 4))


def spelt_out(given_packets: Packets, rule: Ears, downlinks: list[Downlinks]) -> list[list[int]]:
    """The rules as prose has them: every pair, every gateway, in order of start."""
    count, result = given_packets.start_s.size, []
    order = sorted(range(count), key=lambda i: given_packets.start_s[i])
    for dbm, sends in zip(given_packets.rssi_dbm, downlinks, strict=True):
        verdict, holding = [int(R)] * count, []
        for place, i in enumerate(order):
            start, end = given_packets.start_s[i], given_packets.end_s[i]
            spoilt, energy = False, 0.0
            for other_place, j in enumerate(order):
                if i == j or given_packets.channel[i] != given_packets.channel[j]:
                    continue
                needed = rule.sir_db[given_packets.modulation[i], given_packets.modulation[j]]
                if rule.rule is Rule.ENERGY:
                    both = min(end, given_packets.end_s[j]) - max(start, given_packets.start_s[j])
                    energy += max(0.0, both) / (end - start) * 10 ** ((needed - dbm[i] + dbm[j]) / 10)
                    continue
                if given_packets.start_s[j] >= end or given_packets.end_s[j] <= given_packets.vulnerable_s[i]:
                    continue
                first, second = (i, j) if place < other_place else (j, i)
                if rule.rule is Rule.LORASIM and given_packets.end_s[first] <= given_packets.vulnerable_s[second]:
                    continue
                spoilt |= bool(dbm[i] - dbm[j] < needed)
            spoilt |= energy > 1.0001
            weak = dbm[i] < rule.sensitivity_dbm[given_packets.modulation[i]]
            intervals = list(zip(sends.start_s, sends.end_s, strict=True))
            deaf = any(a < end and b > start for a, b in intervals)
            deaf_at_start = any(a <= start < b for a, b in intervals)
            holding = [until for until in holding if until > start]
            full = len(holding) >= rule.paths
            if not (weak or deaf_at_start or full):
                holding.append(end)
            verdict[i] = W if weak else G if deaf else N if full else C if spoilt else R
        result.append([int(code) for code in verdict])
    return result


def apart(gaps: list[tuple[int, int]]) -> Downlinks:
    starts, ends, now = [], [], 0.0
    for pause, length in gaps:
        starts.append(now + pause)
        now = starts[-1] + length
        ends.append(now)
    return Downlinks(start_s=np.array(starts, dtype=float), end_s=np.array(ends, dtype=float))


def one_by_one(given_packets: Packets, rule: Ears, downlinks: list[Downlinks]) -> Floats:
    receiver = Receiver(rule, channels=2, gateways=len(downlinks))
    for gateway, sends in enumerate(downlinks):
        for start, end in zip(sends.start_s, sends.end_s, strict=True):
            receiver.will_send(gateway, start, end)
    on_air = [
        OnAir(
            start_s=given_packets.start_s[i],
            end_s=given_packets.end_s[i],
            vulnerable_s=given_packets.vulnerable_s[i],
            channel=int(given_packets.channel[i]),
            modulation=int(given_packets.modulation[i]),
            rssi_dbm=given_packets.rssi_dbm[:, i].tolist(),
        )
        for i in range(given_packets.start_s.size)
    ]
    events = [(packet.end_s, 0, i) for i, packet in enumerate(on_air)]
    events += [(packet.start_s, 1, i) for i, packet in enumerate(on_air)]
    result = np.zeros((len(downlinks), len(on_air)))
    for _, begins, i in sorted(events):
        if begins:
            receiver.begin(on_air[i])
        else:
            result[:, i] = receiver.end(on_air[i])
    return result


@given(schedules, st.tuples(silences, silences), rules)
def test_vector_passes_and_the_one_by_one_receiver_follow_the_rules_as_spelt_out(
    rows: list[tuple[float, float, int, int, float, float]],
    gaps: tuple[list[tuple[int, int]], list[tuple[int, int]]],
    rule: tuple[Capture, int],
) -> None:
    capture, paths = rule
    one = packets(*(row[:5] for row in rows), capture=capture)
    both = Packets(
        start_s=one.start_s,
        end_s=one.end_s,
        vulnerable_s=one.start_s + (2 / 64 if capture.preamble_needed < 8 else 0),
        channel=one.channel,
        modulation=one.modulation,
        rssi_dbm=np.array([[row[4] for row in rows], [row[5] for row in rows]]),
    )
    downlinks = [apart(gap) for gap in gaps]
    by_vectors = receive(both, ears(capture, paths=paths), downlinks)
    assert by_vectors.tolist() == spelt_out(both, ears(capture, paths=paths), downlinks)
    assert (one_by_one(both, ears(capture, paths=paths), downlinks) == by_vectors).all()


def test_matrices_are_the_published_ones() -> None:
    # ns-3 lorawan, lora-interference-helper.cc; FLoRa, nonOrthDelta
    assert GOURSAUD.sir_db[0] == (6, -16, -18, -19, -19, -20)
    assert GOURSAUD.sir_db[5] == (-36, -36, -36, -36, -36, 6)
    assert CROCE.sir_db[0] == (1, -8, -9, -9, -9, -9)
    assert CROCE.sir_db[5] == (-25, -25, -25, -24, -23, 1)
    table = GOURSAUD.table_db()
    assert table.shape == (18, 18)
    assert table[SF7, MODULATIONS.index((7, 250_000))] == -16


def test_a_mistake_names_what_is_legal() -> None:
    with pytest.raises(SchemaError, match="6 x 6"):
        Capture(sir_db=((1.0,),))
    with pytest.raises(SchemaError, match="preamble_needed"):
        Capture(sir_db=GOURSAUD.sir_db, preamble_needed=9)
    with pytest.raises(UnknownNameError) as name:
        captures.get("goursad")
    assert "goursaud" in str(name.value.hint)
    with pytest.raises(InputError, match="FSK"):
        modulation(EU868.uplink[7])


def test_energies_add_up_where_the_rule_says_so() -> None:
    energy = captures.get("energy-goursaud")
    ten_db_down = [(0.0, 1.0, 0, SF7, -90.0)] * 2
    assert verdicts((0, 1, 0, SF7, -80), *ten_db_down, capture=energy)[0] == R
    assert verdicts((0, 1, 0, SF7, -80), *ten_db_down, ten_db_down[0], capture=energy)[0] == C
    assert verdicts((0, 1, 0, SF7, -80), *ten_db_down, ten_db_down[0])[0] == R  # weighed alone, each is 10 dB down
    assert verdicts((0, 1, 0, SF7, -80), (0.76, 1, 0, SF7, -80), capture=energy) == [R, R]  # 6.2 dB over the whole
    assert verdicts((0, 1, 0, SF7, -80), (0.74, 1, 0, SF7, -80), capture=energy) == [C, C]


@given(st.floats(-200, 200), st.floats(0, 1))
def test_one_share_is_that_of_many(excess_db: float, overlap: float) -> None:
    one = share(excess_db, overlap)
    assert shares(np.array([excess_db, 3.0]), np.array([overlap, 0.5]))[0] == one
    if -30 < excess_db < 40 and overlap > 0.01:
        assert one / BEARABLE == pytest.approx(overlap * 10 ** (excess_db / 10), rel=0.01)
    if excess_db < -60:
        assert one == 0


def test_an_interferer_that_ends_exactly_where_it_would_begin_to_matter_does_not() -> None:
    two = packets((0, 1, 0, SF7, -80), (1 - 2 / 64, 1, 0, SF7, -80))
    exact = replace(two, vulnerable_s=np.array([0.0, 1.0]))
    nothing = [apart([])]
    assert receive(exact, ears()).tolist() == spelt_out(exact, ears(), nothing) == [[C, R]]
    assert one_by_one(exact, ears(), nothing).tolist() == [[C, R]]
