"""What is asked of networks that put two modalities into one space: those grown on ``captions``."""

from __future__ import annotations

from tamiyo_train.curriculum.measures import networks
from tamiyo_train.curriculum.pupil import Pupil
from tamiyo_train.measures import membership, worst_pair_drift


@networks.register("cross-modal drift")
def cross_modal_drift(pupil: Pupil) -> float:
    """The worst seed's: 1 - linear CKA of a modality, or change of the matched pairs' cosine, over the probes."""
    return worst_pair_drift(pupil.network)


@networks.register("membership AUC")
def membership_auc(pupil: Pupil) -> float:
    """The larger of the upper bounds for what logits and embeddings betray of who was trained on."""
    return max(found.high for found in membership(pupil.network).values())
