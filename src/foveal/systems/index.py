"""The table of all systems: one literal row each; tests and the command line iterate over it.

Adding a system is a folder, a row here and a golden. A ``planned`` row promises nothing but its
paper; a ``working`` row has its folder, card, golden (or a stated reason for none) and result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Question: TypeAlias = Literal[
    "which frames?",
    "which region?",
    "which piece of space-time?",
    "which modality?",
    "at what resolution or width?",
    "which frequency band?",
    "what for?",
]
Kind: TypeAlias = Literal[
    "classifier", "detector", "tester", "training method", "baseline", "tagger"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One row.

    Args:
        name: as typed on the command line, and the name of the folder.
        title: as the paper spells it.
        question: what it decides.
        paper: first author, venue and arXiv id.
        licence: of the published official code; Foveal's own code is Apache-2.0 throughout.
        several_labels: whether its ``Config`` has the field ``several_labels``, so that it learns
            and answers which of all classes a clip shows, be they several.
    """

    name: str
    title: str
    kind: Kind
    task: Literal["classification", "detection", "few-shot", "open vocabulary", "robustness"]
    question: Question
    paper: str
    licence: str
    status: Literal["working", "planned"] = "planned"
    several_labels: bool = False

    @property
    def module(self) -> str:
        """The package that holds ``protocol.py`` of a working system."""
        return f"foveal.systems.{self.name}"


NO_CODE = "no official code"
NO_LICENCE = "official code without a licence"

PAPERS: tuple[System, ...] = (
    System(
        name="ocsampler",
        title="OCSampler",
        kind="classifier",
        task="classification",
        question="which frames?",
        paper="Lin et al., CVPR 2022, arXiv 2201.04388",
        licence=NO_LICENCE,
        status="working",
    ),
    System(
        name="gfnet",
        title="GFNet",
        kind="classifier",
        task="classification",
        question="which region?",
        paper="Huang et al., TPAMI 2023, arXiv 2201.03014",
        licence="official code with a licence",
        status="working",
    ),
    System(
        name="adafocus_v2",
        title="AdaFocusV2",
        kind="classifier",
        task="classification",
        question="which region?",
        paper="Wang et al., CVPR 2022, arXiv 2112.14238",
        licence=NO_LICENCE,
        status="working",
    ),
    System(
        name="adafocus_v3",
        title="AdaFocusV3",
        kind="classifier",
        task="classification",
        question="which piece of space-time?",
        paper="Wang et al., ECCV 2022, arXiv 2209.13465",
        licence="no official code; its successor's is MIT",
        status="working",
    ),
    System(
        name="hcms",
        title="HCMS",
        kind="classifier",
        task="classification",
        question="which modality?",
        paper="Weng et al., TOMM 2023, arXiv 2104.09760",
        licence=NO_CODE,
        status="working",
        several_labels=True,
    ),
    System(
        name="reskd",
        title="ResKD",
        kind="training method",
        task="classification",
        question="at what resolution or width?",
        paper="Ma et al., NeurIPS 2022, arXiv 2209.12797",
        licence="Apache-2.0",
        status="working",
    ),
    System(
        name="nsnet",
        title="NSNet",
        kind="classifier",
        task="classification",
        question="which frames?",
        paper="Xia et al., ECCV 2022, arXiv 2207.10388",
        licence=NO_CODE,
        status="working",
        several_labels=True,
    ),
    System(
        name="stts",
        title="STTS",
        kind="classifier",
        task="classification",
        question="which piece of space-time?",
        paper="Wang et al., ECCV 2022, arXiv 2111.11591",
        licence="MIT",
    ),
    System(
        name="mutualnet",
        title="MutualNet",
        kind="classifier",
        task="classification",
        question="at what resolution or width?",
        paper="Yang et al., TPAMI 2021, arXiv 2105.07085",
        licence="MIT",
    ),
    System(
        name="tsqnet",
        title="TSQNet",
        kind="classifier",
        task="classification",
        question="which frames?",
        paper="Xia et al., ECCV 2022, arXiv 2207.10379",
        licence=NO_CODE,
        status="working",
        several_labels=True,
    ),
    System(
        name="astfocus",
        title="AstFocus",
        kind="tester",
        task="robustness",
        question="what for?",
        paper="Wei et al., TPAMI 2023, arXiv 2301.00896",
        licence=NO_LICENCE,
    ),
    System(
        name="bqn",
        title="BQN",
        kind="classifier",
        task="classification",
        question="which frequency band?",
        paper="Huang and Bors, WACV 2022, arXiv 2103.15584",
        licence="MIT",
    ),
    System(
        name="vlg",
        title="VLG",
        kind="classifier",
        task="open vocabulary",
        question="what for?",
        paper="Lin et al., IJCV 2024, arXiv 2212.01638",
        licence=NO_LICENCE,
    ),
    System(
        name="basictad",
        title="BasicTAD/PlusTAD",
        kind="detector",
        task="detection",
        question="what for?",
        paper="Yang et al., CVIU 2023, arXiv 2205.02717",
        licence="Apache-2.0",
    ),
    System(
        name="ean",
        title="EAN",
        kind="classifier",
        task="classification",
        question="which piece of space-time?",
        paper="Tian et al., IJCV 2022, arXiv 2107.10771",
        licence=NO_LICENCE,
        status="working",
    ),
    System(
        name="confidence_distillation",
        title="Confidence distillation",
        kind="classifier",
        task="classification",
        question="which frames?",
        paper="Manzuri Shalmani et al., ICPR 2022, arXiv 2109.02137",
        licence=NO_CODE,
        status="working",
    ),
    System(
        name="fewshot_sampler",
        title="Few-shot spatio-temporal sampler",
        kind="classifier",
        task="few-shot",
        question="which frames?",
        paper="Liu et al., ACM MM 2022, arXiv 2207.09759",
        licence=NO_LICENCE,
    ),
    System(
        name="dreal",
        title="DREAL",
        kind="training method",
        task="classification",
        question="which region?",
        paper="Li and Chen, ECCV 2020, arXiv 2007.06156",
        licence=NO_CODE,
        status="working",
    ),
)
"""The eighteen published systems."""

OWN: tuple[System, ...] = (
    System(
        name="tagger",
        title="Embedded tagger",
        kind="tagger",
        task="classification",
        question="which frames?",
        paper="EfficientNet-Lite0 weights: Tan and Le, ICML 2019, arXiv 1905.11946",
        licence="Apache-2.0",
        status="working",
    ),
    System(
        name="baselines",
        title="Baselines",
        kind="baseline",
        task="classification",
        question="which frames?",
        paper="none",
        licence="Apache-2.0",
        status="working",
        several_labels=True,
    ),
)
"""What Foveal adds to stand beside them."""

ALL: tuple[System, ...] = PAPERS + OWN


def find(name: str) -> System:
    """Return the row called ``name``.

    Raises:
        KeyError: there is none.
    """
    for row in ALL:
        if row.name == name:
            return row
    raise KeyError(name)
