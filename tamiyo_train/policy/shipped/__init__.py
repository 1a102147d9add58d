"""The growth policy that comes with the package: weights, and a card that says how it was made and what it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.observation import Heads, check_layout
from tamiyo_train import packaged

if TYPE_CHECKING:
    import torch

    from tamiyo_train.policy.network import PolicyNetwork

SHIPPED = "shipped"
"""What ``--growth`` calls it."""
_NAME = "vector"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedPolicy:
    """``policy``: weights for a host's number of slots; ``card``: the card as it lies beside them."""

    policy: Mapping[str, torch.Tensor]
    card: Mapping[str, Any]

    def lesson(self) -> dict[str, Any]:
        """Where the policy came from, for the run's record."""
        return {"from": SHIPPED, "weights_sha256": self.card["weights_sha256"], "seed": self.card["recipe"]["seed"]}


def card() -> dict[str, Any]:
    """The card: recipe, seeds, scores, and which criteria hold. Raises IntegrityError when it cannot be read."""
    return packaged.card(__name__, _NAME)


def network() -> PolicyNetwork:
    """The policy as it was taught. Raises IntegrityError when its weights are not there or not those of the card."""
    from safetensors.torch import load

    from tamiyo_train.policy.network import PolicyNetwork

    known, body = card(), packaged.weights(__name__, _NAME)
    check_layout("the shipped policy", observation=known["observation"], heads=known["heads"])
    made = PolicyNetwork(Heads(slots=known["slots"], blueprints=len(known["blueprints"])))
    made.load_state_dict(load(body))
    return made.eval()


def is_shipped_for(blueprints: tuple[str, ...]) -> bool:
    """Whether hosts that are offered these blueprints, in this order, are those it was taught on."""
    return tuple(card()["blueprints"]) == blueprints


def default_for(blueprints: tuple[str, ...]) -> bool:
    """Whether a policy that is asked for, and not taught, is this one: it beat the tuned heuristic, and knows these."""
    return bool(card()["default"]) and is_shipped_for(blueprints)


def shipped_for(host: str, *, slots: int, blueprints: tuple[str, ...]) -> ShippedPolicy:
    """The policy for a host with so many slots; raises UsageError when it is offered other blueprints."""
    if not is_shipped_for(blueprints):
        raise UsageError(
            f"the shipped policy grows hosts of vectors; host '{host}' is offered other blueprints",
            hint="take the host mlp or mlp-skip, or let the run teach a policy: --growth policy",
        )
    return ShippedPolicy(policy=network().with_slots(slots).state_dict(), card=card())
